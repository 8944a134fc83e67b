"""What was left out of rows, counted and told once."""

from __future__ import annotations

from shoal.checks import warn_user
from shoal.state import SAID_ROWS, Scan


class Tally:
    """Counts rows that are left out, pass by pass, and says so once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._dropped = self._rows = 0
        self._lost: tuple[str, ...] = ()
        self._before: tuple[int, int, tuple[str, ...]] = (0, 0, ())  # the pass that left out most
        self._said = False

    def begin(self) -> None:
        """A pass begins, over the rows of the one before or others."""
        self._before = max(self._before, (self._dropped, self._rows, self._lost))
        self._dropped, self._rows, self._lost = 0, 0, ()

    def add(self, scan: Scan) -> None:
        """Count rows that were looked at."""
        self._dropped += scan.dropped
        self._rows += scan.dropped + scan.rows
        self._lost = (*self._lost, *scan.left_out)[:SAID_ROWS]

    def say(self) -> None:
        """Warn of what a pass left out, if that is not said yet."""
        dropped, rows, lost = max(self._before, (self._dropped, self._rows, self._lost))
        if dropped and not self._said:
            self._said = True
            warn_user(
                f"{self._name}: dropped {dropped} of {rows} rows with values that are not finite "
                f"or missing (on_bad_rows='skip'): row{'s' * (dropped > 1)} "
                + ", ".join(one.removesuffix(f" of {self._name}") for one in lost)
                + f" and {dropped - len(lost)} more" * (dropped > len(lost))
            )
