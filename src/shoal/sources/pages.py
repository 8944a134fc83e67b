"""Rows in pages, to be read in any order and any number of times: in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shoal.sources.ahead import ahead
from shoal.sources.array import Columns, Rows, joined, names_of, with_weights
from shoal.sources.columns import wanted_columns
from shoal.sources.weights import given_twice, weights_of

Indices = npt.NDArray[np.int64]

#: Bytes of rows on disk that are read at a time.
PIECE_BYTES = 16 << 20


class Pages(Protocol):
    """What a ``PagedSource`` reads."""

    name: str  # what error messages call the data
    dim: int
    dtype: np.dtype[Any]  # of the rows
    columns: tuple[Any, ...]  # names, () where the data has none
    resident: bool  # in memory: reading a page costs nothing and copies nothing

    @property
    def lengths(self) -> Sequence[int]:
        """Rows of each page, known without reading them."""

    def read(self, page: int) -> Rows:
        """A whole page."""

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """All rows from page ``first`` on, in order, in pieces of bounded size."""

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces of at most ``size`` rows, read when they are asked for."""

    def check_unchanged(self, local: bool = False) -> None:
        """Raise BadInputError where the data is no longer what it was when it was opened.

        ``local``: but for what lies behind URLs, which takes long to ask for.
        """


class Order(Protocol):
    """In which order the rows of an epoch come; see ``steps.order``."""

    windows: int  # rows are taken from one window after the other
    strip: int  # the most rows of a range of a window

    def at(self, first: int, last: int) -> Indices:
        """Indices of the rows at places ``first`` … ``last`` - 1 of the epoch."""

    def start(self, window: int) -> int:
        """The place in the epoch at which a window begins."""

    def window_at(self, place: int) -> int:
        """The window that a place in the epoch lies in."""

    def strips(self, window: int) -> list[list[tuple[int, int]]]:
        """Ranges of rows that make up a window: for each place that data is read from, in order."""

    def within(self, window: int, first: int, last: int) -> Indices:
        """Which rows of a window stand at its places ``first`` … ``last`` - 1."""


