"""Data in pages as a source: in order, in batches, shuffled, by index; or a share of it."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, Literal

import numpy as np

from shoal.sources.ahead import ahead
from shoal.sources.columns import Columns, wanted_columns
from shoal.sources.limits import USUAL, Limits
from shoal.sources.pages import ArrayPages, Pages, SomePages, WeightedPages, only
from shoal.sources.pieces import Order, Reader, cut, portions, skip, until
from shoal.sources.rows import Rows, joined, with_weights
from shoal.types import Indices


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
    limits
        How much of the rows is in work at a time.
    """

    rereadable = True
    any_order: Literal[True] = True  # a type checker takes the answer for the type
    spreads = True  # workers can each read a share of it
    num_batches: int | None = None  # of a pass, as far as the data says

    def __init__(
        self,
        pages: Pages,
        batch_size: int | None,
        shuffle: bool,
        seed: int | None = None,
        own: tuple[int, int] | None = None,
        limits: Limits = USUAL,
    ) -> None:
        self.pages = pages
        self.limits = limits
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.name = pages.name
        self.named = Columns()  # how the columns were asked for
        self.read: Callable[[Columns], Pages] | None = None  # opens data on disk anew
        self._starts = [0, *accumulate(pages.lengths)]
        self.rows: int | None = self._starts[-1]
        self.dim: int | None = pages.dim
        self.dtype: np.dtype[Any] | None = pages.dtype
        self.columns: tuple[Any, ...] | None = pages.columns
        self._own = own or (0, len(pages.lengths))
        self.first, self.last = self._starts[self._own[0]], self._starts[self._own[1]]

    def split(self, number: int) -> list[PagedSource]:
        """So many shares of about as many rows, one behind the other; each can be sent away."""
        total = self.rows or 0
        pages = self.pages
        if isinstance(pages, ArrayPages):
            pages = pages.cut_at([total * i // number for i in range(1, number)])
        starts = [0, *accumulate(pages.lengths)]
        edges = [bisect.bisect_left(starts, total * i // number) for i in range(number)]
        edges = [0, *edges[1:], len(pages.lengths)]
        how = (self.batch_size, self.shuffle, self.seed)
        return [
            PagedSource(only(pages, *own), *how, own, self.limits)
            for own in itertools.pairwise(edges)
        ]

    def alone(self) -> PagedSource:
        """The rows that are given as a source of their own, with an order of their own."""
        pages = SomePages(self.pages, *self._own)
        how = (self.batch_size, self.shuffle, self.seed)
        return PagedSource(pages, *how, limits=self.limits)

    @property
    def given(self) -> int:
        """How many rows are given: all, or those of a share."""
        return self.last - self.first

    @property
    def nbytes(self) -> int:
        """Bytes of the rows, where they are in memory."""
        return sum(part.rows.nbytes for part in self.stream())

    def stream(self) -> Iterator[Rows]:
        """The rows in order, in pieces of bounded size."""
        first, last = self._own
        if last == len(self.pages.lengths):
            return self.pages.stream(first)
        return until(self.pages.stream(first), self.given)

    def like(self, batch_size: int | None, shuffle: bool) -> PagedSource:
        """The same pages in other batches."""
        return self._of(self.pages, self.named, batch_size, shuffle)

    def by(self, named: Columns) -> PagedSource:
        """The same data with other columns, or in another order: on disk, it is opened anew."""
        pages = self.pages
        if self.read is not None:
            pages = self.read(named)
        else:
            asked = named._replace(weigh=False).spelled(pages.columns)
            wanted = wanted_columns(pages.columns, asked, self.name)
            parts = [part.select(wanted) for part in self.held]
            pages = ArrayPages(parts, self.name, pages.check_unchanged)
        return self._of(pages, named, self.batch_size, self.shuffle)

    def _of(
        self, pages: Pages, named: Columns, batch_size: int | None, shuffle: bool
    ) -> PagedSource:
        own = None if self._whole else self._own
        other = PagedSource(pages, batch_size, shuffle, self.seed, own, self.limits)
        other.named, other.read = named, self.read
        return other

    def weighted(self, weights: Any, what: str) -> PagedSource:
        """The same rows with weights [n]; of several shards in memory, also one vector for each."""
        pages: Pages
        if self.resident:
            parts = with_weights(self.held, weights, self.name, what)
            pages = ArrayPages(parts, self.name, self.pages.check_unchanged)
        else:
            pages = WeightedPages(self.pages, weights, what)
        return self._of(pages, self.named, self.batch_size, self.shuffle)

    @property
    def resident(self) -> bool:
        """Whether the rows are in memory."""
        return self.pages.resident

    @property
    def held(self) -> list[Rows]:
        """All rows, where they are in memory; else none."""
        return list(self.stream()) if self.resident else []

    @property
    def batched(self) -> bool:
        """Whether the user has said what the batches are."""
        return self.batch_size is not None

    def in_pieces(self, size: int) -> PagedSource:
        """The same in batches of at most ``size`` rows, where they are in memory."""
        if not self.resident:
            return self
        return self.like(min(size, self.batch_size or size), shuffle=False)

    @property
    def check(self) -> Callable[[], None] | None:
        """``check_unchanged`` of rows that are used where they lie in files; else None."""
        plain = isinstance(self.pages, ArrayPages) and self.pages.check is None
        return None if plain or not self.resident else self.check_unchanged

    def check_unchanged(self) -> None:
        """Raise BadInputError where local files that rows come from have changed."""
        self.pages.check_unchanged(local=True)

    def must_end(self, why: str, cure: str) -> None:
        """It does."""

    def check_some(self, barren: int) -> None:
        """There is an end to batches without a row to use."""

    def as_it_comes(self) -> PagedSource:
        """The same in its own order; where it has no batches, as one."""
        return self.like(self.batch_size or self.rows, shuffle=False)

    def batches(self) -> Iterator[list[Rows]]:
        """Batches in order, wherever pages end: views of the rows, never copies."""
        if self.batch_size is not None:
            return cut(self.stream(), self.batch_size)
        if self.resident:
            return iter([self.held])
        return ([piece] for piece in self.stream())

    def take(self, indices: Indices) -> Rows:
        """Copy rows by their increasing index."""
        if len(self.pages.lengths) == 1:
            return self.pages.read(0).at(indices)
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
        page = bisect.bisect_right(self._starts, row) - 1
        page = min(page, len(self._starts) - 2)
        return page, row - self._starts[page]

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
