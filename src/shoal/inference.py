"""What trained centers say of new rows, batch by batch: predict and transform."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, TypeGuard

import numpy as np

from shoal.batches import check_columns, look_at, shards_of
from shoal.checks import warn_user
from shoal.config import Parameters
from shoal.errors import BadInputError
from shoal.executors.base import Executor
from shoal.executors.local import LocalExecutor
from shoal.executors.shards import Shards
from shoal.shards.answers import ALL_SCORES as ALL_SCORES
from shoal.shards.answers import CLUSTER_IDX as CLUSTER_IDX
from shoal.shards.answers import ROW as ROW
from shoal.shards.answers import SCORES as SCORES
from shoal.shards.answers import Sink, outputs_of
from shoal.shards.kernels import nearest_labels
from shoal.shards.rows import EMPTY_SCAN, ignore
from shoal.shards.tally import Tally
from shoal.shards.values import Measure
from shoal.sources.open import Source
from shoal.sources.paged import PagedSource
from shoal.sources.rows import Rows
from shoal.state import State
from shoal.types import Array

OUTPUTS = (CLUSTER_IDX, SCORES, ALL_SCORES)
ALLOWED = (*OUTPUTS, ROW)

#: The label of a row that ``on_bad_rows="skip"`` dropped.
LEFT_OUT = -1

#: Products of a row and a center, times columns, between two moments that progress is told: about
#: a second of work. Pieces have no fewer rows for that than these, where limits allow as many.
PIECE_WORK = 100_000_000_000
LEAST_ROWS = 1 << 16


class Inference:
    """The centers of one state, applied to sources."""

    def __init__(
        self, state: State, parameters: Parameters, on_bad_rows: str, executor: Any = None
    ) -> None:
        self.state = state
        self.parameters = parameters
        self._metric = parameters.distance_metric
        self._threads = parameters.num_threads
        self._on_bad_rows = on_bad_rows
        self._executor: Executor | None = executor

    @staticmethod
    def check_outputs(outputs: Sequence[str] | None) -> tuple[str, ...]:
        """Return the asked-for outputs, each a known name."""
        if outputs is None:
            return OUTPUTS
        if not isinstance(outputs, (str, Sequence)):
            raise BadInputError(f"outputs is {outputs!r}; it must be a list of {ALLOWED}")
        wanted = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        for name in wanted:
            if name not in ALLOWED:
                raise BadInputError(f"outputs holds {name!r}; allowed are {ALLOWED}")
        if not wanted:
            raise BadInputError(f"outputs is empty; choose from {ALLOWED}")
        return wanted

    def batches(
        self, source: Source, outputs: tuple[str, ...], size: int | None = None
    ) -> Iterator[dict[str, Array]]:
        """Outputs of each batch; shards of a batch are joined.

        ``size``: batches are cut into pieces of at most so many rows; none are joined.
        """
        if source.dim is not None:
            check_columns(self.state, source.dim, source.name)
        if size is not None:
            source = source.in_pieces(size)
        if self._elsewhere(source):
            return self._of_shards(source, outputs, size or self.size_of_pieces(source, outputs))
        given = self.state.clusters, self._metric, self._threads
        return (
            self.joined(iter([outputs_of(block, *given, outputs) for block in blocks]))
            for batch in self.blocks(source)
            for blocks in ([batch] if size is None else _pieces(batch, size))
        )

    def _elsewhere(self, source: Source) -> TypeGuard[PagedSource]:
        """Whether shards that live elsewhere read the rows: of data without batches."""
        return not source.batched and self._executor is not None

    def _shards(self, source: Source) -> Shards:
        executor = self._executor or LocalExecutor()
        return shards_of(source, self.parameters, self._on_bad_rows, executor)

    def _of_shards(
        self, source: PagedSource, outputs: tuple[str, ...], size: int
    ) -> Iterator[dict[str, Array]]:
        """Outputs of piece after piece, as the shards say."""
        shards = self._shards(source)
        dropped, empty = Tally(source.name), True
        centers = shards.executor.share(self.state.clusters)
        try:
            for which in range(len(shards)):
                for number in itertools.count():
                    message = {which: (centers, outputs, size, number)}
                    [found] = shards.ask_each("predict", message)
                    if found is None:
                        break
                    dropped.add(found.scan)
                    if len(next(iter(found.outputs.values()))):
                        empty = False
                        yield found.outputs
        finally:
            shards.close()
            dropped.say()
        if empty:
            raise BadInputError("the data has no rows: give at least one")

    def measured(self, source: Source) -> Measure | None:
        """Sum of weight * distance over data that lives elsewhere; None for what is read here."""
        by_workers = source.spreads and not source.any_order and self._executor is not None
        if not (by_workers or self._elsewhere(source)):
            return None
        if source.dim is not None:
            check_columns(self.state, source.dim, source.name)
        shards, dropped = self._shards(source), Tally(source.name)
        try:
            found = shards.ask("measure", shards.executor.share(self.state.clusters))
        finally:
            shards.close()
        total: Measure = reduce(Measure.merge, found)
        dropped.add(
            replace(EMPTY_SCAN, rows=total.rows, dropped=total.dropped, left_out=total.left_out)
        )
        dropped.say()
        if total.rows == 0:
            raise BadInputError("the data has no rows: give at least one")
        return total

    def written(self, source: PagedSource, outputs: tuple[str, ...], sink: Sink) -> int:
        """Write outputs where the rows are, each shard into a file of its own; returns the rows.

        ``sink`` is sent to the shards: it opens the file of each, by its number.
        """
        if source.dim is not None:
            check_columns(self.state, source.dim, source.name)
        shards = self._shards(source)
        dropped, rows = Tally(source.name), 0
        size = self.size_of_pieces(source, outputs)
        centers = shards.executor.share(self.state.clusters)
        try:
            message = {n: (centers, outputs, size, sink, n) for n in range(len(shards))}
            for scan in shards.ask_each("write", message):
                dropped.add(scan)
                rows += scan.rows
        finally:
            shards.close()
            dropped.say()
        return rows

    def size_of_pieces(self, source: Source, outputs: tuple[str, ...]) -> int:
        """Rows that are taken at a time where no one asks for batches."""
        rows = self.piece_rows(source)
        if ALL_SCORES not in outputs:
            return rows
        return max(1, min(rows, source.limits.answer_distances // len(self.state.clusters)))

    def collected(
        self, source: Source, outputs: tuple[str, ...], progress: Callable[[int], None] = ignore
    ) -> dict[str, Array]:
        """One dict of arrays for all batches; ``progress`` hears how many rows are done."""
        check_ends(source)
        parts = _Joined(source.rows)
        for batch in self.batches(self._in_pieces(source), outputs):
            parts.add(batch)
            progress(len(next(iter(batch.values()))))
        return parts.arrays()

    def labels(self, source: Source, progress: Callable[[int], None] = ignore) -> Array:
        """Nearest center of every row that was given, int64 [n]: LEFT_OUT where it was dropped."""
        check_ends(source)
        if self._elsewhere(source):
            labels = np.full(source.rows or 0, LEFT_OUT, np.int64)
            for batch in self.batches(source, (ROW, CLUSTER_IDX)):
                labels[batch[ROW]] = batch[CLUSTER_IDX]
                progress(len(batch[ROW]))
            return labels
        parts = _Joined(source.rows)
        for blocks in self.blocks(self._in_pieces(source), also_empty=True):
            for block in blocks:
                found = np.full(block.dropped + len(block.rows), LEFT_OUT, np.int64)
                if len(block.rows):
                    found[slice(None) if block.kept is None else block.kept] = nearest_labels(
                        block.rows, self.state.clusters, self._metric, self._threads
                    )
                parts.add({CLUSTER_IDX: found})
                progress(len(found))
        return parts.arrays()[CLUSTER_IDX]

    def _in_pieces(self, source: Source) -> Source:
        """Data in memory that has no batches, piece by piece where it is large."""
        here, size = self._executor is None, self.piece_rows(source)
        large = (source.rows or 0) > size
        if source.batched or not (here and large):
            return source
        return source.in_pieces(size)

    def warned_of_distances(
        self, source: Source, progress: Callable[[int], None]
    ) -> Callable[[int], None]:
        """Warn once where n x k distances are many, and no one asked for them by name.

        Of a stream only its reading shows how many rows it has: gives what is to be told of them.
        """
        row = self.state.clusters.dtype.itemsize * len(self.state.clusters)
        seen, many = 0, source.limits.many_distances

        def count(more: int) -> None:
            nonlocal seen
            if seen * row <= many < (seen + more) * row:
                size = f"{(seen + more) * row / 1e6:,.0f} MB"
                warn_user(
                    f"predict computes the distance of each of {seen + more:,} rows to each of "
                    f"{len(self.state.clusters):,} centers, {size}: labels(x) is the short way to "
                    "the nearest centers alone, outputs=[...] says what else is wanted"
                )
            seen += more

        def both(more: int) -> None:
            count(more)
            progress(more)

        if source.rows is None:
            return both
        count(source.rows)
        return progress

    def piece_rows(self, source: Source) -> int:
        """Rows between two moments that progress is told."""
        about_a_second = PIECE_WORK // max(self.state.clusters.size, 1)
        return min(max(about_a_second, LEAST_ROWS), source.limits.answer_rows)

    @staticmethod
    def joined(batches: Iterator[dict[str, Array]]) -> dict[str, Array]:
        """One dict of arrays for all batches."""
        parts = list(batches)
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def blocks(self, source: Source, also_empty: bool = False) -> Iterator[list[Rows]]:
        """The validated blocks of each batch that has rows; ``also_empty``: or had, before."""
        first, empty, dropped = 0, True, Tally(source.name)
        try:
            for parts in source.batches():
                source.check_unchanged()
                check_columns(self.state, parts[0].rows.shape[1], parts[0].name)
                try:
                    blocks = [self._block(part) for part in parts]
                except BadInputError:
                    for part in source.held:  # say which row it is
                        self._block(part)
                    raise
                for i, block in enumerate(blocks):
                    dropped.add(block.seen)
                    blocks[i] = replace(block, first=first)
                    first += block.dropped + len(block.rows)
                if sum(len(block.rows) + also_empty * block.dropped for block in blocks):
                    empty = False
                    yield blocks
                if source.resident:  # memory maps
                    source.check_unchanged()
        finally:
            dropped.say()
        if empty:
            raise BadInputError("the data has no rows: give at least one")

    def _block(self, part: Rows) -> Rows:
        return look_at(part, self.parameters, self._on_bad_rows)


def check_ends(source: Source) -> None:
    """Refuse data that never ends where all of it is read before there is an answer."""
    source.must_end("all of it is read before there is an answer", "give what is wanted of it")


def _pieces(blocks: list[Rows], size: int) -> Iterator[list[Rows]]:
    """A batch in pieces: of the shards together where they are few rows, else of each."""
    if sum(len(block.rows) for block in blocks) <= size:
        yield blocks
        return
    for block in blocks:
        yield from ([piece] for piece in block.pieces(size) if len(piece.rows))


class _Joined:
    """Batches of outputs as one dict of arrays, into place where it is known how many come."""

    def __init__(self, rows: int | None) -> None:
        self._rows = rows
        self._done = 0
        self._parts: list[dict[str, Array]] = []
        self._whole: dict[str, Array] = {}

    def add(self, batch: dict[str, Array]) -> None:
        """Take in the next batch."""
        size = len(next(iter(batch.values())))
        if self._rows is None or size == self._rows:
            self._parts.append(batch)
            return
        if not self._whole:
            self._whole = {
                name: np.empty((self._rows, *part.shape[1:]), part.dtype)
                for name, part in batch.items()
            }
        for name, part in batch.items():
            dtype = np.promote_types(self._whole[name].dtype, part.dtype)
            self._whole[name] = self._whole[name].astype(dtype, copy=False)
            self._whole[name][self._done : self._done + size] = part
        self._done += size

    def arrays(self) -> dict[str, Array]:
        """All of them."""
        if self._whole:
            return {name: array[: self._done] for name, array in self._whole.items()}
        return Inference.joined(iter(self._parts))
