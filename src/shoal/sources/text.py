"""CSV files: kept in memory where they are small, else read again page by page.

A first reading finds out which columns are numbers, how many rows there are, and where pages of
whole records begin. Values are float64, the same with pyarrow, which is faster, and without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.sources.ahead import ahead
from shoal.sources.array import Columns, Rows
from shoal.sources.columns import check_present, listed, wanted_columns, warn_left_out
from shoal.sources.csv_parser import Column, blocks_of, head_of, parse
from shoal.sources.pages import ArrayPages, Pages, in_pieces
from shoal.sources.paths import File, changed, check_unchanged, naming, without_names
from shoal.sources.places import Places
from shoal.sources.weights import weights_of

#: Bytes of text that are read at a time.
PAGE_BYTES = 4 << 20
#: Bytes of values that are kept in memory; of more, none are.
KEPT_BYTES = 256 << 20


@dataclass(frozen=True)
class Page:
    """Some records of a file."""

    file: File
    offset: int
    size: int  # bytes
    first: int  # index of the first row in the data set, and
    row: int  # in the file
    rows: int
    header: list[str]  # of the file


@dataclass
class _Found:
    """What the first reading has found so far."""

    header: list[str]
    has_names: bool
    asked: Columns  # of the user
    columns: dict[str, Column]  # those that are looked at
    pages: list[Page]
    rows: int = 0
    keeping: bool = True
    headers: dict[str, list[str]] = field(default_factory=dict)  # of each file

    @property
    def places(self) -> Places:
        """Where the rows stand."""
        begin = [page for page in self.pages if page.row == 0]
        return Places(tuple(p.file.name for p in begin), tuple(p.first for p in begin))

    def forget_values(self) -> None:
        for column in self.columns.values():
            column.parts.clear()


def open_csv(files: list[File], columns: Columns, name: str) -> Pages:
    """Read files once; what is small is kept, of the rest it is known where pages begin."""
    found: _Found | None = None
    for file in files:
        with naming(file):
            found = _survey(file, columns, found, files[0])
    assert found is not None
    if found.rows == 0:
        raise BadInputError(f"{files[0].name} has a header and no rows")
    asked = found.asked
    required = set(found.header) if not found.has_names else set(_names(asked))
    for column in found.columns.values():
        column.check(column.name in required, asked.weights)
    numbers = [one for one, column in found.columns.items() if column.bad is None]
    if not found.has_names and not _names(asked):
        return _pages(found, files, (), name)
    if not any(one != asked.weight for one in numbers):
        has = listed(found.header)
        raise BadInputError(f"{files[0].name} has no columns of numbers; it has {has}")
    if len(numbers) < len(found.columns) and not asked.named:
        left_out = [one for one, column in found.columns.items() if column.bad is not None]
        warn_left_out(files[0].name, left_out)
    return _pages(found, files, wanted_columns(numbers, asked, files[0].name), name)


def _names(columns: Columns) -> list[Any]:
    """Names of all columns that are asked for."""
    return [*columns.named, *([] if columns.weights is None else [columns.weights])]


def _by_number(columns: Columns, file: File) -> Columns:
    """What is asked of a file without names, in which the number of a column stands for its name.

    Nothing where no numbers are asked for: columns are then taken by position.
    """

    def text(labels: Sequence[Any] | None) -> tuple[str, ...] | None:
        return None if labels is None else tuple(map(str, labels))

    names = _names(columns)
    if names and all(str(one).isdecimal() for one in names):
        weight = None if columns.weights is None else str(columns.weights)
        learned, features = text(columns.learned), text(columns.features)
        return replace(columns, features=features, learned=learned, weight=weight)
    if columns.needs_names():
        raise without_names(file)
    return Columns()


# --- the first reading --------------------------------------------------------------------------


def _survey(file: File, columns: Columns, found: _Found | None, first: File) -> _Found:
    """Read a file from its first record to its last."""
    row = None
    with file.open() as content:
        for offset, block in blocks_of(content, PAGE_BYTES):
            if row is None:
                names, width, start = head_of(block)
                if width == 0:
                    continue  # empty lines
                found = _begin(file, names, width, columns, found, first)
                block, offset, row = block[start:], offset + start, 0
            assert found is not None
            header = found.headers[file.name]
            rows = parse(block, header, found.columns, file.name, row)
            if rows:
                page = Page(file, offset, len(block), found.rows, row, rows, header)
                found.pages.append(page)
            found.rows, row = found.rows + rows, row + rows
            _after_block(found)
    if row is None or found is None:
        raise BadInputError(f"{file.name} is empty")
    return found


def _after_block(found: _Found) -> None:
    """Stop early where a column is both text and numbers; hold no more values than allowed."""
    for column in found.columns.values():
        if column.good is not None:
            column.check(False, found.asked.weights)
    if found.rows * len(found.columns) * 8 > KEPT_BYTES:
        found.keeping = False
    if not found.keeping:
        found.forget_values()


def _begin(
    file: File,
    names: list[str] | None,
    width: int,
    columns: Columns,
    found: _Found | None,
    first: File,
) -> _Found:
    """Look at the first record of a file."""
    header = [str(i) for i in range(width)] if names is None else names
    if len(set(header)) < len(header):
        raise BadInputError(f"{file.name} has several columns of one name: {listed(header)}")
    if found is None:
        asked = columns if names is not None else _by_number(columns, file)
        check_present(header, asked, file.name)
        used = set(_names(asked) if asked.named else header)
        looked_at = {one: Column(one) for one in header if one in used}
        found = _Found(header, names is not None, asked, looked_at, [])
    elif found.has_names != (names is not None):
        with_names, without = (first, file) if found.has_names else (file, first)
        raise BadInputError(
            f"{with_names.name} has names of columns and {without.name} has none: files of one "
            "data set must agree"
        )
    elif found.asked.named:
        check_present(header, found.asked, file.name)
    else:
        same = Columns(learned=tuple(found.header), owner=first.name, exact=True)
        check_present(header, same, file.name)
    found.headers[file.name] = header
    return found


# --- what is read again -------------------------------------------------------------------------


def _pages(found: _Found, files: list[File], wanted: tuple[Any, ...], name: str) -> Pages:
    if not found.keeping:
        return CsvPages(files, found, wanted, name)
    table = {one: column.values() for one, column in found.columns.items() if column.bad is None}
    places = found.places
    weights = None
    if (weight := found.asked.weights) is not None:
        weights = weights_of(table[weight], found.rows, name, places=places)
    data = np.stack([table[one] for one in wanted or table], axis=1)
    return ArrayPages([Rows(data, weights, name, wanted, places=places)])


class CsvPages:
    """The rows of CSV files that are too large to keep, read page by page."""

    resident = False
    dtype: np.dtype[Any] = np.dtype(np.float64)

    def __init__(
        self, files: list[File], found: _Found, wanted: tuple[Any, ...], name: str
    ) -> None:
        self.name = name
        self.columns = wanted
        self.lengths = [page.rows for page in found.pages]
        self._files, self._pages, self.weight = files, found.pages, found.asked.weights
        self._data, self._places = wanted or tuple(found.header), found.places
        self.dim = len(self._data)

    def read(self, page: int) -> Rows:
        """Some records."""
        one = self._pages[page]
        with naming(one.file), one.file.open() as content:
            content.seek(one.offset)
            block = content.read(one.size)
        return self._rows_of(one, block)

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """All rows from page ``first`` on, a page at a time; the next one is read ahead."""
        return ahead(self.read(page) for page in range(first, len(self._pages)))

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces, read when they are asked for."""
        return in_pieces(map(self.read, range(first, len(self._pages))), size)

    def check_unchanged(self) -> None:
        """Raise BadInputError where a file has another size or time than when it was opened."""
        check_unchanged(self._files)

    def _rows_of(self, page: Page, block: bytes) -> Rows:
        used = [*self._data, *([] if self.weight is None else [self.weight])]
        columns = {one: Column(one) for one in used}
        if parse(block, page.header, columns, page.file.name, page.row) != page.rows:
            raise changed(f"{page.file.name} has other rows than when it was opened")
        for column in columns.values():
            column.check(True, self.weight)
        rows = np.empty((self.dim, page.rows)).T
        for i, one in enumerate(self._data):
            rows[:, i] = columns[one].values()
        weights = None
        if self.weight is not None:
            values = columns[self.weight].values()
            weights = weights_of(values, page.rows, self.name, page.first, places=self._places)
        places = self._places
        return Rows(rows, weights, self.name, self.columns, first=page.first, places=places)
