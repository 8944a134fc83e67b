"""Source to batch: the batches that seeding and training ask for, validated and assignable."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace

from shoal.config import AFKMC2_INIT, KMC2_INIT, KMEANS_PLUS_PLUS_INIT, Parameters, RunConfig
from shoal.errors import BadInputError
from shoal.executors.base import Executor
from shoal.executors.local import LocalExecutor
from shoal.metric import is_cosine
from shoal.shards.rows import Block, FromPages, Held, Reread, Tally, ignore, make_block
from shoal.shards.shard import Shard, Workspace
from shoal.sources.array import Rows
from shoal.sources.kept import bytes_of_rows, kept
from shoal.sources.open import Source
from shoal.sources.pages import PagedSource
from shoal.sources.sparse import Matrix
from shoal.sources.stream import FirstPass, StreamSource
from shoal.state import State
from shoal.steps.order import Order

logger = logging.getLogger("shoal")

#: Rows of a mini-batch drawn from memory where ``batch_size`` is not given (or 8 k, if larger).
DEFAULT_BATCH_ROWS = 4096

#: Why data must end, and what else can be done.
FULL_BATCH = (
    "full-batch training reads all of it in every step",
    "give the batches once, without .repeat(), or use use_mini_batch=True and steps=",
)


@dataclass(frozen=True)
class Batch:
    """One batch, ready to be assigned, and the position in the source behind it."""

    executor: Executor
    inputs: list[Matrix]
    position: tuple[int, int] | None = None  # epoch and row, for shuffled data in memory
    number: int = 0  # of a stream that can be read again: batches read, this one included


@dataclass(frozen=True)
class Demand:
    """What is asked of a source."""

    parameters: Parameters
    run: RunConfig
    on_bad_rows: str = "error"
    counted: bool = False  # a number of steps is asked for: epochs do not end the run
    keep_seeding: bool = False  # data may end before all centers are found: more will come
    told: Callable[[int], None] = ignore  # of rows read in a pass, piece by piece
    workspace: Workspace = field(default_factory=Workspace)  # of mini-batches


class Feed:
    """Turns a source into the batches that seeding and training ask for."""

    def __init__(self, source: Source, demand: Demand) -> None:
        self._source = self._given = source
        self._demand = demand
        self._metric = demand.parameters.distance_metric
        self._threads = demand.parameters.num_threads
        self._more_comes = demand.keep_seeding
        self._all: Batch | None = None
        self._looked = False  # whether there is room to keep the rows
        self._kept: list[list[Rows]] = []  # batches of a one-shot stream that seeding used up
        self._kept_rows = self._lost_rows = 0
        self._stream: Iterator[list[Rows]] | None = None
        self._seen = False  # any batch with rows
        self._dropped = Tally(source.name)
        if not demand.parameters.use_mini_batch and isinstance(source, StreamSource):
            source.must_end(*FULL_BATCH)
        if not source.rereadable:
            if not demand.parameters.use_mini_batch:
                raise BadInputError(
                    "full-batch training reads the data once per step, and an iterator can be "
                    "read only once: pass a callable that returns a new iterator, or use "
                    "use_mini_batch=True"
                )
            self._stream = source.batches()
        if (
            isinstance(source, PagedSource)
            and source.batch_size is not None
            and not demand.parameters.use_mini_batch
        ):
            logger.warning(
                "batch_size=%d has no effect: full-batch training uses all rows in every step",
                source.batch_size,
            )

    def close(self) -> None:
        """Say how many rows were left out, if that is not said yet."""
        self._dropped.say()

    def check_unchanged(self) -> None:
        """Refuse files that have changed, where a step reads what lies in them (memory maps)."""
        source = self._source
        if isinstance(source, PagedSource) and source.resident and source is self._given:
            source.pages.check_unchanged(local=True)

    @property
    def parameters(self) -> Parameters:
        """Those of the run; what rows that are kept take of the budget is gone from it."""
        return self._demand.parameters

    @property
    def whole(self) -> bool:
        """Whether seeding sees the whole data set at once and can reach every row."""
        if isinstance(self._given, PagedSource):
            by_batch = callable(self._demand.parameters.initial_clusters)
            return not self._more_comes and (self._given.resident or not by_batch)
        by_access = self._demand.parameters.initial_clusters in (KMC2_INIT, AFKMC2_INIT)
        return by_access and not self._demand.parameters.use_mini_batch

    @property
    def _in_one_batch(self) -> bool:
        """Whether all rows are offered to seeding together, though more will come."""
        source = self._given  # kept or not, a callable is given the same
        if not isinstance(source, PagedSource):
            return False
        by_batch = callable(self._demand.parameters.initial_clusters)
        return source.resident or (not by_batch and _takes_all(source))

    # --- seeding ---------------------------------------------------------------------------

    def seeding_batches(self) -> Iterator[Batch]:
        """Batches to choose centers from; those of a one-shot stream are kept for training."""
        if self.whole or self._in_one_batch:
            whole = self._whole()
            yield whole
            while callable(self._demand.parameters.initial_clusters) and not self._more_comes:
                yield whole
            return
        for shards in self._given.batches() if self._stream is None else self._stream:
            self._seen = True
            if self._stream is not None:
                self._keep(shards)
            if (batch := self._if_usable(shards)) is not None:
                yield batch

    def _keep(self, shards: list[Rows]) -> None:
        """Copy a batch of a one-shot stream for training, while there is room."""
        room = self._demand.run.init_buffer_rows
        size = sum(len(shard) for shard in shards)
        if self._kept_rows + size <= room:
            self._kept.append([shard.copy() for shard in shards])
            self._kept_rows += size
        else:
            self._lost_rows += size
        logger.log(
            logging.WARNING if self._lost_rows else logging.INFO,
            "seeding has read %d rows of a one-shot stream: %d are kept for training, %d are not "
            "(init_buffer_rows=%d)",
            self._kept_rows + self._lost_rows,
            self._kept_rows,
            self._lost_rows,
            room,
        )

    # --- training --------------------------------------------------------------------------

    def batches(self, state: State) -> Generator[Batch, None, None]:
        """The batches of the steps to come."""
        if not self._demand.parameters.use_mini_batch:
            whole = self._whole()
            check_columns(state, len(whole.executor.scan().magnitude), self._source.name)
            while True:
                if isinstance(self._source, PagedSource):
                    self._source.pages.check_unchanged(local=True)
                yield whole
        elif isinstance(self._source, PagedSource):
            yield from self._epochs(state)
        else:
            yield from self._streamed(state)

    def _streamed(self, state: State) -> Iterator[Batch]:
        """Batches of a stream, once; where it is read again, behind those trained on already."""
        kept, self._kept = self._kept, []
        rest = self._source.batches() if self._stream is None else self._stream
        again = self._stream is None
        done = state.batches if again and state.unfinished is not None else 0
        number = 0
        self._dropped.begin()
        for number, shards in enumerate(itertools.chain(kept, rest), 1):
            self._seen = True
            check_columns(state, shards[0].rows.shape[1], shards[0].name)
            if number > done and (batch := self._if_usable(shards)) is not None:
                yield replace(batch, number=number if again else 0)
        if not self._seen:
            raise BadInputError(f"{self._source.name} has no rows: give at least one")
        if number < done:
            logger.warning(
                "%s has %d batches, fewer than the %d that were trained on when the run was "
                "interrupted: there is nothing to go on with",
                self._source.name,
                number,
                done,
            )

    def _pages(self) -> PagedSource:
        assert isinstance(self._source, PagedSource)
        return self._source

    def _epochs(self, state: State) -> Iterator[Batch]:
        """Shuffled batches, epoch after epoch; the position is (epoch, row)."""
        source, given = self._pages(), self._given
        assert isinstance(given, PagedSource)
        rows = source.rows or 0
        size = source.batch_size or max(
            DEFAULT_BATCH_ROWS, 8 * self._demand.parameters.num_clusters
        )
        seed = state.seed if source.seed is None else source.seed
        epoch, row = state.epoch, state.row
        if row >= rows > 0:
            logger.warning(
                "%s has %d rows, training had reached row %d of epoch %d: it goes on at the "
                "beginning of that epoch",
                source.name,
                rows,
                row,
                epoch,
            )
            row = 0
        last = epoch + self._demand.run.max_epochs
        first = epoch
        while self._demand.counted or epoch < last:
            if epoch > first:  # what is read only once is not kept
                self._keep_rows()
            source = self._pages()
            source.pages.check_unchanged(local=True)
            used = row > 0
            if not given.resident and row == 0 and size >= rows:  # by pieces, not joined
                yield Batch(self._whole().executor, [], (epoch + 1, 0))
                epoch += 1
                continue
            order = Order(seed, epoch, rows, source.dim or 1)
            self._dropped.begin()
            for end, shards in source.epoch(order, size, row):
                position = (epoch, end) if end < rows else (epoch + 1, 0)
                if (batch := self._drawn(source, shards)) is not None:
                    used = True
                    yield Batch(batch.executor, batch.inputs, position)
                self.check_unchanged()  # a memory map of a file that is cut ends the process
            self._dropped.say()
            if not used:
                self._whole()  # says why: no rows, or none with a weight
            epoch, row = epoch + 1, 0

    def _drawn(self, source: PagedSource, shards: list[Rows]) -> Batch | None:
        try:
            return self._if_usable(shards)
        except BadInputError:
            if source.resident:
                self._whole()  # says which row of which array it is
            raise

    def _keep_rows(self) -> None:
        """Decode files that fit into memory once for all, where they will be read again."""
        source, given = self._source, self._demand.parameters
        if not isinstance(source, PagedSource) or source.resident or self._looked:
            return
        self._looked = True
        size = bytes_of_rows(source.pages)
        fits = given.keeps(size)
        logger.info(
            "%s: its rows take %.1f MB, %s",
            source.name,
            size / 1e6,
            "and are kept in memory from now on (memory_budget=0 keeps none)"
            if fits
            else "more than may be kept (memory_budget): they are read again for each pass",
        )
        if not fits:
            return
        self._source = kept(source, self._demand.told)
        self._demand = replace(self._demand, parameters=given.without(size))

    # --- batches as executors --------------------------------------------------------------

    def _whole(self) -> Batch:
        """The whole data set as one batch: one shard per array, or one for a stream."""
        if self._all is None:
            self._all = self._make_whole()
        return self._all

    def _make_whole(self) -> Batch:
        self._keep_rows()
        source, parameters = self._source, self._demand.parameters
        if isinstance(source, PagedSource) and source.resident:
            self._dropped.begin()
            blocks = [self._dropped.add(self._block(shard)) for shard in source.shards]
            self._dropped.say()
            return join(blocks, parameters, Workspace() if parameters.use_mini_batch else None)
        if isinstance(source, PagedSource):
            method = parameters.initial_clusters
            if isinstance(method, str) and method == KMEANS_PLUS_PLUS_INIT:
                logger.info(
                    "%s is not in memory: k-means++ reads it once per center, k-MC² (kmc2) about "
                    "once per 40",
                    source.name,
                )
            pages = FromPages(source, self._block, self._dropped, self._demand.told)
            shard = Shard(pages, self._metric, self._threads, parameters.budget(0))
            return Batch(LocalExecutor([shard], is_cosine(self._metric)), [])

        first: FirstPass | None = FirstPass(source.name)

        def read() -> Iterator[Block]:
            nonlocal first
            batches = source.batches()
            source.must_end(*FULL_BATCH)
            for shards in batches:
                if first is not None:
                    first.read(sum(map(len, shards)))
                yield from (self._block(shard) for shard in shards)
            first = None

        batches = Reread(self._dropped, read, self._demand.told)
        shard = Shard(batches, self._metric, self._threads, parameters.budget(0))
        return Batch(LocalExecutor([shard], is_cosine(self._metric)), [])

    def _if_usable(self, shards: list[Rows]) -> Batch | None:
        """The batch, or None where no row is left of it or has a weight."""
        blocks = [self._dropped.add(self._block(shard)) for shard in shards]
        if not any(len(block.rows) and block.scan.heaviest > 0 for block in blocks):
            return None
        return join(blocks, self._demand.parameters, self._demand.workspace)

    def _block(self, shard: Rows) -> Block:
        return to_block(shard, self._demand.parameters, self._demand.on_bad_rows)


def to_block(shard: Rows, parameters: Parameters, on_bad_rows: str = "error") -> Block:
    """Validate the rows of one shard."""
    return make_block(shard, parameters.distance_metric, parameters.num_threads, on_bad_rows)


def make_batch(shards: list[Rows], parameters: Parameters, workspace: Workspace) -> Batch:
    """Validate the shards of one batch and make them assignable."""
    return join([to_block(shard, parameters) for shard in shards], parameters, workspace)


def join(blocks: list[Block], parameters: Parameters, workspace: Workspace | None = None) -> Batch:
    """One batch of validated blocks.

    ``workspace``: of a batch that is passed over once; else it will be again and again.
    """
    metric, threads = parameters.distance_metric, parameters.num_threads
    size = max(sum(block.rows.nbytes for block in blocks), 1)
    budget = parameters.budget(size) if workspace is None else 0
    shared = workspace if len(blocks) == 1 else None  # parts that are merged are apart
    parts = [
        Shard(Held(block), metric, threads, budget * block.rows.nbytes // size, shared)
        for block in blocks
    ]
    executor = LocalExecutor(parts, is_cosine(metric))
    return Batch(executor, [block.rows for block in blocks])


def _takes_all(source: PagedSource) -> bool:
    return source.batch_size is not None and source.batch_size >= (source.rows or 0)


def check_columns(state: State, columns: int, name: str = "the data") -> None:
    """Refuse rows that the centers cannot be compared with."""
    if state.clusters.shape[1] != columns:
        raise BadInputError(
            f"{name} has {columns} columns, the centers (initial_clusters, or those trained "
            f"before) have {state.clusters.shape[1]}: they must agree"
        )
