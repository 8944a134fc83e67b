"""Log lines of progress: of steps, and of passes that take long."""

from __future__ import annotations

import logging
import time

from shoal.hooks.base import SEEDING, Context

logger = logging.getLogger("shoal")

#: Seconds before the first log line by time, and the most between two: each wait doubles.
LOG_SECONDS = (1.0, 60.0)


class Waits:
    """When it is time for a line: often at first, then ever more seldom, or at a fixed interval."""

    def __init__(self, seconds: float | None = None) -> None:
        self._wait, self._most = LOG_SECONDS if seconds is None else (seconds, seconds)
        self._next = time.perf_counter() + self._wait

    def over(self) -> bool:
        """Whether it is time now; if so, the next wait begins."""
        now = time.perf_counter()
        if now < self._next:
            return False
        self._wait = min(2 * self._wait, self._most)
        self._next = now + self._wait
        return True


class LogProgress:
    """Log lines, under ``shoal``: of steps, and of passes that take long.

    Parameters
    ----------
    every
        Steps between lines; None: lines come by time alone. Steps that are long have lines by time
        in any case.
    seconds
        Seconds between lines by time; None: a second at first, ever more up to a minute.
    """

    def __init__(self, every: int | None, seconds: float | None = None) -> None:
        self._every = every
        self._waits = Waits(seconds)
        self._first = 0
        self._began = 0.0  # seconds of the run before its first step

    def begin(self, context: Context) -> None:
        """Note where the run starts."""
        self._first, self._began = context.step, context.elapsed

    def after_step(self, context: Context) -> None:
        """Log, if it is time."""
        by_time = self._waits.over()
        if by_time or (self._every is not None and context.step % self._every == 0):
            done, total = context.step - self._first, context.total_steps
            per_row = context.loss_per_row
            each = "" if per_row is None else f" ({per_row:.6g} per row)"
            of = "" if total is None else f", {done:,} of {total - self._first:,} steps"
            left = time_left(done, total and total - self._first, context.elapsed - self._began)
            loss = f"step {context.step}: loss {context.loss:.6g}{each}{of}"
            logger.info("%s, %s", loss, times(context.elapsed, left))

    def step_on_sample(self, context: Context) -> None:
        """Log a step on a sample, if it is time."""
        if (made := context.on_sample) is not None and self._waits.over():
            steps = f"step {made['steps']} of {made['most']} on a sample"
            loss = f"loss {made['loss_per_row']:.6g} per row"
            logger.info("%s: %s, %s", steps, loss, times(context.elapsed, None))

    def progress(self, context: Context) -> None:
        """Log what a long pass has done."""
        if not self._waits.over():
            return
        total = "" if context.rows_total is None else f" of {context.rows_total:,}"
        rows = f"{context.rows_done:,}{total} rows"
        if context.phase == SEEDING:
            read = f", {rows} of a pass" if context.rows_done else ""
            done = f"{context.phase}: {context.centers_found} found{read}"
        else:
            done = f"step {context.step + 1}, {context.phase}: {rows}"
        logger.info("%s, %s", done, times(context.elapsed, None))


def times(seconds: float, left: float | None) -> str:
    """Seconds of a run so far, and those that are left."""
    return duration(seconds) + ("" if left is None else f", about {duration(left)} left")


def duration(seconds: float) -> str:
    """Seconds in few words."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def time_left(done: float, total: float | None, seconds: float) -> float | None:
    """Seconds that are left if all goes on as it did; None where that is not known."""
    if total is None or not 0 < done < total:
        return None
    return seconds / done * (total - done)
