"""A run as its monitors see it: what they are told around each step, and how they end it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from shoal.hooks.base import TRAINING, Context, Monitors
from shoal.state import Partial, State


class Offered(Protocol):
    """A batch, as far as monitors care."""

    @property
    def of_rows(self) -> int | None:
        """Rows of the pass that it is from."""


class Made(Protocol):
    """A step that was made."""

    @property
    def found(self) -> Partial:
        """The pass it was made of."""

    @property
    def loss(self) -> float:
        """The loss before it."""

    @property
    def staleness(self) -> int | None:
        """Of asynchronous training: how many steps old the centers were that it was made with."""


Batch = TypeVar("Batch", bound=Offered)


def watched(
    run: Callable[[Iterator[Batch]], Iterable[tuple[State, Made]]],
    batches: Iterator[Batch],
    context: Context,
    monitors: Monitors,
) -> Iterator[State]:
    """The states of a run over some batches; monitors hear of each step, and may end the run."""

    def offered() -> Iterator[Batch]:
        while True:
            context.step_begins()
            batch = next(batches, None)
            if batch is None:
                return
            context.enter(TRAINING, batch.of_rows)
            monitors.tell("before_step", context)
            yield batch

    monitors.tell("begin", context)
    for state, made in run(offered()):
        context.step_ends(state, made.loss, made.found, made.staleness)
        yield state
        monitors.tell("after_step", context)
        if context.stop_requested:
            return
