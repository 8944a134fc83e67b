"""The training loop: initialise, then assign and update until it is time to stop.

The only file that sees every stage. ``train`` yields the state after each step, so whoever drives
it always holds the last completed one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from shoal.batches import check_columns
from shoal.config import Parameters, RunConfig
from shoal.errors import TooFewRowsError
from shoal.executors.data import Data
from shoal.feed import Demand, Feed
from shoal.hooks.base import SEEDING, TRAINING, Context, Monitors
from shoal.metric import is_cosine, to_unit
from shoal.shards.kernels import as_loss, loss_of
from shoal.shards.workspace import Workspace
from shoal.sources.open import Source
from shoal.state import Partial, State, empty_state
from shoal.steps import lloyd, minibatch, seeding
from shoal.steps.convergence import Judge, Stop
from shoal.types import Floats

logger = logging.getLogger("shoal")


@dataclass(frozen=True)
class Task:
    """A run: parameters, how it behaves, when it ends, who watches."""

    parameters: Parameters
    run: RunConfig = field(default_factory=RunConfig)
    stop: Stop = field(default_factory=Stop)
    monitors: Monitors = field(default_factory=lambda: Monitors([]))
    on_bad_rows: str = "error"
    keep_seeding: bool = False  # data may end before all centers are found: more will come
    workspace: Workspace = field(default_factory=Workspace)  # of mini-batches


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
    given = task.parameters
    context = Context(
        lambda state: users_clusters(state, given),
        state,
        lambda context: task.monitors.tell("progress", context),
    )
    demand = Demand(
        given,
        task.run,
        task.on_bad_rows,
        task.stop.counted,
        task.keep_seeding,
        context.read,
        task.workspace,
    )
    feed = Feed(source, demand)
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
    given, last_step = task.parameters, task.stop.last_step(state)
    if not state.initialized or (last_step is not None and state.global_step >= last_step):
        yield state
        return
    current = state
    if given.use_mini_batch:
        current = minibatch.resume(state.replace(clusters_before=None), given)
    judge = Judge(task.stop, task.run, given.use_mini_batch, source.rows, current)
    current = current.replace(unfinished=judge.unfinished)
    yield current
    context.state, context.total_steps = current, last_step
    context.enter(TRAINING, source.rows)
    context.last_epoch = judge.last_epoch
    ahead = source.num_batches
    if ahead is not None and last_step is None and given.use_mini_batch:
        context.total_steps = current.global_step + ahead
    task.monitors.tell("begin", context)
    before = None if given.use_mini_batch or task.stop.given else current.clusters_before
    with closing(feed.batches(current)) as batches:
        while True:
            context.step_begins()
            batch = next(batches, None)
            if batch is None:
                break
            whole = batch.data.scan().rows if not given.use_mini_batch else source.rows
            context.enter(TRAINING, whole)
            if batch.position is not None and judge.out_of_epochs(*batch.position):
                break
            task.monitors.tell("before_step", context)
            feed.check_unchanged()
            # Whether a label changes is told from those of the step before.
            current, found, loss = apply_step(current, batch.data, given, before)
            before = None
            feed.check_unchanged()
            epoch, row = batch.position or (current.epoch, current.row)
            done = judge.says_stop(epoch, loss, found) or current.global_step == last_step
            current = current.replace(
                epoch=epoch, row=row, batches=batch.number, unfinished=judge.unfinished
            )
            if done:
                current = finished(current)
            context.step_ends(current, loss, found)
            yield current
            task.monitors.tell("after_step", context)
            if done or context.stop_requested:
                break
    if current.unfinished is not None:
        context.state = current = finished(current)
        yield current


def initialise(
    state: State | None, source: Source, feed: Feed, task: Task, progress: Callable[[int], None]
) -> State:
    """Choose centers until there are enough; ``progress`` hears how many there are."""
    parameters = task.parameters
    if parameters.has_centers and (state is None or not state.initialized):
        state = seeding.given(parameters)  # whatever was chosen before them
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
        given = feed.parameters
        state = seeding.step(state, batch.data, batch.inputs, given, feed.whole, progress)
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


def apply_step(
    state: State, data: Data, parameters: Parameters, before: Floats | None = None
) -> tuple[State, Partial, float]:
    """One step of either kind, and its loss; float64 rows make float64 centers of float32 ones."""
    if data.scan().double and state.clusters.dtype != np.float64:
        state = state.replace(
            clusters=state.clusters.astype(np.float64),
            clusters_updated=state.clusters_updated.astype(np.float64),
        )
    if parameters.use_mini_batch:
        after, found = minibatch.step(state, data, parameters)
    else:
        after, found = lloyd.step(state, data, parameters, before)
    loss = loss_of(found, state.clusters, parameters.distance_metric, parameters.num_threads)
    if loss is None:
        loss = as_loss(data.loss(state.clusters))
    return after, found, loss


def finished(state: State) -> State:
    """The state of a run that came to its end: nothing is left to go on with."""
    return state.replace(batches=0, unfinished=None, clusters_before=None)


def users_clusters(state: State, parameters: Parameters) -> Floats:
    """The centers as users read them: of length one under cosine. A copy."""
    if is_cosine(parameters.distance_metric):
        return to_unit(state.clusters)
    return state.clusters.copy()
