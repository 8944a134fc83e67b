"""Files of Arrow tables as pages: row groups or record batches, read as they are needed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shoal.errors import BadInputError
from shoal.sources.ahead import ahead
from shoal.sources.arrow import (
    Layout,
    bare,
    element,
    features_of,
    field_of,
    holds_numbers,
    types_of,
)
from shoal.sources.arrow_rows import Builder, pieces
from shoal.sources.columns import Columns, listed
from shoal.sources.index import written_index
from shoal.sources.limits import Limits
from shoal.sources.paths import File, check_unchanged, naming
from shoal.sources.places import Places
from shoal.sources.rows import Rows


class Reader(Protocol):
    """How files of one format are read."""

    def head(self, file: File) -> tuple[Any, list[int]]:
        """Schema of a file, and the rows of each page, without reading them."""

    def batches(
        self, file: File, pages: Sequence[int], layout: Layout, most: int | None
    ) -> Iterator[Any]:
        """Record batches of some pages, with the columns of ``layout`` and maybe others.

        ``most``: rows that are decoded at a time, as far as the format lets them be.
        """

    def column(self, file: File, name: str) -> Iterator[Any]:
        """Arrays of one column, some rows at a time."""

    def maps(self, name: str) -> bool:
        """Whether rows of a file are used where they are mapped, once it was looked at."""


@dataclass(frozen=True)
class Page:
    """A row group or a record batch."""

    file: File
    number: int
    first: int  # index of its first row in the data set
    rows: int


class ArrowPages:
    """The rows of files of one schema, read page by page."""

    resident = False

    def __init__(
        self, files: list[File], reader: Reader, columns: Columns, name: str, limits: Limits
    ) -> None:
        self._files = files
        self._limits = limits
        self._reader = reader
        self.name = name
        heads = [self._head(file) for file in files]
        columns = columns.spelled(heads[0][0].names)
        self._pages = _pages_of(files, [lengths for _, lengths in heads])
        self.lengths = [page.rows for page in self._pages]
        rows = [sum(lengths) for _, lengths in heads]
        self._places = Places.of((file.name, n) for file, n in zip(files, rows, strict=True))
        self._layout = self._layout_of([schema for schema, _ in heads], columns)
        self.dim = self._layout.dim
        self.dtype = self._layout.dtype
        self.columns: tuple[Any, ...] = self._layout.columns
        self.weight = columns.weights
        self.widths = {field.name: field.width for field in self._layout.fields}

    @property
    def mapped(self) -> int:
        """Bytes of the files that are mapped while they are read."""
        local = [file.name for file in self._files if file.system is None]
        return sum(os.path.getsize(name) for name in local if self._reader.maps(name))

    def read(self, page: int) -> Rows:
        """A row group or a record batch."""
        one = self._pages[page]
        if one.rows == 0:
            return Builder(self._layout, 0, one.first).rows()
        batches = self._batches([one])
        try:
            [rows] = pieces(batches, self._layout, one.rows, one.first, one.rows)
        finally:
            batches.close()
        return rows

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """All rows from page ``first`` on, in bounded pieces; the next one is read ahead."""
        pages = [page for page in self._pages[first:] if page.rows]
        rows = sum(page.rows for page in pages)
        start = pages[0].first if pages else 0
        return ahead(self._pieces(pages, rows, start))

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces of ``size`` rows, read when they are asked for."""
        pages = [page for page in self._pages[first:] if page.rows]
        rows = sum(page.rows for page in pages)
        return self._pieces(pages, rows, pages[0].first if pages else 0, size)

    def check_unchanged(self, local: bool = False) -> None:
        """Raise BadInputError where a file is not what it was when it was opened."""
        check_unchanged(self._files, local)

    def _pieces(
        self, pages: list[Page], rows: int, start: int, size: int | None = None
    ) -> Iterator[Rows]:
        batches = self._batches(pages, size)
        try:
            yield from pieces(batches, self._layout, rows, start, size)
        finally:
            batches.close()

    def _batches(self, pages: list[Page], most: int | None = None) -> Any:
        """Record batches of pages, file by file."""
        for file, inside in itertools.groupby(pages, key=lambda page: page.file):
            numbers = [page.number for page in inside]
            with naming(file):
                for batch in self._reader.batches(file, numbers, self._layout, most):
                    check_unchanged([file], local=True)
                    yield batch
                check_unchanged([file], local=True)  # where batches are mapped

    def _head(self, file: File) -> tuple[Any, list[int]]:
        with naming(file):
            return self._reader.head(file)

    def _layout_of(self, schemas: list[Any], columns: Columns) -> Layout:
        """Layout by the first schema; the others must have the same columns."""
        first = self._files[0].name
        found = types_of(schemas[0], first)
        index = {one for schema in schemas for one in written_index(schema.metadata)}
        names = features_of(found, columns, first, leave_out=True, index=index)
        used = [*names, *([] if columns.weights is None else [columns.weights])]
        named = bool(columns.named)
        for file, schema in zip(self._files[1:], schemas[1:], strict=True):
            others = types_of(schema, file.name)
            if not named:
                others = {one: kind for one, kind in others.items() if one not in index}
            check_same((first, found), (file.name, others), used, named)
        fields = [field_of(one, found[one], self._chunks(one), first) for one in names]
        return Layout(tuple(fields), columns.weights, self.name, self._places, self._limits)

    def _chunks(self, name: str) -> Iterator[Any]:
        for file in self._files:
            with naming(file):
                yield from self._reader.column(file, name)


Named = tuple[str, dict[str, Any]]  # a file and the types of its columns


def check_same(one: Named, other: Named, used: Iterable[str], named: bool) -> None:
    """Refuse files whose columns differ: those used or, if none are named, those of numbers."""
    (first, types), (second, others) = one, other
    rule = "files of one data set must have the same columns, in any order"
    both = f"it has {listed(others)}, and {first} has {listed(types)}: {rule}"
    for name in used:
        if name not in others:
            raise BadInputError(f"{second} has no column {name!r}, which {first} has; {both}")
    numbers = [] if named else [name for name, kind in others.items() if holds_numbers(kind)]
    for name in [*used, *numbers]:
        if name not in types:
            raise BadInputError(
                f"{second} has a column {name!r} of numbers, which {first} has not; {both}, or "
                "name the columns to use"
            )
        if _form(types[name]) != _form(others[name]):
            raise BadInputError(
                f"column {name!r} is {types[name]} in {first} and {others[name]} in {second}: "
                "files of one data set must have columns of the same types: cast it in one of them"
            )


def _form(kind: Any) -> tuple[Any, ...]:
    """What must be the same of two columns."""
    return (*element(kind), getattr(bare(kind), "list_size", None))


def _pages_of(files: list[File], lengths: list[list[int]]) -> list[Page]:
    """Pages that have rows; one without where there are none at all."""
    pages, first = [], 0
    for file, rows_of_pages in zip(files, lengths, strict=True):
        for number, rows in enumerate(rows_of_pages):
            if rows:
                pages.append(Page(file, number, first, rows))
                first += rows
    return pages or [Page(files[0], 0, 0, 0)]
