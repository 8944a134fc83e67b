"""Source to batch: the batches that seeding and training ask for, validated and assignable."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial

from shoal.arrivals import Arrivals, Plan, RowPlan, StreamPlan, check_asynchronous
from shoal.batches import Batch, Sampling, check_columns, look_at, make_data, sampled
from shoal.config import AFKMC2_INIT, KMC2_INIT, KMEANS_PARALLEL_INIT
from shoal.errors import BadInputError
from shoal.executors.base import Executor
from shoal.executors.data import Data
from shoal.executors.local import LocalExecutor
from shoal.executors.shards import Shards
from shoal.metric import is_cosine
from shoal.own_streams import OwnStreams, rows_of
from shoal.shards.part import Batch as Places
from shoal.shards.rows import ignore
from shoal.shards.tally import Tally
from shoal.shares import parts_of
from shoal.sources.kept import bytes_of_rows, kept
from shoal.sources.open import Source
from shoal.sources.paged import PagedSource
from shoal.sources.rows import Rows
from shoal.sources.sparse import Matrix
from shoal.sources.stream import FULL_BATCH
from shoal.state import State
from shoal.steps.algorithm import chosen
from shoal.steps.round import Round
from shoal.task import Task

logger = logging.getLogger("shoal")

#: Rows of a mini-batch drawn from memory where ``batch_size`` is not given (or 8 k, if larger).
DEFAULT_BATCH_ROWS = 4096


class Feed:
    """Turns a source into the batches that seeding and training ask for.

    Parameters
    ----------
    source
        The data.
    task
        What is done with it.
    progress
        Hears of rows read in a pass, piece by piece.
    """

    def __init__(
        self, source: Source, task: Task, progress: Callable[[int], None] = ignore
    ) -> None:
        self._source = self._opened = source
        self._task = task
        self._in_memory = source.resident
        self._check = source.check
        self._progress = progress
        self._parameters = task.parameters  # what kept rows take of the budget is gone from it
        self._full = chosen(task.parameters).takes_all
        self._more_comes = task.apart
        self._cosine = is_cosine(task.parameters.distance_metric)
        self._all: Batch | None = None
        self._looked = self._kept_there = False  # whether there is room to keep the rows
        self._everything: Shards | None = None
        self._passing: Data | None = None  # of the last batch of a stream
        self._by_worker = source.spreads and not source.any_order  # streams, of each its own
        # What comes as one stream comes to this process, and is computed in it.
        there = task.run.executor if source.spreads else None
        self._executor: Executor = LocalExecutor() if there is None else there
        self._kept: list[list[Rows]] = []  # batches of a one-shot stream that seeding used up
        self._kept_rows = self._lost_rows = 0
        self._barren = 0  # batches on end without a row to use
        self._stream: Iterator[list[Rows]] | None = None
        self._seen = False  # any batch with rows
        self._dropped = Tally(source.name)
        self._own: OwnStreams | None = None
        self._arrivals: Arrivals | None = None  # of asynchronous training
        check_asynchronous(source, task)
        if self._full:
            source.must_end(*FULL_BATCH)
        if not source.rereadable:
            if self._full:
                raise BadInputError(
                    "full-batch training reads the data once per step, and an iterator can be "
                    "read only once: pass a callable that returns a new iterator, or use "
                    "use_mini_batch=True"
                )
            self._stream = source.batches()
        if source.batch_size is not None and self._full:
            logger.warning(
                "batch_size=%d has no effect: full-batch training uses all rows in every step",
                source.batch_size,
            )

    def close(self) -> None:
        """Say how many rows were left out, if that is not said yet."""
        self._dropped.say()

    def end(self) -> None:
        """End the shards; the run is over."""
        self.close()
        for shards in (self._passing, self._everything):
            if shards is not None:
                shards.close()

    def check_unchanged(self) -> None:
        """Refuse files that have changed, where a step reads what lies in them (memory maps)."""
        if self._check is not None:
            self._check()

    def move(self, state: State) -> None:
        """A step was made, and left this state: asynchronous workers go on from it."""
        if self._arrivals is not None:
            self._arrivals.move(state)

    @property
    def rows(self) -> int | None:
        """Rows of the data, where it says so."""
        return self._opened.rows

    @property
    def num_batches(self) -> int | None:
        """How many batches there will be, where the data says so and steps do."""
        return None if self._full else self._opened.num_batches

    @property
    def _whole_at_once(self) -> bool:
        """Whether seeding sees the whole data set at once and can reach every row."""
        if self._opened.any_order:
            return not self._more_comes and (self._opened.resident or not self._by_batch)
        by_access = KMC2_INIT, AFKMC2_INIT, KMEANS_PARALLEL_INIT
        return self._full and self._parameters.initial_clusters in by_access

    @property
    def _by_batch(self) -> bool:
        """Whether a function of the user's chooses, which is given the rows of a batch."""
        return callable(self._parameters.initial_clusters)

    @property
    def _in_one_batch(self) -> bool:
        """Whether all rows are offered to seeding together, though more will come."""
        source = self._opened  # kept or not, a callable is given the same
        takes_all = source.batch_size is not None and source.batch_size >= (source.rows or 0)
        return source.resident or (not self._by_batch and takes_all)

    # --- seeding ---------------------------------------------------------------------------

    def seeding_batches(self) -> Iterator[Batch]:
        """Batches to choose centers from; those of a one-shot stream are kept for training."""
        if self._whole_at_once or self._in_one_batch:
            whole = self._whole()
            yield whole
            while self._by_batch and not self._more_comes:
                yield whole
            return
        if self._by_worker:
            yield from self._from_workers((0,) * self._executor.num_parts)
            return
        for shards in self._opened.batches() if self._stream is None else self._stream:
            self._seen = True
            if self._stream is not None:
                self._keep(shards)
            if (batch := self._if_usable(shards)) is not None:
                yield batch

    def offered(self, batch: Batch, state: State, progress: Callable[[int], None]) -> Round:
        """A batch as seeding sees it; ``progress`` hears how many centers there are."""
        whole = self._whole_at_once
        return Round(batch.data, state, self._parameters, batch.inputs, whole, progress)

    def _keep(self, shards: list[Rows]) -> None:
        """Copy a batch of a one-shot stream for training, while there is room."""
        room = self._task.run.init_buffer_rows
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

    def sample(self, state: State, fraction: float) -> Sampling:
        """A sample of all rows, where they are, and how many there are in all."""
        return sampled(self._whole().data, self._source, self._parameters, state, fraction)

    def batches(self, state: State, last_epoch: int | None) -> Generator[Batch, None, None]:
        """The batches of the steps to come; epochs end before ``last_epoch`` (None: never)."""
        if self._full:
            whole = self._whole()
            check_columns(state, len(whole.data.scan().magnitude), self._source.name)
            if not self._task.stop.given:  # then it matters which labels change
                whole.data.follow(state.clusters_before)
            while True:
                if not self._in_memory:  # else before each step, and after it
                    self._source.check_unchanged()
                yield whole
        elif self._task.run.asynchronous:
            plan = self._plan(state)
            self._arrivals = Arrivals(self._shards(), plan, self._task.run)
            yield from self._arrivals.batches(state, self._dropped)
        elif self._source.any_order:
            yield from self._epochs(state, last_epoch)
        elif self._by_worker:
            for batch in self._from_workers(self._streams().done(state)):
                columns = len(batch.data.scan().magnitude)
                check_columns(state, columns, self._source.name)
                yield batch
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
                yield batch._replace(number=number if again else 0)
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

    def _from_workers(self, done: tuple[int, ...]) -> Iterator[Batch]:
        """Batches of all workers' own streams, behind so many of each."""
        for data in self._streams().batches(done, self._cosine, self._dropped):
            if data.usable:
                yield Batch(data.checked(), partial(rows_of, data), turns=data.read)

    def _streams(self) -> OwnStreams:
        if self._own is None:
            assert not self._source.any_order
            self._own = OwnStreams(self._source, self._shards())
        return self._own

    def _plan(self, state: State) -> Plan:
        """Where each worker goes on, asynchronously."""
        if not self._source.any_order:
            return StreamPlan(self._streams(), state)
        self._keep_rows()
        return RowPlan(self._pages(), self._shards().parts, self._size, state, self._whole)

    @property
    def _size(self) -> int:
        """Rows of a mini-batch of data that is read in any order."""
        return self._source.batch_size or max(DEFAULT_BATCH_ROWS, 8 * self._parameters.num_clusters)

    def _pages(self) -> PagedSource:
        assert self._source.any_order
        return self._source

    def _epochs(self, state: State, last_epoch: int | None) -> Iterator[Batch]:
        """Shuffled batches, epoch after epoch; the position is (epoch, row)."""
        source, opened = self._pages(), self._opened
        rows = source.rows or 0
        size = self._size
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
        first = epoch
        while last_epoch is None or epoch < last_epoch:
            if epoch > first:  # what is read only once is not kept
                self._keep_rows()
            source = self._pages()
            source.pages.check_unchanged(local=True)
            used = row > 0
            if not opened.resident and row == 0 and size >= rows:  # by pieces, not joined
                yield self._whole()._replace(position=(epoch + 1, 0), of_rows=rows)
                epoch += 1
                continue
            self._dropped.begin()
            for start in range(row, rows, size):
                places = Places(seed, epoch, start, min(start + size, rows), size)
                if (data := self._at(places)).usable:
                    used = True
                    position = (epoch, places.last) if places.last < rows else (epoch + 1, 0)
                    yield Batch(data, list, position, of_rows=rows)
                self.check_unchanged()  # a memory map of a file that is cut ends the process
            self._dropped.say()
            if not used:
                self._whole()  # says why: no rows, or none with a weight
            epoch, row = epoch + 1, 0

    def _at(self, places: Places) -> Data:
        """The rows at some places of an epoch."""
        try:
            data = Data(self._shards(), self._cosine, places)
        except BadInputError:
            if self._source.resident:
                self._whole()  # says which row of which array it is
            raise
        self._dropped.add(data.scan())
        return data.checked() if data.usable else data

    def _keep_rows(self) -> None:
        """Decode files that fit into memory once for all, where they will be read again."""
        source = self._source
        if not source.any_order or source.resident or self._looked:
            return
        self._looked = True
        size = bytes_of_rows(source.pages)
        fits = self._parameters.keeps(size)
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
        self._kept_there = not self._executor.here  # by the shards
        if self._executor.here:
            self._source = kept(source, self._progress)
        self._parameters = self._parameters.without(size)
        if self._everything is not None:
            self._everything.close()
        self._everything = self._all = None

    # --- batches as data -------------------------------------------------------------------

    def _whole(self) -> Batch:
        """The whole data set as one batch."""
        if self._all is None:
            self._keep_rows()
            data = Data(self._shards(), self._cosine)
            self._dropped.begin()
            self._dropped.add(data.scan())
            self._dropped.say()
            if self._by_worker:
                self._streams().agree(range(len(self._shards())))
            rows = data.scan().rows
            self._all = Batch(data.checked(), self._all_matrices, of_rows=rows)
        return self._all

    def _shards(self) -> Shards:
        """The shards of the whole data set, which are yet to read it."""
        if self._everything is None:
            if not self._executor.here:
                self._keep_rows()  # but once they will be read again
            how = (self._executor, self._kept_there, self._progress)
            task = self._task._replace(parameters=self._parameters)
            self._everything = Shards(self._executor, parts_of(self._source, task, *how))
        return self._everything

    def _if_usable(self, shards: list[Rows]) -> Batch | None:
        """The batch, or None where no row is left of it or has a weight."""
        if self._passing is not None:
            self._passing.close()
        task = self._task
        data = make_data(shards, self._parameters, task.workspace, task.on_bad_rows)
        self._passing = data
        self._dropped.add(data.scan())
        self._barren = 0 if data.usable else self._barren + 1
        if self._barren:
            self._opened.check_some(self._barren)
            return None
        return Batch(data.checked(), lambda: self._matrices(shards), of_rows=self._opened.rows)

    def _all_matrices(self) -> list[Matrix]:
        return self._matrices(self._source.held)

    def _matrices(self, shards: Sequence[Rows]) -> list[Matrix]:
        bad_rows = self._task.on_bad_rows
        return [look_at(shard, self._parameters, bad_rows).rows for shard in shards]
