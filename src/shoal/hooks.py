"""Monitors: what may watch a run, and stop it.

A monitor is any object with some of ``begin(context)``, ``before_step(context)``,
``after_step(context)`` (return True to stop) and ``end(context)``.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.config import RunConfig
from shoal.errors import BadInputError, MissingExtraError

logger = logging.getLogger("shoal")

PROTOCOL = ("begin", "before_step", "after_step", "end")


class Context:
    """What a monitor sees of a run.

    Attributes
    ----------
    step
        Steps applied so far, over the life of the model (``global_step``).
    total_steps
        The step at which the run will end, where that is known, else None.
    loss
        Loss of the last step: the sum of distances at the centers before it. None before the first.
    rows
        Rows of the last step.
    """

    def __init__(
        self, clusters: Callable[[], npt.NDArray[Any]], step: int, total_steps: int | None
    ) -> None:
        self._clusters = clusters
        self._began = time.perf_counter()
        self._stop = False
        self.step = step
        self.total_steps = total_steps
        self.loss: float | None = None
        self.rows = 0

    @property
    def clusters(self) -> npt.NDArray[np.floating[Any]]:
        """The centers [k, d], read-only."""
        clusters = self._clusters()
        clusters.setflags(write=False)
        return clusters

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

    @property
    def stop_requested(self) -> bool:
        """Whether a monitor asked to stop."""
        return self._stop

    def request_stop(self) -> None:
        """End the run after the step that is under way."""
        self._stop = True


class Monitors:
    """Several monitors as one."""

    def __init__(self, monitors: Sequence[object]) -> None:
        self._monitors = list(monitors)

    def tell(self, event: str, context: Context) -> None:
        """Call ``event`` of every monitor that has it; a true answer of after_step stops."""
        for monitor in self._monitors:
            method = getattr(monitor, event, None)
            if method is None:
                continue
            answer = method(context)
            if event == "after_step" and answer:
                context.request_stop()


def check_monitors(monitors: object, name: str = "monitors") -> list[object]:
    """Return ``monitors`` as a list, each with at least one method of the protocol."""
    if monitors is None:
        return []
    if not isinstance(monitors, (list, tuple)):
        raise BadInputError(
            f"{name} is {type(monitors).__name__}; it must be a list of objects with any of "
            f"the methods {PROTOCOL}"
        )
    for i, monitor in enumerate(monitors):
        if not any(callable(getattr(monitor, name, None)) for name in PROTOCOL):
            raise BadInputError(
                f"{name}[{i}] is {monitor!r}, which has none of the methods {PROTOCOL}"
            )
    return list(monitors)


class LogProgress:
    """Log lines, under ``shoal``, every ``every`` steps."""

    def __init__(self, every: int) -> None:
        self._every = every

    def after_step(self, context: Context) -> None:
        """Log, if it is time."""
        if context.step % self._every == 0:
            logger.info("step %d: loss %.6g, %.1f s", context.step, context.loss, context.elapsed)


class ProgressBar:
    """A bar for work over a second: rate, loss, and the time left where the end is known."""

    def __init__(self, bar: Callable[..., Any], patience: float = 1.0) -> None:
        self._make = bar
        self._patience = patience
        self._bar: Any = None
        self._first = 0

    def begin(self, context: Context) -> None:
        """Note where the run starts."""
        self._first = context.step

    def after_step(self, context: Context) -> None:
        """Move the bar, once there is reason to have one."""
        if self._bar is None:
            if context.elapsed < self._patience:
                return
            total = context.total_steps
            self._bar = self._make(
                total=None if total is None else total - self._first,
                initial=context.step - self._first - 1,
                unit="step",
                file=sys.stderr,
            )
        self._bar.set_postfix_str(f"loss {context.loss:.6g}", refresh=False)
        self._bar.update(1)

    def end(self, _context: Context) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def progress_monitor(config: RunConfig) -> list[object]:
    """The monitor that shows progress as ``config`` wants it."""
    if config.progress is False:
        return []
    on_screen = sys.stderr.isatty() or "ipykernel" in sys.modules
    if config.progress == "auto" and not on_screen:
        return [LogProgress(config.log_step_count_steps)]
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if config.progress is True:
            raise MissingExtraError("progress=True", "tqdm", "progress") from None
        return [LogProgress(config.log_step_count_steps)]
    return [ProgressBar(tqdm)]
