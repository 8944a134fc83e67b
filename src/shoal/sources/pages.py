"""Rows in pages, to be read in any order and any number of times: in memory or on disk."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from shoal.sources.pieces import in_pieces, until
from shoal.sources.rows import Rows, names_of
from shoal.sources.weights import given_twice, weights_of


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
        parts: list[Rows],
        name: str | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """``check``: of the files that they come from, that they are as they were."""
        self.parts = parts
        self.check = check
        self.name = parts[0].name if name is None else name
        self.dim: int = parts[0].rows.shape[1]
        self.dtype = parts[0].rows.dtype
        self.columns = names_of(parts)
        self.lengths = [len(part) for part in parts]

    def read(self, page: int) -> Rows:
        """A shard."""
        return self.parts[page]

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """The shards."""
        return iter(self.parts[first:])

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces: views."""
        return in_pieces(self.parts[first:], size)

    def check_unchanged(self, local: bool = False) -> None:
        """Raise BadInputError where local files that the rows come from have changed.

        Arrays are looked at again at each call instead.
        """
        del local
        if self.check is not None:
            self.check()

    def cut_at(self, edges: list[int]) -> ArrayPages:
        """The same rows, with pages that end at these rows, too."""
        pages, start = [], 0
        for part in self.parts:
            inside = [edge - start for edge in edges if start < edge < start + len(part)]
            bounds = [0, *inside, len(part)]
            pages += [part.between(*pair) for pair in itertools.pairwise(bounds)]
            start += len(part)
        return ArrayPages(pages, self.name)

    def only(self, first: int, last: int) -> ArrayPages:
        """The pages from one to another; nothing is left of the others but their lengths."""
        some = ArrayPages(self.parts, self.name)
        none = self.parts[0].between(0, 0)
        some.parts = [
            part if first <= page < last else none for page, part in enumerate(self.parts)
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
        self.mapped: int = getattr(pages, "mapped", 0)
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
        some._pages = only(self._pages, first, last)
        some._offset = self._starts[first]
        some._weights = self._weights[some._offset : self._starts[last]]
        return some


def only(pages: Pages, first: int, last: int) -> Pages:
    """Pages to be sent away, of which those from one to another are read."""
    alone = getattr(pages, "only", None)  # where others would be sent as well
    found: Pages = pages if alone is None else alone(first, last)
    return found


class SomePages:
    """Some pages on end, as data of their own."""

    def __init__(self, pages: Pages, first: int, last: int) -> None:
        self._pages = pages
        self._first = first
        self.lengths = list(pages.lengths[first:last])
        self.name, self.dim, self.dtype = pages.name, pages.dim, pages.dtype
        self.columns, self.resident = pages.columns, pages.resident

    def read(self, page: int) -> Rows:
        """A whole page."""
        return self._pages.read(self._first + page)

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """All rows from page ``first`` on, in order, in pieces of bounded size."""
        return until(self._pages.stream(self._first + first), sum(self.lengths[first:]))

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces of at most ``size`` rows, read when they are asked for."""
        return until(self._pages.pieces(self._first + first, size), sum(self.lengths[first:]))

    def check_unchanged(self, local: bool = False) -> None:
        """Raise BadInputError where the data is no longer what it was when it was opened."""
        self._pages.check_unchanged(local)
