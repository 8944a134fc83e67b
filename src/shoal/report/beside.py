"""Columns of the source beside the rows: names, ids, titles, of the few rows that are shown."""

from __future__ import annotations

import itertools
import numbers
import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.carried import carried
from shoal.sources.columns import is_frame, is_table
from shoal.sources.limits import USUAL
from shoal.sources.open import is_path
from shoal.sources.paths import File, find_files
from shoal.sources.weights import Weighted
from shoal.types import Indices

#: What is shown of a value as text: characters, and items of a list.
MOST_CHARACTERS = 300
MOST_ITEMS = 8
#: The column of metadata that is one list.
NAME = "name"

Table = dict[str, list[Any]]  # values of each column, as many as rows


class Beside(Protocol):
    """Columns of any type, of which some rows can be had."""

    names: list[str]

    def take(self, rows: Indices) -> Table:
        """Values of some rows, in increasing order, by column."""


class Nothing:
    """Of data that has no other columns."""

    names: list[str] = []  # noqa: RUF012 - never changed

    def take(self, rows: Indices) -> Table:
        """No column."""
        del rows
        return {}


class OfFrame:
    """A dict of columns, a data frame, or one list as a single column."""

    def __init__(self, data: Any) -> None:
        self._columns = {str(name): data[name] for name in _labels(data)}
        self.names = list(self._columns)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()))) if self._columns else 0

    def take(self, rows: Indices) -> Table:
        """Values of some rows."""
        return {name: _some(column, rows) for name, column in self._columns.items()}


class OfTable:
    """A table of pyarrow, or of what speaks Arrow's C interface."""

    def __init__(self, data: Any) -> None:
        try:
            import pyarrow
        except ImportError:
            raise MissingExtraError("a report of a table", "pyarrow", "parquet") from None
        self._table = data if isinstance(data, pyarrow.Table) else pyarrow.table(data)
        self.names = list(map(str, self._table.column_names))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def take(self, rows: Indices) -> Table:
        """Values of some rows."""
        found = self._table.take(rows)
        return {name: found.column(i).to_pylist() for i, name in enumerate(self.names)}


class OfParts:
    """Parts of one data set, one behind the other."""

    def __init__(self, parts: Sequence[OfFrame | OfTable]) -> None:
        self._parts = parts
        self._starts = [0, *itertools.accumulate(len(part) for part in parts)]
        self.names = parts[0].names

    def __len__(self) -> int:
        return self._starts[-1]

    def take(self, rows: Indices) -> Table:
        """Values of some rows."""
        found: Table = {name: [] for name in self.names}
        for part, start, end in zip(self._parts, self._starts, self._starts[1:], strict=False):
            first, last = np.searchsorted(rows, [start, end])
            some = part.take(rows[first:last] - start)
            for name in self.names:
                found[name] += some.get(name, [None] * (last - first))
        return found


class OfFiles:
    """Files of tables, read once more for them."""

    def __init__(self, files: list[File], without: Iterable[str] = ()) -> None:
        self._files = files
        opened = carried(files, None, (), False, USUAL)
        opened.close()
        left_out = set(without)
        self.names = [name for name in opened.names if name not in left_out]

    def take(self, rows: Indices) -> Table:
        """Values of some rows."""
        if not self.names:
            return {}
        columns = carried(self._files, self.names, (), False, USUAL)
        try:
            found = columns.take(rows) if len(rows) else {name: [] for name in self.names}
        finally:
            columns.close()
        return {name: _as_list(values) for name, values in found.items()}


def beside(data: Any, wide: Iterable[str] = ()) -> Beside:
    """The columns of data of any kind; ``wide`` are those with many numbers in a row."""
    if isinstance(data, Weighted):
        data = data.rows
    if is_path(data):
        paths = data if isinstance(data, list) else [data]
        return of_files([file for path in paths for file in find_files(path)], wide)
    if isinstance(data, tuple) and len(data) == 2:
        data = data[0]
    if isinstance(data, list) and data and all(map(_is_named, data)):
        return OfParts([_of_named(part) for part in data])
    return _of_named(data) if _is_named(data) else Nothing()


def of_files(files: list[File], wide: Iterable[str] = ()) -> Beside:
    """The columns of files."""
    return Nothing() if files[0].kind in ("npy", "npz") else OfFiles(files, wide)


def of_metadata(given: Any, rows: int | None) -> Beside:
    """The columns that the user gives beside the data: a row for each of its rows.

    Raises
    ------
    BadInputError
        If it is nothing of that kind, or does not have as many rows.
    """
    parts = isinstance(given, list) and all(map(_is_named, given))  # else names, not paths
    if parts or _is_named(given) or isinstance(given, (str, os.PathLike)):
        found = beside(given)
    else:
        found = OfFrame({NAME: given}) if hasattr(given, "__len__") else Nothing()
    if isinstance(found, Nothing):
        raise BadInputError(
            f"metadata is of type {type(given).__name__}; it must be a frame, a table, a dict of "
            "columns, a list of names, or a .csv, .parquet or .arrow file"
        )
    there = len(found) if isinstance(found, OfFrame | OfTable | OfParts) else rows
    if rows is not None and there is not None and there != rows:
        raise BadInputError(
            f"metadata has {there:,} rows, and the data has {rows:,}: give one for each"
        )
    return found


def _is_named(data: Any) -> bool:
    return is_frame(data) or is_table(data)


def _of_named(data: Any) -> OfFrame | OfTable:
    if hasattr(data, "column_names"):  # of pyarrow, whose columns are no labels
        return OfTable(data)
    return OfFrame(data) if is_frame(data) else OfTable(data)


def _labels(data: Any) -> list[Any]:
    return list(data.columns) if hasattr(data, "columns") else list(data)


def _some(column: Any, rows: Indices) -> list[Any]:
    """Values of a column of any kind."""
    if hasattr(column, "iloc"):
        return _as_list(column.iloc[rows])
    if hasattr(column, "gather"):  # of polars
        return _as_list(column.gather(rows))
    if isinstance(column, (list, tuple)):
        return [column[row] for row in rows.tolist()]
    return _as_list(np.asarray(column)[rows])


def _as_list(values: Any) -> list[Any]:
    for name in ("to_pylist", "to_list", "tolist"):
        if hasattr(values, name):
            return list(getattr(values, name)())
    return list(values)


def as_text(value: Any, most: int = MOST_CHARACTERS) -> str:
    """A value for people: short, on one line; empty where it is missing."""
    if value is None or (isinstance(value, numbers.Real) and value != value):
        return ""
    if type(value).__name__ in ("NaTType", "NAType"):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes"
    if isinstance(value, (list, tuple, np.ndarray)):
        if len(value) > MOST_ITEMS:
            return f"{len(value)} values"
        return ", ".join(as_text(one, most) for one in value)[:most]
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[: most - 1] + "…"
