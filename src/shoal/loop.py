"""The training loop: initialise, then assign and update until it is time to stop.

The only file that sees every stage. ``train`` yields the state after each step, so whoever drives
it always holds the last completed one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from shoal.batches import Batch, check_columns
from shoal.config import Parameters
from shoal.errors import ShoalError, TooFewRowsError
from shoal.feed import Feed
from shoal.hooks import progress_monitor, summary_monitors
from shoal.hooks.base import ON_SAMPLE, SEEDING, TRAINING, Context, Monitors
from shoal.hooks.watching import watched
from shoal.metric import users_clusters
from shoal.opening import learned_names
from shoal.sources.open import Source
from shoal.sphere import warn_of_degrees
from shoal.state import State, empty_state
from shoal.steps import asynchronous, sampling, seeding
from shoal.steps.algorithm import Step, chosen
from shoal.steps.ending import Ending, after_step, finished, is_over
from shoal.storage.home import Home
from shoal.storage.jsonl import plain
from shoal.task import Task

logger = logging.getLogger("shoal")


def run(
    state: State, batches: Iterable[Batch], step: Callable[[State, Any], Step], ending: Ending
) -> Iterator[tuple[State, Step]]:
    """Assign, move, until it is time to stop (Lloyd 1982; by mini-batches: Sculley 2010)."""
    for batch in batches:
        made = step(state, batch.data)
        state = after_step(ending, batch.behind(made.state), made.found, made.loss)
        yield state, made
        if state.unfinished is None:
            return


def train(
    state: State | None, source: Source, task: Task, watching: Sequence[object] = ()
) -> Generator[State, None, None]:
    """Yield the state after seeding and after each step.

    Parameters
    ----------
    state
        Where to continue, or None.
    source
        The data.
    task
        What to do.
    watching
        Monitors.
    """
    metric, monitors = task.parameters.distance_metric, Monitors(watching)
    context = Context(
        lambda state: users_clusters(state.clusters, metric),
        state,
        lambda context: monitors.tell("progress", context),
    )
    feed = Feed(source, task, context.read)
    try:
        context.enter(SEEDING, source.rows)
        context.state = state = initialise(state, source, feed, task, context.chose)
        context.centers_found = state.num_found
        yield from steps(state, feed, task, context, monitors)
    except GeneratorExit:  # whoever drives the run ends it
        raise
    except BaseException as error:
        context.error = error
        raise
    finally:
        try:
            feed.end()
        finally:
            monitors.tell("end", context)


def drive(home: Home, source: Source, task: Task) -> None:
    """Train a model where it lives: it holds the state behind each step, whatever happens.

    Parameters
    ----------
    home
        Where it lives. It is as before where data cannot be used, unless it has a directory: then
        it is as after the last step, which is saved.
    source
        The data.
    task
        What to do. ``apart``: the data is not that of ``fit``, whose position in its own stays.
    """
    parameters, metric = task.parameters, task.parameters.distance_metric
    with home.writing() as saver:
        before, learned, known = home.state, home.learned, home.known()
        if home.directory is not None:
            plain(source.columns)  # names that cannot be saved are told now
        at: dict[str, Any] = {"epoch": 0, "row": 0, "batches": 0, "turns": (), "unfinished": None}
        first = before
        if task.apart and before is not None:
            first = before.replace(**at)
            at |= {"epoch": before.epoch, "row": before.row}
        shown = progress_monitor(task.run, parameters.num_clusters)
        if home.directory is not None:
            shown += summary_monitors(task.run, home.directory.path, last=not task.apart)
        if source.columns:
            warn_of_degrees(source.columns, metric)
        watching = (*shown, *task.monitors, *saver)
        named: tuple[Any, ...] | None = None
        try:
            with closing(train(first, source, task, watching)) as states:
                for state in states:
                    if not task.apart:
                        home.state = state
                    elif before is None or _has_moved(before, state):
                        home.state = state.replace(**at)
                    if named is None or not (named or source.any_order):
                        # Of a stream they are known when it is read.
                        news = home.learned is None and not source.any_order
                        named = home.learned = learned_names(known, home.settings.named, source)
                        if news and named:
                            warn_of_degrees(named, metric)
        except ShoalError:
            if not saver:
                home.state, home.learned = before, learned
            raise
        home.save()


def _has_moved(before: State, state: State) -> bool:
    """Whether there is anything new to keep."""
    counted = (before.global_step, before.num_found, before.seeding_rounds)
    return counted != (state.global_step, state.num_found, state.seeding_rounds)


def steps(
    state: State, feed: Feed, task: Task, context: Context, monitors: Monitors
) -> Generator[State, None, None]:
    """Yield the state as it is, and after each step, until it is time to stop."""
    algorithm = chosen(task.parameters)
    ending = algorithm.ending(task.stop, task.run, feed.rows, state)
    if is_over(ending, state):
        yield state
        return
    state = algorithm.resume(state, task.parameters).replace(unfinished=ending.losses.memory)
    yield state
    context.state, context.last_epoch = state, ending.last_epoch
    if state.sample_steps_left:
        state = yield from on_sample(state, feed, task, context, monitors)
        context.state = state
    context.total_steps = ending.last_step
    if ending.last_step is None and feed.num_batches is not None:
        context.total_steps = state.global_step + feed.num_batches
    context.enter(TRAINING, feed.rows)

    apply = asynchronous.apply if task.run.asynchronous else algorithm.apply

    def step(state: State, data: Any) -> Step:
        feed.check_unchanged()
        made = apply(state, data, task.parameters)
        feed.check_unchanged()
        feed.move(made.state)
        return made

    with closing(feed.batches(state, ending.last_epoch)) as batches:
        first = state
        for state in watched(
            lambda batches: run(first, batches, step, ending), batches, context, monitors
        ):
            yield state
    if state.unfinished is not None:  # the data ended, or a monitor ends the run
        context.state = state = finished(state)
        yield state


def on_sample(
    state: State, feed: Feed, task: Task, context: Context, monitors: Monitors
) -> Generator[State, None, State]:
    """The states after each step on a sample, before the first step on all rows; gives the last."""
    how = task.parameters.start_on_sample
    if how is not None:
        context.enter(ON_SAMPLE, None)
        with feed.sample(state, how.fraction) as (data, rows):
            few, left = data.scan().rows, state.sample_steps_left
            logger.info("%d steps at most on a sample of %d of %d rows", left, few, rows)
            for step in sampling.steps(state, data, rows, task.parameters):
                state = step.state
                context.step_on_sample(state, step.loss, step.found, left)
                yield state
                monitors.tell("step_on_sample", context)
        if (made := context.on_sample) is not None:
            done, loss = made["steps"], made["loss_per_row"]
            logger.info("%d steps made on the sample: loss %.6g per row", done, loss)
    if state.sample_steps_left:
        state = state.replace(sample_steps_left=0)
        yield state
    return state


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
    if not enough and not task.apart:
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
    if state is not None and task.apart:
        return state
    found = 0 if state is None else state.num_found
    raise too_few_rows(parameters, f"the data ended after {found} centers were found")


def too_few_rows(parameters: Parameters, how: str) -> TooFewRowsError:
    """The error for data that ends before seeding does."""
    return TooFewRowsError(
        f"num_clusters is {parameters.num_clusters}, but {how}: "
        "use fewer clusters or give more rows"
    )
