"""Mini-batch clusters that get no rows: how many there are, in the log."""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from shoal.hooks.base import Context

logger = logging.getLogger("shoal")

#: Steps of a stream between two lines.
STREAM_STEPS = 100


class IdleClusters:
    """Says how many clusters had no row: at the end of each epoch, or every 100 steps of a stream.

    Parameters
    ----------
    streamed
        The data has no epochs.
    whole
        A run is a whole stream: its end is told of. Else others go on with it.
    """

    def __init__(self, streamed: bool, whole: bool = True) -> None:
        self._streamed = streamed
        self._whole = whole
        self._epoch = 0
        self._steps = 0  # taken, and
        self._said = 0  # how many they were at the last line
        self._last: npt.NDArray[np.int32] | None = None  # [k] the last step of each with a row
        self._all = 0  # ... and of all of them
        self._warned = False

    def begin(self, context: Context) -> None:
        """Note the epoch that the run begins in."""
        self._epoch = context.epoch

    def after_step(self, context: Context) -> None:
        """Take in which clusters had rows."""
        sizes = context.cluster_sizes
        assert sizes is not None
        self._steps += 1
        if np.count_nonzero(sizes) == len(sizes):
            self._all = self._steps
        else:
            if self._last is None:
                self._last = np.zeros(len(sizes), np.int32)
            self._last[sizes > 0] = self._steps
        if self._streamed:
            if self._steps % STREAM_STEPS == 0:
                self._say(STREAM_STEPS, f"the last {STREAM_STEPS} steps")
        elif context.epoch != self._epoch:
            self._epoch = context.epoch
            self._say(self._steps - self._said, f"epoch {self._epoch}")

    def end(self, _context: Context) -> None:
        """Say it of the last steps of a stream: of a short one, of its second half."""
        if self._streamed and self._whole and self._steps > self._said:
            steps = min(STREAM_STEPS, (self._steps + 1) // 2)
            self._say(steps, f"the last {steps} steps" if steps > 1 else "the last step")

    def _say(self, steps: int, when: str) -> None:
        """The first time as a warning."""
        self._said = self._steps
        before = self._steps - steps
        if self._last is None or self._all > before:
            return
        idle = int((self._last <= before).sum())
        if idle:
            level = logging.INFO if self._warned else logging.WARNING
            self._warned = True
            logger.log(level, "%d of %d clusters had no row in %s", idle, len(self._last), when)
