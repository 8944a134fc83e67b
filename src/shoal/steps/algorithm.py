"""The algorithm of a run, chosen once: full batches (Lloyd) or mini-batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from shoal.config import Parameters
from shoal.executors.data import Data
from shoal.shards.kernels import as_loss, loss_of
from shoal.state import Partial, State
from shoal.steps import lloyd, minibatch
from shoal.steps.ending import Ending, FullBatchEnding, MiniBatchEnding


class Step(NamedTuple):
    """A step that was made: the state behind it, the pass it was made of, the loss before it."""

    state: State
    found: Partial
    loss: float
    staleness: int | None = None  # of asynchronous training: see executors/updates.py


@dataclass(frozen=True)
class Algorithm:
    """What lloyd.py and minibatch.py offer, and the rules that end a run by each."""

    start: Callable[[State, Parameters], State]  # freshly chosen centers
    resume: Callable[[State, Parameters], State]  # trained ones
    step: Callable[[State, Data, Parameters], tuple[State, Partial]]
    ending: type[Ending]
    takes_all: bool  # a step takes all rows; else those of a batch

    def apply(self, state: State, data: Data, parameters: Parameters) -> Step:
        """One step, and its loss; float64 rows make float64 centers of float32 ones."""
        state = state.widened(data.scan().double)
        after, found = self.step(state, data, parameters)
        loss = loss_of(found, state.clusters, parameters.distance_metric, parameters.num_threads)
        return Step(after, found, as_loss(data.loss(state.clusters)) if loss is None else loss)


FULL_BATCH = Algorithm(lloyd.start, lloyd.resume, lloyd.step, FullBatchEnding, True)
MINI_BATCH = Algorithm(minibatch.start, minibatch.resume, minibatch.step, MiniBatchEnding, False)


def chosen(parameters: Parameters) -> Algorithm:
    """The algorithm of some parameters."""
    return MINI_BATCH if parameters.use_mini_batch else FULL_BATCH
