"""The mini-batch step of asynchronous training: what a worker found is applied, as it comes.

The original's way (TensorFlow's workers update shared variables, each at its own pace); here each
update is applied whole, once, and how old the centers were that it was made with is known.
"""

from __future__ import annotations

from shoal.config import Parameters
from shoal.executors.updates import Arrived
from shoal.state import State
from shoal.steps import minibatch
from shoal.steps.algorithm import Step


def apply(state: State, arrived: Arrived, parameters: Parameters) -> Step:
    """One update; its loss is that at the centers that it was assigned with."""
    found = arrived.found
    assert found.partial is not None
    state = state.widened(found.scan.double)
    after = minibatch.applied(state, found.partial, parameters)
    return Step(after, found.partial, found.loss, arrived.staleness)
