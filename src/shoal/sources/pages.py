"""Rows in pages, to be read in any order and any number of times: in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shoal.sources.ahead import ahead
from shoal.sources.array import Rows, joined

Indices = npt.NDArray[np.int64]
#: ``permute(n, *path)`` gives 0 … n - 1 in an order that depends on the path alone.
Permute = Callable[..., Indices]

#: Bytes of rows on disk that are read at a time.
PIECE_BYTES = 16 << 20
#: Bytes of rows on disk that are shuffled together.
WINDOW_BYTES = 64 << 20


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

    def check_unchanged(self) -> None:
        """Raise BadInputError where the data is no longer what it was when it was opened."""


class ArrayPages:
    """Shards in memory, a page each."""

    resident = True

    def __init__(self, shards: list[Rows]) -> None:
        self.shards = shards
        self.name = shards[0].name
        self.dim: int = shards[0].rows.shape[1]
        self.dtype = shards[0].rows.dtype
        self.columns = shards[0].columns
        self.lengths = [len(shard) for shard in shards]

    def read(self, page: int) -> Rows:
        """A shard."""
        return self.shards[page]

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """The shards."""
        return iter(self.shards[first:])

    def check_unchanged(self) -> None:
        """Arrays are looked at again at each call instead."""


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
        self._starts = np.array([0, *accumulate(pages.lengths)])
        self.rows: int | None = int(self._starts[-1])
        self.dim: int | None = pages.dim
        self.columns: tuple[Any, ...] | None = pages.columns

    def like(self, batch_size: int | None, shuffle: bool) -> PagedSource:
        """The same pages in other batches."""
        return PagedSource(self.pages, batch_size, shuffle, self.seed)

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

    def epoch(self, permute: Permute, size: int, row: int) -> Iterator[tuple[int, list[Rows]]]:
        """Batches of ``size`` rows from row ``row`` of an epoch on, each with the row behind it.

        ``permute`` says in which order rows come, by path: () for all of them where one window
        has room for all; else (0,) for the pages, (1 + w,) for the rows of window w.
        """
        batches = self._shuffled(permute, size, row) if self.shuffle else self._ordered(size, row)
        for batch in batches:
            row += sum(map(len, batch))
            yield row, batch

    def _ordered(self, size: int, row: int) -> Iterator[list[Rows]]:
        page = min(int(np.searchsorted(self._starts, row, side="right")) - 1, len(self._starts) - 2)
        return cut(skip(self.pages.stream(page), row - int(self._starts[page])), size)

    def _shuffled(self, permute: Permute, size: int, row: int) -> Iterator[list[Rows]]:
        rows = self.rows or 0
        if not self.resident:
            return self._from_windows(self._windows(permute), permute, size, row)
        if size >= rows:
            return cut(skip(self.pages.stream(), row), size)
        order, starts = permute(rows), range(row, rows, size)
        return ([self.take(np.sort(order[start : start + size]))] for start in starts)

    def _windows(self, permute: Permute) -> list[list[int]]:
        """Pages to shuffle together; all of them where there is room."""
        lengths = self.pages.lengths
        room = WINDOW_BYTES // (self.pages.dim * self.pages.dtype.itemsize)
        if (self.rows or 0) <= room:
            return [list(range(len(lengths)))]
        windows: list[list[int]] = [[]]
        inside = 0
        for page in permute(len(lengths), 0).tolist():
            if inside and inside + lengths[page] > room:
                windows.append([])
                inside = 0
            windows[-1].append(page)
            inside += lengths[page]
        return [sorted(window) for window in windows]

    def _from_windows(
        self, windows: list[list[int]], permute: Permute, size: int, row: int
    ) -> Iterator[list[Rows]]:
        """Batches across windows, of which one is used while the next is read."""
        lengths = self.pages.lengths
        paths = [() if len(windows) == 1 else (1 + w,) for w in range(len(windows))]
        sizes = [sum(lengths[page] for page in window) for window in windows]
        first = 0
        while first < len(windows) - 1 and row >= sizes[first]:
            row -= sizes[first]
            first += 1

        def load() -> Iterator[tuple[Rows, Indices]]:
            for w in range(first, len(windows)):
                loaded = joined([self.pages.read(page) for page in windows[w]])
                yield loaded, permute(len(loaded), *paths[w])

        batch: list[Rows] = []
        room = size
        for loaded, order in ahead(load()):
            while row < len(order):
                drawn = np.sort(order[row : row + room])
                batch.append(loaded.at(drawn))
                row, room = row + len(drawn), room - len(drawn)
                if room == 0:
                    yield batch
                    batch, room = [], size
            row = 0
        if batch:
            yield batch


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
