"""The training loop: initialise, then assign and update until it is time to stop.

The only file that sees every stage. ``train`` yields the state after each step, so whoever drives
it always holds the last completed one.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from shoal.config import Parameters, RunConfig
from shoal.errors import BadInputError, TooFewRowsError
from shoal.executors.base import Executor
from shoal.executors.local import LocalExecutor
from shoal.hooks import Context, Monitors
from shoal.metric import as_stored, is_cosine, to_unit
from shoal.shard import Block, Shard, make_block
from shoal.sources.array import ArraySource, Floats, Rows
from shoal.sources.stream import StreamSource
from shoal.state import Partial, State, empty_state, exact_to_float
from shoal.steps import lloyd, minibatch, seeding
from shoal.steps.convergence import Smoothed, close_enough
from shoal.steps.random import SHUFFLING, Stream

logger = logging.getLogger("shoal")

#: Rows of a mini-batch drawn from memory where ``batch_size`` is not given (or 8 k, if larger).
DEFAULT_BATCH_ROWS = 4096


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

    def last_step(self, state: State) -> int | None:
        """The global step after which the run ends, where steps were given."""
        return self.max_steps if self.steps is None else state.global_step + self.steps


@dataclass(frozen=True)
class Task:
    """A run: parameters, how it behaves, when it ends, who watches."""

    parameters: Parameters
    run: RunConfig = field(default_factory=RunConfig)
    stop: Stop = field(default_factory=Stop)
    monitors: Monitors = field(default_factory=lambda: Monitors([]))
    on_bad_rows: str = "error"
    keep_seeding: bool = False  # data may end before all centers are found: more will come


@dataclass(frozen=True)
class Batch:
    """One batch, ready to be assigned, and the position in the source behind it."""

    executor: Executor
    inputs: list[Floats]
    epoch: int = 0
    row: int = 0


def train(state: State | None, source: ArraySource | StreamSource, task: Task) -> Iterator[State]:
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
    feed = Feed(source, task)
    state = feed.initialised(state)
    yield state
    if not state.initialized:
        return
    last_step = task.stop.last_step(state)
    if last_step is not None and state.global_step >= last_step:
        return
    current = state
    context = Context(
        lambda: users_clusters(current, task.parameters), current.global_step, last_step
    )
    judge = Judge(task, source, current)
    task.monitors.tell("begin", context)
    try:
        for batch in feed.batches(current):
            if judge.out_of_epochs(batch):
                break
            task.monitors.tell("before_step", context)
            after, found = apply_step(current, batch.executor, task.parameters)
            current = after.replace(epoch=batch.epoch, row=batch.row)
            loss = exact_to_float(found.loss)
            context.step, context.loss, context.rows = current.global_step, loss, found.rows
            judge.losses.append(loss)
            yield current
            task.monitors.tell("after_step", context)
            if context.stop_requested or current.global_step == last_step:
                break
            if judge.says_stop(current, found):
                break
    finally:
        task.monitors.tell("end", context)


def apply_step(state: State, batch: Executor, parameters: Parameters) -> tuple[State, Partial]:
    """One step of either kind."""
    step = minibatch.step if parameters.use_mini_batch else lloyd.step
    return step(state, batch, parameters)


def users_clusters(state: State, parameters: Parameters) -> Floats:
    """The centers as users read them: of length one under cosine. A copy."""
    if is_cosine(parameters.distance_metric):
        return to_unit(state.clusters)
    return state.clusters.copy()


class Judge:
    """Decides after each step whether the run is done."""

    def __init__(self, task: Task, source: ArraySource | StreamSource, first: State) -> None:
        self._task = task
        self._rows = source.rows
        self._last_epoch = first.epoch + task.run.max_epochs
        self._tolerance = task.stop.relative_tolerance
        self._smoothed = Smoothed()
        self.losses: list[float] = []

    def out_of_epochs(self, batch: Batch) -> bool:
        """Whether the last epoch is over: where its last batch had no rows to train on."""
        limited = self._rows is not None and self._task.stop.steps is self._task.stop.max_steps
        return limited and (batch.epoch, batch.row) > (self._last_epoch, 0)

    def says_stop(self, state: State, found: Partial) -> bool:
        """Apply the tolerance, or the default criterion where nothing was given."""
        if self._tolerance is not None:
            previous = self.losses[-2] if len(self.losses) > 1 else None
            if close_enough(self.losses[-1], previous, self._tolerance):
                return True
        mini_batch = self._task.parameters.use_mini_batch
        if not mini_batch and (self._task.stop.given or found.changes == 0):
            return not self._task.stop.given
        if mini_batch and (self._rows is None or self._task.stop.last_step(state) is not None):
            return False  # a stream ends when it ends; steps were asked for
        if state.epoch >= self._last_epoch:
            return True
        if self._task.stop.given:
            return False
        # A full batch is smoothed with weight one: rounding may keep labels changing for ever.
        per_row = self.losses[-1] / max(found.rows, 1)
        self._smoothed = self._smoothed.update(per_row, found.rows, self._rows or found.rows)
        return self._smoothed.without_improvement >= self._task.run.max_no_improvement


class Feed:
    """Turns a source into the batches that seeding and training ask for."""

    def __init__(self, source: ArraySource | StreamSource, task: Task) -> None:
        self._source = source
        self._task = task
        self._metric = task.parameters.distance_metric
        self._threads = task.parameters.num_threads
        self._more_comes = task.keep_seeding
        self._all: Batch | None = None
        self._kept: list[list[Rows]] = []  # batches of a one-shot stream that seeding used up
        self._stream: Iterator[list[Rows]] | None = None
        self._seen = False  # any batch with rows
        if isinstance(source, StreamSource) and not source.rereadable:
            if not task.parameters.use_mini_batch:
                raise BadInputError(
                    "full-batch training reads the data once per step, and an iterator can be "
                    "read only once: pass a callable that returns a new iterator, or use "
                    "use_mini_batch=True"
                )
            self._stream = source.batches()

    # --- seeding ---------------------------------------------------------------------------

    def initialised(self, state: State | None) -> State:
        """Choose centers until there are enough."""
        parameters = self._task.parameters
        given = parameters.initial_clusters
        if state is None and isinstance(given, np.ndarray):
            empty = empty_state(given.shape[1], given.dtype, parameters.random_seed)
            clusters = as_stored(given.copy(), parameters.distance_metric)
            state = seeding.ready(
                empty.replace(clusters=clusters, counts=np.zeros(len(clusters))), parameters
            )
        if state is not None and state.initialized:
            if isinstance(self._source, ArraySource) and self._source.dim is not None:
                check_columns(state, self._source.dim, self._source.shards[0].name)
            return state
        found = 0 if state is None else state.num_found
        rows = self._source.rows
        if rows is not None and rows + found < parameters.num_clusters and not self._more_comes:
            raise TooFewRowsError(
                f"num_clusters is {parameters.num_clusters}, but the data has only {rows} rows: "
                "use fewer clusters or give more rows"
            )
        whole = self._source.in_memory and not self._more_comes
        for batch in self._seeding_batches():
            if state is None:
                first = batch.inputs[0]
                state = empty_state(first.shape[1], first.dtype, parameters.random_seed)
            check_columns(state, batch.inputs[0].shape[1], "a later batch")
            state = seeding.step(state, batch.executor, batch.inputs, parameters, whole)
            if state.initialized:
                logger.info("%d centers chosen", state.num_found)
                return state
        if state is not None and self._more_comes:
            return state
        found = 0 if state is None else state.num_found
        raise TooFewRowsError(
            f"num_clusters is {parameters.num_clusters}, but the data ended after {found} centers "
            "were found: use fewer clusters or give more rows"
        )

    def _seeding_batches(self) -> Iterator[Batch]:
        if isinstance(self._source, ArraySource):
            whole = self._whole()
            yield whole
            while callable(self._task.parameters.initial_clusters) and not self._more_comes:
                yield whole
            return
        batches = self._source.batches() if self._stream is None else self._stream
        kept_rows = lost_rows = 0
        for shards in batches:
            self._seen = True
            size = sum(len(shard) for shard in shards)
            if self._stream is not None:
                if kept_rows + size <= self._task.run.init_buffer_rows:
                    self._kept.append(shards)
                    kept_rows += size
                else:
                    lost_rows += size
                logger.info(
                    "seeding has read %d rows of a one-shot stream: %d are kept for training, "
                    "%d are not (init_buffer_rows=%d)",
                    kept_rows + lost_rows,
                    kept_rows,
                    lost_rows,
                    self._task.run.init_buffer_rows,
                )
            if (batch := self._if_usable(shards)) is not None:
                yield batch

    # --- training --------------------------------------------------------------------------

    def batches(self, state: State) -> Iterator[Batch]:
        """The batches of the steps to come."""
        if not self._task.parameters.use_mini_batch:
            whole = self._whole()
            name = "x" if isinstance(self._source, ArraySource) else self._source.name
            check_columns(state, len(whole.executor.scan().magnitude), name)
            while True:
                yield whole
        elif isinstance(self._source, ArraySource):
            yield from self._epochs(self._source, state)
        else:
            kept, self._kept = self._kept, []
            rest = self._source.batches() if self._stream is None else self._stream
            for shards in itertools.chain(kept, rest):
                self._seen = True
                check_columns(state, shards[0].rows.shape[1], shards[0].name)
                if (batch := self._if_usable(shards)) is not None:
                    yield batch
            if not self._seen:
                raise BadInputError(f"{self._source.name} has no rows: give at least one")

    def _epochs(self, source: ArraySource, state: State) -> Iterator[Batch]:
        """Shuffled batches, epoch after epoch; the position is (epoch, row)."""
        rows = source.rows or 0
        size = source.batch_size or max(DEFAULT_BATCH_ROWS, 8 * self._task.parameters.num_clusters)
        epoch, row = state.epoch, state.row if state.row < rows else 0
        limited = self._task.stop.last_step(state) is None
        last = epoch + self._task.run.max_epochs
        while not limited or epoch < last:
            used = row > 0
            order = (
                Stream(state.seed, SHUFFLING, epoch).permutation(rows)
                if source.shuffle and size < rows
                else np.arange(rows)
            )
            while row < rows:
                drawn = np.sort(order[row : row + size])
                row += size
                at = (epoch, row) if row < rows else (epoch + 1, 0)
                taken = [source.take(drawn)] if size < rows else source.shards
                try:
                    batch = self._if_usable(taken)
                except BadInputError:
                    self._whole()  # says which row of the data it is, not of the batch
                    raise
                if batch is not None:
                    used = True
                    yield Batch(batch.executor, batch.inputs, *at)
            if not used:
                self._whole()  # says why: no rows, or none with a weight
            epoch, row = epoch + 1, 0

    # --- batches as executors --------------------------------------------------------------

    def _whole(self) -> Batch:
        """The whole data set as one batch: one shard per array, or one for a stream."""
        if self._all is None:
            self._all = self._make_whole()
        return self._all

    def _make_whole(self) -> Batch:
        keep = not self._task.parameters.use_mini_batch
        if isinstance(self._source, ArraySource):
            blocks = [self._block(shard) for shard in self._source.shards]
            return join(blocks, self._task.parameters, keep)
        source = self._source

        def read() -> Iterator[Block]:
            for shards in source.batches():
                yield from (self._block(shard) for shard in shards)

        shard = Shard(read, self._metric, self._threads)
        return Batch(LocalExecutor([shard], is_cosine(self._metric)), [])

    def _if_usable(self, shards: list[Rows]) -> Batch | None:
        """The batch, or None where no row is left of it or has a weight."""
        blocks = [self._block(shard) for shard in shards]
        if not any(len(block.rows) and block.scan.heaviest > 0 for block in blocks):
            return None
        return join(blocks, self._task.parameters)

    def _block(self, shard: Rows) -> Block:
        return make_block(
            shard.rows,
            shard.weights,
            self._metric,
            self._threads,
            self._task.on_bad_rows,
            shard.name,
        )


def make_batch(shards: list[Rows], parameters: Parameters, keep: bool = False) -> Batch:
    """Validate the shards of one batch and make them assignable."""
    metric, threads = parameters.distance_metric, parameters.num_threads
    blocks = [
        make_block(shard.rows, shard.weights, metric, threads, name=shard.name) for shard in shards
    ]
    return join(blocks, parameters, keep)


def join(blocks: list[Block], parameters: Parameters, keep: bool = False) -> Batch:
    """One batch of validated blocks; ``keep``: it will be passed over again and again."""
    metric, threads = parameters.distance_metric, parameters.num_threads
    rows = sum(len(block.rows) for block in blocks)
    bounds = keep and parameters.allows(4 * rows, sum(block.rows.nbytes for block in blocks))
    parts = [Shard.of_block(block, metric, threads, bounds) for block in blocks]
    executor = LocalExecutor(parts, is_cosine(metric))
    return Batch(executor, [block.rows for block in blocks])


def check_columns(state: State, columns: int, name: str = "the data") -> None:
    """Refuse rows that the centers cannot be compared with."""
    if state.clusters.shape[1] != columns:
        raise BadInputError(
            f"{name} has {columns} columns, the centers (initial_clusters, or those trained "
            f"before) have {state.clusters.shape[1]}: they must agree"
        )
