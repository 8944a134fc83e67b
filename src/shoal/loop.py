"""The training loop: initialise, then assign and update until it is time to stop.

The only file that sees every stage. ``train`` yields the state after each step, so whoever drives
it always holds the last completed one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from shoal.batches import check_columns
from shoal.config import Parameters
from shoal.errors import TooFewRowsError
from shoal.executors.data import Data
from shoal.feed import Batch, Feed
from shoal.hooks.base import SEEDING, TRAINING, Context
from shoal.hooks.watching import watched
from shoal.metric import is_cosine, to_unit
from shoal.sources.open import Source
from shoal.state import State, empty_state
from shoal.steps import seeding
from shoal.steps.algorithm import Step, chosen
from shoal.steps.ending import Ending, after_step, finished, is_over
from shoal.task import Task
from shoal.types import Floats

logger = logging.getLogger("shoal")


def run(
    state: State, batches: Iterable[Batch], step: Callable[[State, Data], Step], ending: Ending
) -> Iterator[Step]:
    """Assign, move, until it is time to stop (Lloyd 1982; by mini-batches: Sculley 2010)."""
    for batch in batches:
        moved, found, loss = step(state, batch.data)
        state = after_step(ending, batch.behind(moved), found, loss)
        yield Step(state, found, loss)
        if state.unfinished is None:
            return


def train(state: State | None, source: Source, task: Task) -> Generator[State, None, None]:
    """Yield the state after seeding and after each step.

    Parameters
    ----------
    state
        Where to continue, or None.
    source
        The data.
    task
        What to do.
    """
    context = Context(
        lambda state: users_clusters(state, task.parameters),
        state,
        lambda context: task.monitors.tell("progress", context),
    )
    feed = Feed(source, task, context.read)
    try:
        context.enter(SEEDING, source.rows)
        context.state = state = initialise(state, source, feed, task, context.chose)
        context.centers_found = state.num_found
        yield from steps(state, source, feed, task, context)
    except GeneratorExit:  # whoever drives the run ends it
        raise
    except BaseException as error:
        context.error = error
        raise
    finally:
        try:
            feed.end()
        finally:
            task.monitors.tell("end", context)


def steps(
    state: State, source: Source, feed: Feed, task: Task, context: Context
) -> Generator[State, None, None]:
    """Yield the state as it is, and after each step, until it is time to stop."""
    algorithm = chosen(task.parameters)
    ending = algorithm.ending(task.stop, task.run, source.rows, state)
    if is_over(ending, state):
        yield state
        return
    state = algorithm.resume(state, task.parameters).replace(unfinished=ending.losses.memory)
    yield state
    context.state, context.last_epoch = state, ending.last_epoch
    context.total_steps = ending.last_step
    if ending.last_step is None and feed.num_batches is not None:
        context.total_steps = state.global_step + feed.num_batches
    context.enter(TRAINING, source.rows)

    def step(state: State, data: Data) -> Step:
        feed.check_unchanged()
        made = algorithm.apply(state, data, task.parameters)
        feed.check_unchanged()
        return made

    with closing(feed.batches(state, ending.last_epoch)) as batches:
        first = state
        for state in watched(
            lambda batches: run(first, batches, step, ending), batches, context, task.monitors
        ):
            yield state
    if state.unfinished is not None:  # the data ended, or a monitor ends the run
        context.state = state = finished(state)
        yield state


def initialise(
    state: State | None, source: Source, feed: Feed, task: Task, progress: Callable[[int], None]
) -> State:
    """Choose centers until there are enough; ``progress`` hears how many there are."""
    parameters = task.parameters
    if parameters.has_centers and (state is None or not state.initialized):
        state = seeding.from_centers(parameters)  # whatever was chosen before them
    if state is not None and state.initialized:
        if source.dim is not None:
            check_columns(state, source.dim, source.name)
        return state
    found = 0 if state is None else state.num_found
    enough = source.rows is None or source.rows + found >= parameters.num_clusters
    if not enough and not task.keep_seeding:
        raise too_few_rows(parameters, f"the data has only {source.rows} rows")
    for batch in feed.seeding_batches():
        scan = batch.data.scan()
        dim = len(scan.magnitude)
        if state is None:
            state = empty_state(dim, scan.dtype, parameters.random_seed)
        check_columns(state, dim, "a later batch")
        state = seeding.step(feed.offered(batch, state, progress))
        if state.initialized:
            logger.info("%d centers chosen", state.num_found)
            return state
    if state is not None and task.keep_seeding:
        return state
    found = 0 if state is None else state.num_found
    raise too_few_rows(parameters, f"the data ended after {found} centers were found")


def too_few_rows(parameters: Parameters, how: str) -> TooFewRowsError:
    """The error for data that ends before seeding does."""
    return TooFewRowsError(
        f"num_clusters is {parameters.num_clusters}, but {how}: "
        "use fewer clusters or give more rows"
    )


def users_clusters(state: State, parameters: Parameters) -> Floats:
    """The centers as users read them: of length one under cosine. A copy."""
    if is_cosine(parameters.distance_metric):
        return to_unit(state.clusters)
    return state.clusters.copy()
