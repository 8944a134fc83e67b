"""Files read into memory: .npy, .npz, .csv, and .parquet where pyarrow is installed.

Of a table only the columns that are used are kept: those named, or else all that hold numbers.
"""

from __future__ import annotations

import csv
import itertools
import logging
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.array import Columns

logger = logging.getLogger("shoal")

Read = tuple[Any, Columns]

SUFFIXES = (".npy", ".npz", ".csv", ".parquet")

#: Rows of a CSV file that are held as text at a time.
CSV_ROWS = 4096

READ_ERRORS = (OSError, ValueError, EOFError, csv.Error, zipfile.BadZipFile, zlib.error)


def read_file(path: str | os.PathLike[str], columns: Columns) -> Read:
    """Read a file: an array or a dict of columns, and which of its columns to use.

    Columns of a table that are not numbers are left out, with a warning, unless columns are named.
    """
    file = Path(path)
    if file.is_dir():
        raise BadInputError(
            f"{file} is a directory: of no known kind in this version, directories come in a later "
            f"one; files end in one of {SUFFIXES}"
        )
    if file.suffix not in SUFFIXES:
        raise BadInputError(f"{file} is of no known kind; files end in one of {SUFFIXES}")
    if not file.is_file():
        raise BadInputError(f"there is no file {file}")
    try:
        if file.suffix in (".npy", ".npz"):
            return (_read_npy if file.suffix == ".npy" else _read_npz)(file), columns
        return _read_csv(file, columns) if file.suffix == ".csv" else _read_parquet(file, columns)
    except READ_ERRORS as error:
        if isinstance(error, (BadInputError, MissingExtraError)):
            raise
        raise BadInputError(f"{file} cannot be read: {error}") from error


# --- arrays -------------------------------------------------------------------------------------


def _read_npy(file: Path) -> Any:
    array = np.load(file, mmap_mode="r")
    if not isinstance(array, np.ndarray):
        array.close()
        raise BadInputError(f"{file} holds several arrays: name it .npz")
    return array


def _read_npz(file: Path) -> Any:
    """The one array [n, d] of the file."""
    matrices, found = [], []
    with open(file, "rb") as raw:
        content = np.load(raw)
        if isinstance(content, np.ndarray):
            raise BadInputError(f"{file} holds one array without a name: name the file .npy")
        for name in content.files:
            array = content[name]
            found.append(f"{name!r} {array.shape}")
            if array.ndim == 2:
                matrices.append((name, array))
    if len(matrices) != 1:
        raise BadInputError(
            f"{file} must hold one array of two dimensions; it holds {', '.join(found) or 'none'}"
        )
    name, matrix = matrices[0]
    if len(found) > 1:
        logger.warning("%s: using %r alone of the arrays %s", file, name, ", ".join(found))
    return matrix


# --- tables -------------------------------------------------------------------------------------


def _features(columns: Columns) -> tuple[Any, ...]:
    """Names of the columns of data, as far as they are known before the file is read."""
    return tuple(columns.features or columns.learned or ())


def _asked(columns: Columns) -> list[Any]:
    """Names of the columns of data and of the weight, as far as they are known."""
    return [*_features(columns), *([] if columns.weight is None else [columns.weight])]


def _used(file: Path, names: list[str], columns: Columns) -> set[Any]:
    """Names of columns that must be numbers; an error where one is missing."""
    if len(set(names)) < len(names):
        raise BadInputError(f"{file} has several columns of one name: {names}")
    for name in _asked(columns):
        if name not in names:
            raise BadInputError(f"{file} has no column {name!r}; it has {names}")
    return set(_asked(columns))


def _not_numbers(file: Path, name: str, what: str, columns: Columns) -> BadInputError:
    where = f"column {name!r} of {file}"
    if name == columns.weight:
        where += ", the weight,"
    return BadInputError(f"{where} is not numbers: {what}")


def _checked(file: Path, table: dict[str, Any], left_out: list[str], columns: Columns) -> Read:
    """The table and its columns of data; says which columns were left out."""
    if not _features(columns):
        if not any(name != columns.weight for name in table):
            present = [*table, *left_out]
            raise BadInputError(f"{file} has no columns of numbers; it has {present}")
        if left_out:
            logger.warning(
                "%s: columns left out because they are not numbers: %s. To choose, name the "
                "columns to use: --columns on the command line, feature_columns in Python",
                file,
                ", ".join(left_out),
            )
    return table, columns


# --- CSV ----------------------------------------------------------------------------------------


def _read_csv(file: Path, columns: Columns) -> Read:
    """Columns of a CSV file; the array of all where its first line is numbers, not names."""
    with open(file, newline="", encoding="utf-8-sig") as lines:
        records: Iterator[list[str]] = (record for record in csv.reader(lines) if record)
        first = next(records, None)
        if first is None:
            raise BadInputError(f"{file} is empty")
        if all(map(_is_number, first)):
            return _headless(file, itertools.chain([first], records), len(first), columns)
        header = [field.strip() for field in first]
        used = _used(file, header, columns)
        parts = _csv_columns(file, header, records, used if _features(columns) else set(header))
    if not any(part.rows for part in parts.values()):
        raise BadInputError(f"{file} has a header and no rows")
    for part in parts.values():
        part.check(file, part.name in used, columns)
    table = {name: part.values() for name, part in parts.items() if part.bad is None}
    return _checked(file, table, [name for name in parts if name not in table], columns)


