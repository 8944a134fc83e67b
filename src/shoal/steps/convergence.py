"""When to stop."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.config import RunConfig
from shoal.state import Partial, State


@dataclass(frozen=True)
class Stop:
    """When a run ends, as far as the caller said."""

    steps: int | None = None
    max_steps: int | None = None
    relative_tolerance: float | None = None

    @property
    def given(self) -> bool:
        """Whether the caller said anything."""
        return not (self.steps is self.max_steps is self.relative_tolerance is None)

    @property
    def counted(self) -> bool:
        """Whether a number of steps was asked for."""
        return not (self.steps is self.max_steps is None)

    def last_step(self, state: State) -> int | None:
        """The global step after which the run ends, where steps were given."""
        return self.max_steps if self.steps is None else state.global_step + self.steps


def close_enough(loss: float, previous: float | None, tolerance: float) -> bool:
    """|L - P| / (1 + |P|) < tolerance, given a previous loss."""
    if previous is None:
        return False
    return abs(loss - previous) / (1 + abs(previous)) < tolerance


@dataclass(frozen=True)
class Smoothed:
    """Exponentially weighted mean of the loss per row, and how long it has not improved.

    The weight of a batch of b rows among n is min(1, 2 b / (n + 1)): the memory is about half a
    pass, as in scikit-learn's MiniBatchKMeans.
    """

    mean: float | None = None
    lowest: float = float("inf")
    without_improvement: int = 0

    def update(self, loss_per_row: float, batch_rows: int, rows: int) -> Smoothed:
        """Return the value after one more batch."""
        alpha = min(1.0, 2 * batch_rows / (rows + 1))
        mean = loss_per_row if self.mean is None else self.mean * (1 - alpha) + loss_per_row * alpha
        if mean < self.lowest:
            return Smoothed(mean, mean, 0)
        return Smoothed(mean, self.lowest, self.without_improvement + 1)


class Judge:
    """Decides after each step whether the run is done.

    ``unfinished`` is what the state carries of it, so that a run that was interrupted and goes on
    ends where it would have ended.
    """

    def __init__(
        self, stop: Stop, run: RunConfig, mini_batch: bool, rows: int | None, first: State
    ) -> None:
        self._stop = stop
        self._run = run
        self._mini_batch = mini_batch
        self._rows = rows
        self._previous: float | None = None
        self._smoothed = Smoothed()
        self._first_epoch = first.epoch
        if first.unfinished is not None:
            epoch, previous, mean, lowest, misses = first.unfinished
            self._first_epoch, self._previous = int(epoch), None if previous < 0 else previous
            self._smoothed = Smoothed(None if mean < 0 else mean, lowest, int(misses))

    @property
    def unfinished(self) -> tuple[float, ...]:
        """First epoch, previous loss and smoothed loss (-1: none yet), its lowest, steps since."""
        smoothed = self._smoothed
        mean = -1.0 if smoothed.mean is None else smoothed.mean
        previous = -1.0 if self._previous is None else self._previous
        return (self._first_epoch, previous, mean, smoothed.lowest, smoothed.without_improvement)

    @property
    def last_epoch(self) -> int | None:
        """The number of the epoch that ends the run if nothing else does; None without a limit."""
        limited = self._mini_batch and self._rows is not None and not self._stop.counted
        return self._first_epoch + self._run.max_epochs if limited else None

    def out_of_epochs(self, epoch: int, row: int) -> bool:
        """Whether the last epoch is over: where its last batch had no rows to train on."""
        last = self.last_epoch
        return last is not None and (epoch, row) > (last, 0)

    def says_stop(self, epoch: int, loss: float, found: Partial) -> bool:
        """Take in the loss of a step, and apply what was asked for or the default criterion."""
        previous, self._previous = self._previous, loss
        tolerance = self._stop.relative_tolerance
        if tolerance is not None and close_enough(loss, previous, tolerance):
            return True
        if not self._mini_batch and (self._stop.given or found.changes == 0):
            return not self._stop.given
        if self._mini_batch and (self._rows is None or self._stop.counted):
            return False  # a stream ends when it ends; steps were asked for
        if self._mini_batch and epoch >= self._first_epoch + self._run.max_epochs:
            return True
        if self._stop.given:
            return False
        # A full batch is smoothed with weight one: rounding may keep labels changing for ever.
        rows = max(found.rows, 1)
        self._smoothed = self._smoothed.update(loss / rows, rows, self._rows or rows)
        return self._smoothed.without_improvement >= self._run.max_no_improvement