class ArrayPages:
    """Shards in memory, a page each."""

    resident = True

    def __init__(
        self,
        shards: list[Rows],
        name: str | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """``check``: of the files that they come from, that they are as they were."""
        self.shards = shards
        self._check = check
        self.name = shards[0].name if name is None else name
        self.dim: int = shards[0].rows.shape[1]
        self.dtype = shards[0].rows.dtype
        self.columns = names_of(shards)
        self.lengths = [len(shard) for shard in shards]

    def read(self, page: int) -> Rows:
        """A shard."""
        return self.shards[page]

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """The shards."""
        return iter(self.shards[first:])

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces: views."""
        return in_pieces(self.shards[first:], size)

    def check_unchanged(self, local: bool = False) -> None:
        """Raise BadInputError where local files that the rows come from have changed.

        Arrays are looked at again at each call instead.
        """
        del local
        if self._check is not None:
            self._check()


class WeightedPages:
    """Pages that are not in memory, with weights that are."""

    resident = False

    def __init__(self, pages: Pages, weights: Any, what: str) -> None:
        self._pages = pages
        self._starts = [0, *accumulate(pages.lengths)]
        if getattr(pages, "weight", None) is not None:
            raise given_twice(pages.name, what)
        self._weights = weights_of(weights, self._starts[-1], pages.name, 0, what)
        self.name, self.dim, self.dtype = pages.name, pages.dim, pages.dtype
        self.columns, self.lengths = pages.columns, pages.lengths
        self.weight = what

    def read(self, page: int) -> Rows:
        """A whole page."""
        return self._with(self._pages.read(page), self._starts[page])

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """All rows from page ``first`` on, in order."""
        return self._all(self._pages.stream(first), self._starts[first])

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces of at most ``size`` rows, read when they are asked for."""
        return self._all(self._pages.pieces(first, size), self._starts[first])

    def check_unchanged(self, local: bool = False) -> None:
        """Raise BadInputError where the data is no longer what it was when it was opened."""
        self._pages.check_unchanged(local)

    def _all(self, pieces: Iterator[Rows], row: int) -> Iterator[Rows]:
        for piece in pieces:
            yield self._with(piece, row)
            row += len(piece)

    def _with(self, rows: Rows, first: int) -> Rows:
        return replace(rows, weights=self._weights[first : first + len(rows)])


class PagedSource:
    """Data that is read any number of times and in any order.

    Parameters
    ----------
    pages
        The rows; several pages count as one sequence of rows.
    batch_size
        Rows per batch; None: all of them, or pieces of what is not in memory.
    shuffle
        Whether mini-batch training draws batches in random order (a function of seed and epoch).
    seed
        Of that order; None: the model's.
    """

    rereadable = True

    def __init__(
        self, pages: Pages, batch_size: int | None, shuffle: bool, seed: int | None = None
    ) -> None:
        self.pages = pages
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.name = pages.name
        self.named = Columns()  # how the columns were asked for
        self.read: Callable[[Columns], Pages] | None = None  # opens data on disk anew
        self._starts = np.array([0, *accumulate(pages.lengths)])
        self.rows: int | None = int(self._starts[-1])
        self.dim: int | None = pages.dim
        self.columns: tuple[Any, ...] | None = pages.columns

    def like(self, batch_size: int | None, shuffle: bool) -> PagedSource:
        """The same pages in other batches."""
        return self._of(self.pages, self.named, batch_size, shuffle)

    def by(self, named: Columns) -> PagedSource:
        """The same data with other columns, or in another order: on disk, it is opened anew."""
        pages = self.pages
        if self.read is not None:
            pages = self.read(named)
        else:
            wanted = wanted_columns(pages.columns, replace(named, weigh=False), self.name)
            shards = [shard.select(wanted) for shard in self.shards]
            pages = ArrayPages(shards, self.name, pages.check_unchanged)
        return self._of(pages, named, self.batch_size, self.shuffle)

    def _of(
        self, pages: Pages, named: Columns, batch_size: int | None, shuffle: bool
    ) -> PagedSource:
        other = PagedSource(pages, batch_size, shuffle, self.seed)
        other.named, other.read = named, self.read
        return other

    def weighted(self, weights: Any, what: str) -> PagedSource:
        """The same rows with weights [n]; of several shards in memory, also one vector for each."""
        pages: Pages
        if self.resident:
            shards = with_weights(self.shards, weights, self.name, what)
            pages = ArrayPages(shards, self.name, self.pages.check_unchanged)
        else:
            pages = WeightedPages(self.pages, weights, what)
        return self._of(pages, self.named, self.batch_size, self.shuffle)

    @property
    def resident(self) -> bool:
        """Whether the rows are in memory."""
        return self.pages.resident

    @property
    def shards(self) -> list[Rows]:
        """All rows, where they are in memory."""
        return list(self.pages.stream())

    def batches(self) -> Iterator[list[Rows]]:
        """Batches in order, wherever pages end: views of the rows, never copies."""
        if self.batch_size is not None:
            return cut(self.pages.stream(), self.batch_size)
        if self.resident:
            return iter([self.shards])
        return ([piece] for piece in self.pages.stream())

    def take(self, indices: Indices) -> Rows:
        """Copy rows by their increasing index."""
        bounds = np.searchsorted(indices, self._starts)
        wanted = [page for page, rows in enumerate(np.diff(bounds)) if rows] or [0]
        parts = [
            self.pages.read(page).at(indices[bounds[page] : bounds[page + 1]] - self._starts[page])
            for page in wanted
        ]
        return joined(parts)

    def epoch(self, order: Order, size: int, row: int) -> Iterator[tuple[int, list[Rows]]]:
        """Batches of ``size`` rows from row ``row`` of an epoch on, each with the row behind it."""
        for batch in self._shuffled(order, size, row) if self.shuffle else self._ordered(size, row):
            row += sum(map(len, batch))
            yield row, batch

    def _ordered(self, size: int, row: int) -> Iterator[list[Rows]]:
        page, inside = self.page_of(row)
        return cut(skip(self.pages.stream(page), inside), size)

    def page_of(self, row: int) -> tuple[int, int]:
        """The page that holds a row, and which row of the page it is."""
        page = int(np.searchsorted(self._starts, row, side="right")) - 1
        page = min(page, len(self._starts) - 2)
        return page, row - int(self._starts[page])

    def _shuffled(self, order: Order, size: int, row: int) -> Iterator[list[Rows]]:
        rows = self.rows or 0
        if not self.resident:
            return self._from_windows(order, size, row)
        if size >= rows:
            return cut(skip(self.pages.stream(), row), size)
        starts = range(row, rows, size)
        drawn = (order.at(start, min(start + size, rows)) for start in starts)
        return ([self.take(np.sort(indices))] for indices in drawn)

    def _from_windows(self, order: Order, size: int, row: int) -> Iterator[list[Rows]]:
        """Batches across windows, of which one is used while the next is read."""
        window = order.window_at(row)
        row -= order.start(window)
        batch: list[Rows] = []
        room = size
        for loaded in ahead(self._windows(order, window)):
            self.pages.check_unchanged(local=True)
            while row < len(loaded):
                drawn = order.within(window, row, min(row + room, len(loaded)))
                batch.append(loaded.at(np.sort(drawn)))
                row, room = row + len(drawn), room - len(drawn)
                if room == 0:
                    yield batch
                    batch, room = [], size
            row, window = 0, window + 1
        if batch:
            yield batch

    def _windows(self, order: Order, window: int) -> Iterator[Rows]:
        """The rows of a window, and of those behind it; each row of an epoch is read once."""
        readers = [_Reader(self, order.strip) for _ in order.strips(window)]
        try:
            while window < order.windows:
                strips = zip(readers, order.strips(window), strict=True)
                yield joined(
                    [
                        piece
                        for reader, ranges in strips
                        for first, last in ranges
                        for piece in reader.read(first, last)
                    ]
                )
                window += 1
        finally:
            for reader in readers:
                reader.close()


class _Reader:
    """Reads on from where it has read to, as long as what is asked for is there."""

    def __init__(self, source: PagedSource, size: int) -> None:
        self._source = source
        self._size = size
        self._pieces: Iterator[Rows] = iter(())
        self._rest: Rows | None = None
        self._row = -1

    def read(self, first: int, last: int) -> Iterator[Rows]:
        """Rows ``first`` … ``last`` - 1 in pieces."""
        if first != self._row:
            self._begin(first)
        while first < last:
            piece = self._rest or next(self._pieces)
            size = min(len(piece), last - first)
            yield piece.between(0, size)
            self._rest = piece.between(size, len(piece)) if size < len(piece) else None
            first += size
        self._row = last

    def close(self) -> None:
        """End the reading."""
        if isinstance(self._pieces, Generator):
            self._pieces.close()

    def _begin(self, row: int) -> None:
        self.close()
        page, inside = self._source.page_of(row)
        self._rest, self._pieces = None, skip(self._source.pages.pieces(page, self._size), inside)


def in_pieces(parts: Iterable[Rows], size: int) -> Iterator[Rows]:
    """Each of some rows in pieces of at most ``size``: views."""
    for part in parts:
        for start in range(0, len(part), size):
            yield part.between(start, start + size)


def cut(pieces: Iterator[Rows], size: int) -> Iterator[list[Rows]]:
    """Batches of ``size`` rows, wherever pieces end: views."""
    batch: list[Rows] = []
    room = size
    for piece in pieces:
        start = 0
        while start < len(piece):
            batch.append(piece.between(start, start + room))
            start, room = start + len(batch[-1]), room - len(batch[-1])
            if room == 0:
                yield batch
                batch, room = [], size
    if batch:
        yield batch


def skip(pieces: Iterator[Rows], rows: int) -> Iterator[Rows]:
    """The pieces without their first ``rows`` rows."""
    for piece in pieces:
        if rows >= len(piece):
            rows -= len(piece)
        else:
            yield piece.between(rows, len(piece)) if rows else piece
            rows = 0
