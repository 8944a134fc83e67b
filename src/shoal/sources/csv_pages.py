"""CSV files: kept in memory where they are small, else read again page by page.

A first reading finds out which columns are numbers, how many rows there are, and where pages of
whole records begin. Values are float64, the same with pyarrow, which is faster, and without.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.sources.ahead import ahead
from shoal.sources.columns import Columns, check_present, listed, wanted_columns, warn_left_out
from shoal.sources.csv_head import Form, form_of, is_missing
from shoal.sources.csv_parser import Column, parse, record_of
from shoal.sources.csv_records import blocks_of
from shoal.sources.limits import USUAL, Limits
from shoal.sources.pages import ArrayPages, Pages
from shoal.sources.paths import File, changed, check_unchanged, naming, without_names
from shoal.sources.pieces import in_pieces
from shoal.sources.places import Places
from shoal.sources.rows import Rows
from shoal.sources.weights import weights_of

logger = logging.getLogger("shoal")


@dataclass(frozen=True)
class Page:
    """Some records of a file."""

    file: File
    offset: int
    size: int  # bytes
    first: int  # index of the first row in the data set, and
    row: int  # in the file
    rows: int
    form: Form  # of the file


@dataclass(frozen=True)
class Gap:
    """Finds the missing value of a row, for messages."""

    pages: list[Page]
    used: frozenset[Any]

    def __call__(self, row: int) -> str:
        """Text and column of the value."""
        page = next(one for one in self.pages if one.first <= row < one.first + one.rows)
        with naming(page.file), page.file.open() as content:
            content.seek(page.offset)
            block = content.read(page.size)
        record = record_of(block, page.form.delimiter, row - page.first)
        found = zip(page.form.fields, record, strict=True)
        text, name = next(
            (text, one) for one, text in found if one in self.used and is_missing(text)
        )
        return (
            f" ({text!r} in column {name!r} of {page.file.name}, row {page.row + row - page.first})"
        )


@dataclass
class _Found:
    """What the first reading has found so far."""

    form: Form  # of the first file
    asked: Columns  # of the user
    columns: dict[str, Column]  # those that are looked at
    pages: list[Page]
    limits: Limits
    rows: int = 0
    keeping: bool = True

    @property
    def places(self) -> Places:
        """Where the rows stand."""
        begin = [page for page in self.pages if page.row == 0]
        return Places(tuple(p.file.name for p in begin), tuple(p.first for p in begin))

    def forget_values(self) -> None:
        for column in self.columns.values():
            column.forget()


def open_csv(files: list[File], columns: Columns, name: str, limits: Limits = USUAL) -> Pages:
    """Read files once; what is small is kept, of the rest it is known where pages begin."""
    found: _Found | None = None
    for file in files:
        with naming(file):
            found = _survey(file, columns, found or limits, files[0])
    assert found is not None
    if found.rows == 0:
        raise BadInputError(f"{files[0].name} has a header and no rows")
    asked, has_names = found.asked, found.form.has_names
    required = set(_names(asked))
    _drop_empty(found, required, files[0].name)
    for column in found.columns.values():
        column.check(not has_names or column.name in required, asked.weights, not has_names)
    if not has_names and not required:
        return _pages(found, files, tuple(found.columns), name)
    numbers = [one for one, column in found.columns.items() if column.is_numbers or one in required]
    if not any(one != asked.weight for one in numbers):
        has = listed(found.form.fields)
        raise BadInputError(f"{files[0].name} has no columns of numbers; it has {has}")
    if len(numbers) < len(found.columns) and not asked.named:
        kept = set(numbers)
        warn_left_out(files[0].name, [one for one in found.columns if one not in kept])
    return _pages(found, files, wanted_columns(numbers, asked, files[0].name), name)


def _drop_empty(found: _Found, asked: Collection[Any], file: str) -> None:
    """Forget columns without a name and without a value: what delimiters at ends of lines make."""
    form = found.form
    for i, one in enumerate(form.fields):
        nameless = one == f"Unnamed: {i}" or (not form.has_names and i == len(form.fields) - 1)
        column = found.columns.get(one)
        if column is None or not nameless or one in asked or len(found.columns) == 1:
            continue
        if column.bad is None and column.empty:
            logger.info("%s: column %d has no name and no values", file, i)
            del found.columns[one]


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
        return columns._replace(features=features, learned=learned, weight=weight)
    if columns.needs_names():
        raise without_names(file)
    return Columns()


# --- the first reading --------------------------------------------------------------------------


def _survey(file: File, columns: Columns, before: _Found | Limits, first: File) -> _Found:
    """Read a file from its first record to its last; ``before`` it, others or none were."""
    limits = before if isinstance(before, Limits) else before.limits
    with file.open() as content:
        form = form_of(content, file.name, say=before is limits)
        if form is None:
            raise BadInputError(f"{file.name} is empty")
        found, row = _begin(file, form, columns, before, first), 0
        for offset, block in blocks_of(content, limits.csv_page, form.delimiter, form.start):
            rows = parse(block, form, found.columns, file.name, row, limits.csv_records)
            if rows:
                found.pages.append(Page(file, offset, len(block), found.rows, row, rows, form))
            found.rows, row = found.rows + rows, row + rows
            _after_block(found)
    return found


def _after_block(found: _Found) -> None:
    """Stop early where a column is both text and numbers; hold no more values than allowed."""
    for column in found.columns.values():
        if column.good is not None:
            column.check(False, found.asked.weights)
    if found.rows * len(found.columns) * 8 > found.limits.csv_kept:
        found.keeping = False
    if not found.keeping:
        found.forget_values()


def _begin(
    file: File, form: Form, columns: Columns, before: _Found | Limits, first: File
) -> _Found:
    """Look at the layout of a file."""
    header = form.fields
    if len(set(header)) < len(header):
        raise BadInputError(f"{file.name} has several columns of one name: {listed(header)}")
    if isinstance(before, Limits):
        asked = columns.spelled(header) if form.has_names else _by_number(columns, file)
        check_present(header, asked, file.name)
        used = set(_names(asked) if asked.named else header)
        looked_at = {one: Column(one) for one in header if one in used}
        return _Found(form, asked, looked_at, [], before)
    found = before
    if found.form.has_names != form.has_names:
        with_names, without = (first, file) if found.form.has_names else (file, first)
        raise BadInputError(
            f"{with_names.name} has names of columns and {without.name} has none: files of one "
            "data set must agree"
        )
    if found.asked.named:
        check_present(header, found.asked, file.name)
    else:
        same = Columns(learned=found.form.fields, owner=first.name, exact=True)
        check_present(header, same, file.name)
    return found


# --- what is read again -------------------------------------------------------------------------


def _pages(found: _Found, files: list[File], wanted: tuple[Any, ...], name: str) -> Pages:
    """Pages of the columns that are wanted, without names where none are asked for."""
    weight = found.asked.weights
    nameless = not found.form.has_names and not _names(found.asked)
    if not found.keeping:
        if any(file.is_compressed for file in files):
            logger.warning(
                "%s is compressed and too large to keep: each page is found by reading the file "
                "from its beginning. Decompress it, for mini-batches above all",
                files[0].name,
            )
        return CsvPages(files, found, wanted, name, nameless)
    used = {*wanted, weight}
    table = {one: column.values() for one, column in found.columns.items() if one in used}
    missing = np.zeros(found.rows, bool)
    for values in table.values():
        missing |= np.ma.getmaskarray(values)
    data = np.stack([np.ma.filled(table[one], 0.0) for one in wanted], axis=1)
    data[missing] = 0
    places, weights = found.places, None
    if weight is not None:
        values = np.ma.filled(table[weight], 0.0)
        weights = weights_of(values, found.rows, name, places=places)
    shard = Rows(data, weights, name, () if nameless else wanted, places=places)
    if missing.any():
        shard = replace(shard, missing=missing, gap=Gap(found.pages, frozenset(used)))
    return ArrayPages([shard], check=partial(check_unchanged, files, local=True))


class CsvPages:
    """The rows of CSV files that are too large to keep, read page by page."""

    resident = False
    dtype: np.dtype[Any] = np.dtype(np.float64)

    def __init__(
        self, files: list[File], found: _Found, wanted: tuple[Any, ...], name: str, nameless: bool
    ) -> None:
        self.name = name
        self.columns: tuple[Any, ...] = () if nameless else wanted
        self.lengths = [page.rows for page in found.pages]
        self._files, self._pages, self.weight = files, found.pages, found.asked.weights
        self._data, self._places = wanted, found.places
        self._at_once = found.limits.csv_records
        self.dim = len(wanted)
        self._gap = Gap(found.pages, frozenset({*wanted, self.weight}))

    def read(self, page: int) -> Rows:
        """Some records."""
        [rows] = self._read([self._pages[page]])
        return rows

    def stream(self, first: int = 0) -> Iterator[Rows]:
        """All rows from page ``first`` on, a page at a time; the next one is read ahead."""
        return ahead(self._read(self._pages[first:]))

    def _read(self, pages: list[Page]) -> Iterator[Rows]:
        """Pages in their order; each file is opened once, and compressed ones are read through."""
        for file, inside in itertools.groupby(pages, key=lambda page: page.file):
            with naming(file), file.open() as content:
                for page in inside:
                    content.seek(page.offset)
                    block = content.read(page.size)
                    check_unchanged([file], local=True)
                    yield self._rows_of(page, block)

    def pieces(self, first: int, size: int) -> Iterator[Rows]:
        """The same in pieces, read when they are asked for."""
        return in_pieces(self._read(self._pages[first:]), size)

    def check_unchanged(self, local: bool = False) -> None:
        """Raise BadInputError where a file is not what it was when it was opened."""
        check_unchanged(self._files, local)

    def _rows_of(self, page: Page, block: bytes) -> Rows:
        used = [*self._data, *([] if self.weight is None else [self.weight])]
        columns = {one: Column(one) for one in used}
        where = (page.file.name, page.row)
        if parse(block, page.form, columns, *where, self._at_once) != page.rows:
            raise changed(f"{page.file.name} has other rows than when it was opened")
        rows = np.empty((self.dim, page.rows)).T
        missing = np.zeros(page.rows, bool)

        def values_of(one: str) -> Any:
            columns[one].check(True, self.weight)
            values = columns[one].values()
            np.logical_or(missing, np.ma.getmaskarray(values), out=missing)
            return np.ma.filled(values, 0.0)

        for i, one in enumerate(self._data):
            rows[:, i] = values_of(one)
        weights = None
        if self.weight is not None:
            values = values_of(self.weight)
            weights = weights_of(values, page.rows, self.name, page.first, places=self._places)
        rows[missing] = 0
        return Rows(
            rows,
            weights,
            self.name,
            self.columns,
            missing=missing if missing.any() else None,
            first=page.first,
            places=self._places,
            gap=self._gap,
        )