def _headless(file: Path, records: Iterable[list[str]], width: int, columns: Columns) -> Read:
    """Rows without names: an array, or columns named '0', '1', … where such names are asked for."""
    header = [str(i) for i in range(width)]
    asked, features = _asked(columns), _features(columns)
    by_number = bool(asked) and all(isinstance(name, str) and name.isdecimal() for name in asked)
    used = _used(file, header, columns) if by_number else set()
    parts = _csv_columns(file, header, records, used if by_number and features else set(header))
    for part in parts.values():
        part.check(file, True, columns)
    if not by_number:
        return np.stack([part.values() for part in parts.values()], axis=1), columns
    names = features or [name for name in header if name != columns.weight]
    return {name: part.values() for name, part in parts.items()}, replace(columns, features=names)


def _csv_columns(
    file: Path, header: list[str], records: Iterable[list[str]], keep: set[str]
) -> dict[str, _CsvColumn]:
    """Read the columns in ``keep``, some rows at a time."""
    records, width, row = iter(records), len(header), 0
    parts = {name: _CsvColumn(name) for name in header if name in keep}
    while chunk := list(itertools.islice(records, CSV_ROWS)):
        for number, record in enumerate(chunk, row):
            if len(record) != width:
                raise BadInputError(
                    f"{file}: row {number} has {len(record)} fields where there are {width} columns"
                )
        row += len(chunk)
        for name, texts in zip(header, zip(*chunk, strict=True), strict=True):
            if name in parts:
                parts[name].take(texts)
    return parts


class _CsvColumn:
    """Numbers of a column, up to the first field that is none, and what else is known of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self.bad: tuple[int, str] | None = None  # the first field that is no number
        self.good: tuple[int, str] | None = None  # a field that is a finite number
        self._parts: list[Any] = []

    def take(self, texts: tuple[str, ...]) -> None:
        """Read the fields of some more rows."""
        try:
            part = _floats(texts)
        except ValueError:
            self._look_at(texts)
        else:
            if self.good is None and (finite := np.flatnonzero(np.isfinite(part))).size:
                self.good = (self.rows + int(finite[0]), texts[finite[0]])
            if self.bad is None:
                self._parts.append(part)
        self.rows += len(texts)

    def _look_at(self, texts: tuple[str, ...]) -> None:
        for row, text in enumerate(texts, self.rows):
            if not _is_number(text):
                if self.bad is None:
                    self.bad = (row, text)
                    self._parts.clear()
            elif self.good is None and math.isfinite(float(text)):
                self.good = (row, text)

    def check(self, file: Path, named: bool, columns: Columns) -> None:
        """Refuse a column that is used and is not all numbers; one of text may be left out."""
        if self.bad is None:
            return
        row, text = self.bad
        if self.good is None:
            if named:
                what = f"it is text (dtype object), {text!r} in row {row}"
                raise _not_numbers(file, self.name, what, columns)
            return
        raise BadInputError(
            f"{file}: column {self.name!r} holds {text!r} in row {row}, where other rows hold "
            f"numbers ({self.good[1]!r} in row {self.good[0]}); mend the file, or leave the column "
            "out by naming those to use"
        )

    def values(self) -> Any:
        """The whole column, float64."""
        return np.concatenate(self._parts)


def _floats(texts: tuple[str, ...]) -> Any:
    if any("_" in text for text in texts):  # float() takes 1_000 for a number
        raise ValueError
    return np.fromiter(map(float, texts), np.float64, len(texts))


def _is_number(field: str) -> bool:
    try:
        _floats((field,))
    except ValueError:
        return False
    return True


# --- Parquet ------------------------------------------------------------------------------------


def _read_parquet(file: Path, columns: Columns) -> Read:
    """Columns of a Parquet file: its schema is read first, then only the columns used."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError(f"reading {file.name}", "pyarrow", "parquet") from None
    schema = parquet.read_schema(file)
    used = _used(file, schema.names, columns)
    numbers = [field.name for field in schema if _holds_numbers(field.type)]
    for name in schema.names:
        if name in used and name not in numbers:
            raise _not_numbers(file, name, f"it is {schema.field(name).type}", columns)
    wanted = [name for name in numbers if name in used or not _features(columns)]
    # Through a file handle: the path of a single file, never a guess at partitions.
    with open(file, "rb") as content:
        table = parquet.read_table(content, columns=wanted)
    values = {name: _parquet_column(file, name, table.column(name)) for name in wanted}
    return _checked(file, values, [name for name in schema.names if name not in numbers], columns)


def _holds_numbers(kind: Any) -> bool:
    """Whether a column of this type is one number, or a fixed number of them, per row."""
    from pyarrow import types

    if types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _parquet_column(file: Path, name: str, column: Any) -> Any:
    """Values [n], or [n, width] of fixed-size lists, in the dtype of the file."""
    from pyarrow import types

    width = column.type.list_size if types.is_fixed_size_list(column.type) else 0
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise BadInputError(f"{file}: column {name!r} is null in row {row}; fill or drop it")
    if not width:
        return column.to_numpy()
    parts, row = [np.empty((0, width), column.type.value_type.to_pandas_dtype())], 0
    for chunk in column.chunks:
        flat = chunk.flatten()
        if flat.null_count:
            bad = row + int(np.flatnonzero(flat.is_null().to_numpy(False))[0]) // width
            raise BadInputError(
                f"{file}: column {name!r} holds a null in row {bad}; fill or drop it"
            )
        parts.append(flat.to_numpy(zero_copy_only=False).reshape(-1, width))
        row += len(chunk)
    return parts[1] if len(parts) == 2 else np.concatenate(parts)
