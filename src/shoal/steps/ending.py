"""When a run ends: what the caller asked for, and the rules that end one by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from shoal.checks import whole_number
from shoal.config import RunConfig
from shoal.errors import BadInputError
from shoal.state import Partial, State, Unfinished


@dataclass(frozen=True)
class Stop:
    """When a run ends, as far as the caller said."""

    steps: int | None = None
    max_steps: int | None = None
    relative_tolerance: float | None = None

    @classmethod
    def checked(
        cls, steps: object, max_steps: object, relative_tolerance: float | None = None
    ) -> Stop:
        """Check what the caller said."""
        more = None if steps is None else whole_number("steps", steps, 1)
        most = None if max_steps is None else whole_number("max_steps", max_steps, 1)
        if more is not None and most is not None:
            raise BadInputError(f"steps is {steps} and max_steps is {max_steps}: give one of them")
        return cls(more, most, relative_tolerance)

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


def close_enough(loss: float, previous: float | None, tolerance: float | None) -> bool:
    """|L - P| / (1 + |P|) < tolerance, given a previous loss and a tolerance."""
    if previous is None or tolerance is None:
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


class Losses:
    """The losses of a run so far, as a run that was interrupted and goes on remembers them."""

    def __init__(self, run: RunConfig, rows: int | None, state: State) -> None:
        self._patience = run.max_no_improvement
        self._rows = rows
        memory = Unfinished(state.epoch) if state.unfinished is None else state.unfinished
        self.first_epoch = memory.first_epoch
        self._previous = memory.loss
        self._smoothed = Smoothed(memory.smoothed, memory.lowest, memory.without_improvement)

    @property
    def memory(self) -> Unfinished:
        """What the state of a run that is not over holds of it."""
        smoothed = self._smoothed
        mean, lowest, misses = smoothed.mean, smoothed.lowest, smoothed.without_improvement
        return Unfinished(self.first_epoch, self._previous, mean, lowest, misses)

    def take(self, loss: float) -> float | None:
        """Take in the loss of a step; returns that of the step before."""
        previous, self._previous = self._previous, loss
        return previous

    def no_better(self, loss: float, rows: int) -> bool:
        """Whether the smoothed loss has not reached a new low for too many steps."""
        rows = max(rows, 1)
        self._smoothed = self._smoothed.update(loss / rows, rows, self._rows or rows)
        return self._smoothed.without_improvement >= self._patience


class Ending(Protocol):
    """Decides after each step whether the run is over."""

    last_step: int | None  # the global step that ends the run at the latest
    last_epoch: int | None  # ... and the number of the epoch
    losses: Losses

    def __init__(self, stop: Stop, run: RunConfig, rows: int | None, state: State) -> None: ...

    def is_due(self, state: State, found: Partial, loss: float) -> bool:
        """Take in a step: the state behind it, what it found, its loss. Whether it is the last."""


class FullBatchEnding:
    """The loss is close to the one before; without a given stop, no label changes."""

    last_epoch: int | None = None

    def __init__(self, stop: Stop, run: RunConfig, rows: int | None, state: State) -> None:
        self.last_step = stop.last_step(state)
        self.losses = Losses(run, rows, state)
        self._stop = stop

    def is_due(self, state: State, found: Partial, loss: float) -> bool:
        """Take in a step, and say whether it is the last."""
        if close_enough(loss, self.losses.take(loss), self._stop.relative_tolerance):
            return True
        if self._stop.given:
            return state.global_step == self.last_step
        # The loss is smoothed with weight one: rounding may keep labels changing for ever.
        return found.changes == 0 or self.losses.no_better(loss, found.rows)


class MiniBatchEnding:
    """The loss is close to the one before; by epochs, or the smoothed loss stops improving."""

    def __init__(self, stop: Stop, run: RunConfig, rows: int | None, state: State) -> None:
        self.last_step = stop.last_step(state)
        self.losses = Losses(run, rows, state)
        self._stop = stop
        # A stream ends when it ends; and steps that are asked for are done.
        endless = rows is None or stop.counted
        self.last_epoch = None if endless else self.losses.first_epoch + run.max_epochs

    def is_due(self, state: State, found: Partial, loss: float) -> bool:
        """Take in a step, and say whether it is the last."""
        if close_enough(loss, self.losses.take(loss), self._stop.relative_tolerance):
            return True
        if self.last_epoch is None:
            return state.global_step == self.last_step
        if state.epoch >= self.last_epoch:
            return True
        return not self._stop.given and self.losses.no_better(loss, found.rows)


def after_step(ending: Ending, state: State, found: Partial, loss: float) -> State:
    """The state behind a step, which says whether the run is over."""
    if ending.is_due(state, found, loss):
        return finished(state)
    return state.replace(unfinished=ending.losses.memory)


def is_over(ending: Ending, state: State) -> bool:
    """Whether there is no step to do."""
    last = ending.last_step
    return not state.initialized or (last is not None and state.global_step >= last)


def finished(state: State) -> State:
    """The state of a run that came to its end: nothing is left to go on with."""
    return state.replace(batches=0, turns=(), unfinished=None, clusters_before=None)
