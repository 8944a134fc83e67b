"""A bar of our own, for terminals where tqdm is not installed."""

from __future__ import annotations

import shutil
import time
from typing import IO, Any

from shoal.hooks.log_lines import duration, time_left

#: Seconds between two drawings.
REDRAW = 0.1


class PlainBar:
    """One line that is drawn again and again; takes what tqdm takes, as far as it is used here."""

    def __init__(
        self, *, desc: str, total: float | None, initial: float, unit: str, file: IO[str], **_: Any
    ) -> None:
        self.n = initial
        self._first = initial
        self._what, self._total, self._unit, self._file = desc, total, unit, file
        self._words = ""
        self._began, self._drawn = time.perf_counter(), 0.0
        self._draw()

    def set_postfix_str(self, words: str, refresh: bool) -> None:
        """Say what stands at the end."""
        del refresh
        self._words = words

    def update(self, by: float) -> None:
        """Go on, and draw if that was not just done."""
        self.n += by
        if time.perf_counter() - self._drawn >= REDRAW:
            self._draw()

    def close(self) -> None:
        """Draw for the last time, and end the line."""
        self._draw()
        self._file.write("\n")
        self._file.flush()

    def _draw(self) -> None:
        self._drawn = time.perf_counter()
        seconds = self._drawn - self._began
        done, of = f"{self.n:,}", "" if self._total is None else f" of {self._total:,}"
        part = "" if not self._total else f"{100 * self.n / self._total:3.0f}% "
        words = [f"{part}{done}{of} {self._unit}s", duration(seconds)]
        left = time_left(self.n - self._first, self._total and self._total - self._first, seconds)
        words += [] if left is None else [f"about {duration(left)} left"]
        words += [self._words] if self._words else []
        width = shutil.get_terminal_size().columns - 1
        line = f"{self._what}: {', '.join(words)}"
        self._file.write("\r" + line[:width].ljust(width))
        self._file.flush()
