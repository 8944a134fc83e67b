"""Rows in pages, to be read in any order and any number of times: in memory or on disk."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from shoal.sources.ahead import ahead
from shoal.sources.columns import Columns, wanted_columns
from shoal.sources.pieces import Order, Reader, cut, in_pieces, portions, skip, until
from shoal.sources.rows import Rows, joined, names_of, with_weights
from shoal.sources.weights import given_twice, weights_of
from shoal.types import Indices


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

    def cut_at(self, edges: list[int]) -> ArrayPages:
        """The same rows, with pages that end at these rows, too."""
        pages, start = [], 0
        for shard in self.shards:
            inside = [edge - start for edge in edges if start < edge < start + len(shard)]
            bounds = [0, *inside, len(shard)]
            pages += [shard.between(*pair) for pair in itertools.pairwise(bounds)]
            start += len(shard)
        return ArrayPages(pages, self.name)

    def only(self, first: int, last: int) -> ArrayPages:
        """The pages from one to another; nothing is left of the others but their lengths."""
        some = ArrayPages(self.shards, self.name)
        none = self.shards[0].between(0, 0)
        some.shards = [
            shard if first <= page < last else none for page, shard in enumerate(self.shards)
        ]
        return some


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
        self._offset = 0  # the row of the first weight

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
        start = first - self._offset
        return replace(rows, weights=self._weights[start : start + len(rows)])

    def only(self, first: int, last: int) -> WeightedPages:
        """The same, to be read from one page to another; nothing is left of other weights."""
        some = copy.copy(self)
        some._offset = self._starts[first]
        some._weights = self._weights[some._offset : self._starts[last]]
        return some


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
    own
        The first of the pages whose rows are given, and the one behind the last; None: all.
    """

    rereadable = True

    def __init__(
        self,
        pages: Pages,
        batch_size: int | None,
        shuffle: bool,
        seed: int | None = None,
        own: tuple[int, int] | None = None,
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
        self._own = own or (0, len(pages.lengths))
        self.first, self.last = (int(self._starts[page]) for page in self._own)

    def split(self, number: int) -> list[PagedSource]:
        """So many shares of about as many rows, one behind the other; each can be sent away."""
        total = self.rows or 0
        pages = self.pages
        if isinstance(pages, ArrayPages):
            pages = pages.cut_at([total * i // number for i in range(1, number)])
        starts = np.array([0, *accumulate(pages.lengths)])
        edges = [int(np.searchsorted(starts, total * i // number)) for i in range(number)]
        edges = [0, *edges[1:], len(pages.lengths)]
        shares = []
        for own in itertools.pairwise(edges):
            mine = pages.only(*own) if isinstance(pages, (ArrayPages, WeightedPages)) else pages
            shares.append(PagedSource(mine, self.batch_size, self.shuffle, self.seed, own))
        return shares

    @property
    def nbytes(self) -> int:
        """Bytes of the rows, where they are in memory."""
        return sum(part.rows.nbytes for part in self.stream())

    def stream(self) -> Iterator[Rows]:
        """The rows in order, in pieces of bounded size."""
        first, last = self._own
        if last == len(self.pages.lengths):
            return self.pages.stream(first)
        return until(self.pages.stream(first), self.last - self.first)

    def like(self, batch_size: int | None, shuffle: bool) -> PagedSource:
        """The same pages in other batches."""
        return self._of(self.pages, self.named, batch_size, shuffle)

    def by(self, named: Columns) -> PagedSource:
        """The same data with other columns, or in another order: on disk, it is opened anew."""
        pages = self.pages
        if self.read is not None:
            pages = self.read(named)
        else:
            asked = replace(named, weigh=False).spelled(pages.columns)
            wanted = wanted_columns(pages.columns, asked, self.name)
            shards = [shard.select(wanted) for shard in self.shards]
            pages = ArrayPages(shards, self.name, pages.check_unchanged)
        return self._of(pages, named, self.batch_size, self.shuffle)

    def _of(
        self, pages: Pages, named: Columns, batch_size: int | None, shuffle: bool
    ) -> PagedSource:
        own = None if self._whole else self._own
        other = PagedSource(pages, batch_size, shuffle, self.seed, own)
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
        return list(self.stream())

    def batches(self) -> Iterator[list[Rows]]:
        """Batches in order, wherever pages end: views of the rows, never copies."""
        if self.batch_size is not None:
            return cut(self.stream(), self.batch_size)
        if self.resident:
            return iter([self.shards])
        return ([piece] for piece in self.stream())

    def take(self, indices: Indices) -> Rows:
        """Copy rows by their increasing index."""
        bounds = np.searchsorted(indices, self._starts)
        wanted = [page for page, rows in enumerate(np.diff(bounds)) if rows] or [0]
        parts = [
            self.pages.read(page).at(indices[bounds[page] : bounds[page + 1]] - self._starts[page])
            for page in wanted
        ]
        return joined(parts)

    def epoch(self, order: Order, size: int, row: int) -> Iterator[list[Rows]]:
        """Batches of ``size`` rows from row ``row`` of an epoch on: of each, the rows given."""
        return self._shuffled(order, size, row) if self.shuffle else self._ordered(size, row)

    def _ordered(self, size: int, row: int) -> Iterator[list[Rows]]:
        rows = self.rows or 0
        page, inside = self.page_of(min(max(row, self.first), self.last))
        pieces = skip(self.pages.stream(page), inside)
        if self._whole:
            return cut(pieces, size)
        starts = range(row, rows, size)
        return portions(pieces, (self._inside(start, min(start + size, rows)) for start in starts))

    @property
    def _whole(self) -> bool:
        """Whether all pages are given."""
        return self._own == (0, len(self.pages.lengths))

    def _inside(self, first: int, last: int) -> int:
        """How many of these rows are in the own pages."""
        return max(min(last, self.last) - max(first, self.first), 0)

    def _mine(self, drawn: Indices) -> Indices:
        """Those of some rows that are in the own pages, in order."""
        if not self._whole:
            drawn = drawn[(drawn >= self.first) & (drawn < self.last)]
        return np.sort(drawn)

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
            return self._ordered(size, row)
        starts = range(row, rows, size)
        drawn = (self._mine(order.at(start, min(start + size, rows))) for start in starts)
        return ([self.take(indices)] if len(indices) else [] for indices in drawn)

    def _from_windows(self, order: Order, size: int, row: int) -> Iterator[list[Rows]]:
        """Batches across windows, of which one is used while the next is read."""
        window = order.window_at(row)
        row -= order.start(window)
        batch: list[Rows] = []
        room = size
        for loaded, places in ahead(self._windows(order, window)):
            self.pages.check_unchanged(local=True)
            rows = order.start(window + 1) - order.start(window)
            while row < rows:
                drawn = order.within(window, row, min(row + room, rows))
                row, room = row + len(drawn), room - len(drawn)
                mine = np.sort(drawn if places is None else places[drawn])
                mine = mine[np.searchsorted(mine, 0) :]
                if loaded is not None and len(mine):
                    batch.append(loaded.at(mine))
                if room == 0:
                    yield batch
                    batch, room = [], size
            row, window = 0, window + 1
        if room < size:
            yield batch

    def _from(self, row: int, size: int) -> Iterator[Rows]:
        """The rows from one on, in pieces of at most ``size``."""
        page, inside = self.page_of(row)
        return skip(self.pages.pieces(page, size), inside)

    def _windows(self, order: Order, window: int) -> Iterator[tuple[Rows | None, Indices | None]]:
        """The own rows of a window, and of those behind it; each row of an epoch is read once.

        And which of them each row of the window is, -1 for none, where not all are.
        """
        readers = [Reader(lambda row: self._from(row, order.strip)) for _ in order.strips(window)]
        try:
            while window < order.windows:
                pieces: list[Rows] = []
                places, start = [], 0
                for reader, ranges in zip(readers, order.strips(window), strict=True):
                    for first, last in ranges:
                        here = self._inside(first, last)
                        inside = np.full(last - first, -1)
                        if here:
                            begin = max(first, self.first)
                            pieces += reader.read(begin, begin + here)
                            inside[begin - first : begin - first + here] = np.arange(here) + start
                        places.append(inside)
                        start += here
                loaded = joined(pieces) if pieces else None
                yield loaded, None if self._whole else np.concatenate(places)
                window += 1
        finally:
            for reader in readers:
                reader.close()
