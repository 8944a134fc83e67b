"""Progress: a bar on a terminal or in a notebook, log lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shoal.config import RunConfig
from shoal.errors import MissingExtraError
from shoal.hooks.base import ON_SAMPLE, SEEDING, TRAINING, Context
from shoal.hooks.log_lines import LogProgress, Waits, time_left, times
from shoal.hooks.plain_bar import PlainBar

logger = logging.getLogger("shoal")

#: Work shorter than this many seconds has no bar.
PATIENCE = 1.0


class ProgressBar:
    """A bar for work over a second: rate, loss, and the time left where the end is known.

    It counts steps. Within a step that reads its rows piece by piece it moves by the part of them
    that is read; while centers are chosen, by centers.

    Parameters
    ----------
    bar
        What makes a bar: tqdm's class, or one like it.
    patience
        Seconds before there is a bar.
    total_centers
        How many centers will be chosen.
    """

    def __init__(
        self, bar: Any, patience: float | None = None, total_centers: int | None = None
    ) -> None:
        self._make = _without_thread(bar)
        self._patience = patience
        self._centers = total_centers
        self._bar: Any = None
        self._kind = ""
        self._at = 0.0  # where the bar stands
        self._first = 0

    def begin(self, context: Context) -> None:
        """Note where the run starts; a bar of the phase before is complete."""
        if self._bar is not None and self._kind == SEEDING and self._centers is not None:
            self._move_to(self._centers)
        self._close()
        self._first = context.step

    def progress(self, context: Context) -> None:
        """Move the bar within a pass, or by the centers that are chosen."""
        if context.phase == SEEDING:
            self._show(context, context.centers_found)
            return
        if context.phase == ON_SAMPLE:
            self.step_on_sample(context)
            return
        part = 0.0
        if context.phase == TRAINING and context.rows_total:
            # Never a whole step: the step ends with its update.
            part = min(round(context.rows_done / context.rows_total, 2), 0.99)
        self._show(context, context.step - self._first + part)

    def step_on_sample(self, context: Context) -> None:
        """Move a bar of its own."""
        if self._kind == SEEDING:
            self._close()
        self._show(context, 0 if context.on_sample is None else context.on_sample["steps"])

    def after_step(self, context: Context) -> None:
        """Move the bar, once there is reason to have one."""
        self._show(context, context.step - self._first)

    def end(self, _context: Context) -> None:
        """Close the bar."""
        self._close()

    def _show(self, context: Context, at: float) -> None:
        if self._bar is None:
            patience = PATIENCE if self._patience is None else self._patience
            if context.elapsed < patience:
                self._at = at
                return
            self._open(context)
        self._bar.set_postfix_str(self._words(context), refresh=False)
        self._move_to(at)

    def _open(self, context: Context) -> None:
        self._kind = context.phase if context.phase in (SEEDING, ON_SAMPLE) else TRAINING
        total: float | None
        if self._kind == ON_SAMPLE:
            total = None if context.on_sample is None else context.on_sample["most"]
            unit = "step"
        elif self._kind == TRAINING:
            total, unit = context.total_steps, "step"
            total = None if total is None else total - self._first
        else:
            total, unit = self._centers, "center"
        self._bar = make_bar(self._make, self._kind, total, unit, self._at)

    def _words(self, context: Context) -> str:
        """Loss, epoch, and how far the pass is."""
        words = []
        if context.loss is not None:
            words.append(f"loss {context.loss:.6g}")
        if context.epoch:
            most = "" if context.last_epoch is None else f" of at most {context.last_epoch}"
            words.append(f"epoch {context.epoch}{most}")
        if context.rows_done and context.rows_total:
            if context.rows_done < context.rows_total:
                words.append(f"{100 * context.rows_done // context.rows_total}% of a pass")
        elif context.rows_done:
            words.append(f"{context.rows_done:,} rows")
        return ", ".join(words)

    def _move_to(self, at: float) -> None:
        at = max(at, self._at)  # a second pass of a step, to relocate, does not go back
        self._at = self._bar.n = int(at) if at == int(at) else round(at, 2)
        self._bar.update(0)  # adding up parts of steps would add up their rounding

    def _close(self) -> None:
        self._at = 0
        self._kind = ""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()


class RowsShown:
    """Progress by rows, for one call that reads a source from end to end.

    Parameters
    ----------
    what
        What is being done: ``"predict"``.
    rows
        How many rows there are, None where that is not known.
    bar
        What makes a bar; None: log lines.
    """

    def __init__(self, what: str, rows: int | None, bar: Any) -> None:
        self._what = what
        self._rows = rows
        self._make = None if bar is None else _without_thread(bar)
        self._began, self._waits = time.perf_counter(), Waits()
        self._done = 0
        self._bar: Any = None

    def read(self, rows: int) -> None:
        """Count rows that are done."""
        before, self._done = self._done, self._done + rows
        now = time.perf_counter()
        if self._make is None:
            if self._waits.over():
                total = "" if self._rows is None else f" of {self._rows:,}"
                left = time_left(self._done, self._rows, now - self._began)
                done = f"{self._done:,}{total} rows"
                logger.info("%s: %s, %s", self._what, done, times(now - self._began, left))
            return
        if self._bar is None:
            if now - self._began < PATIENCE or self._done == self._rows:
                return
            self._bar = make_bar(self._make, self._what, self._rows, "row", before)
        self._bar.update(rows)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            bar.close()


@contextmanager
def rows_shown(run: RunConfig, what: str, rows: int | None) -> Iterator[Callable[[int], None]]:
    """Show the progress of a call as ``run`` wants it; gives what counts rows."""
    if run.progress is False:
        yield lambda _: None
        return
    shown = RowsShown(what, rows, bar_class(run))
    try:
        yield shown.read
    finally:
        shown.close()


def make_bar(make: Callable[..., Any], what: str, total: float | None, unit: str, at: float) -> Any:
    """A bar that stands at ``at``."""
    return make(
        desc=what,
        total=total,
        initial=at,
        unit=unit,
        unit_scale=unit == "row",
        file=sys.stderr,
        mininterval=0.1,
        miniters=0,  # steps may take very different times: what counts is when the bar was drawn
        **_width(),
    )


def _width() -> dict[str, Any]:
    """As wide as the terminal.

    Some say that they have no columns or no lines, and mean that they do not know: tqdm would show
    nothing there.
    """
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # no terminal
        return {"dynamic_ncols": True}
    if size.columns and size.lines:
        return {"dynamic_ncols": True}
    return {"ncols": size.columns or 80, "nrows": size.lines or 24}


def _without_thread(bar: Any) -> Any:
    """The class of bars without tqdm's thread that redraws them: nothing outlives a run."""
    if isinstance(bar, type) and hasattr(bar, "monitor_interval"):
        return type(bar.__name__, (bar,), {"monitor_interval": 0})
    return bar


def on_screen() -> bool:
    """Whether a bar would be seen as one: on a terminal, or in a notebook."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False


def bar_class(run: RunConfig) -> Any:
    """What makes the bars that ``run`` wants; None for log lines."""
    if run.progress == "auto" and not on_screen():
        return None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if run.progress is True:
            raise MissingExtraError("progress=True", "tqdm", "progress") from None
        return None if "ipykernel" in sys.modules else PlainBar
    return tqdm


def progress_monitor(run: RunConfig, num_clusters: int | None = None) -> list[object]:
    """The monitor that shows progress as ``run`` wants it."""
    if run.progress is False:
        return []
    bar = bar_class(run)
    if bar is None:
        return [LogProgress(run.log_step_count_steps)]
    return [ProgressBar(bar, total_centers=num_clusters)]
