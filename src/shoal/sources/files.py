"""Files read into memory: .npy, .csv, and .parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.array import Columns

SUFFIXES = (".npy", ".csv", ".parquet")


def read_file(path: str | os.PathLike[str], columns: Columns) -> tuple[Any, Columns]:
    """Read a file: an array or a dict of columns, and which of its columns to use.

    Columns of a table that are not numbers (names, say) are left out unless they are asked for.
    """
    file = Path(path)
    if file.suffix not in SUFFIXES:
        raise BadInputError(f"{file} is of no known kind; files end in one of {SUFFIXES}")
    if not file.is_file():
        raise BadInputError(f"there is no file {file}")
    try:
        if file.suffix == ".npy":
            return np.load(file, mmap_mode="r"), columns
        table = _read_csv(file) if file.suffix == ".csv" else _read_parquet(file)
    except (OSError, ValueError, EOFError, csv.Error) as error:
        if isinstance(error, (BadInputError, MissingExtraError)):
            raise
        raise BadInputError(f"{file} cannot be read: {error}") from error
    if columns.features is None:
        numbers = {name: values for name, values in table.items() if values.dtype.kind in "fiub"}
        if not numbers:
            raise BadInputError(f"{file} has no columns of numbers; it has {list(table)}")
        return numbers, columns
    return table, columns


def _read_csv(file: Path) -> dict[str, Any]:
    """Columns of a CSV file: a header line unless its first line is all numbers."""
    with open(file, newline="", encoding="utf-8") as lines:
        records = [record for record in csv.reader(lines) if record]
    if not records:
        raise BadInputError(f"{file} is empty")
    header = [str(i) for i in range(len(records[0]))]
    if not all(_is_number(field) for field in records[0]):
        header, records = [field.strip() for field in records[0]], records[1:]
    width = len(header)
    if len(set(header)) < width:
        raise BadInputError(f"{file} has several columns of one name: {header}")
    for number, record in enumerate(records):
        if len(record) != width:
            raise BadInputError(
                f"{file}: row {number} has {len(record)} fields where there are {width} columns"
            )
    if not records:
        raise BadInputError(f"{file} has a header and no rows")
    table = {}
    for name, values in zip(_sortable(header), zip(*records, strict=True), strict=True):
        table[name] = _csv_column(file, name, values)
    return table


def _csv_column(file: Path, name: str, values: tuple[str, ...]) -> Any:
    """Numbers where the first value that is not empty is one, else text."""
    if not _is_number(next((value for value in values if value), "")):
        return np.array(values, dtype=object)
    for row, value in enumerate(values):
        if not _is_number(value):
            raise BadInputError(
                f"{file}: column {name!r} holds {value!r} in row {row}, where other rows hold "
                "numbers; mend the file, or leave the column out by naming those to use"
            )
    return np.array(values, dtype=np.float64)


def _sortable(header: list[str]) -> list[str]:
    """Names of unnamed columns, padded so that sorting keeps their order."""
    if all(name.isdigit() for name in header):
        digits = len(str(len(header)))
        return [name.zfill(digits) for name in header]
    return header


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _read_parquet(file: Path) -> dict[str, Any]:
    try:
        from pyarrow import parquet, types
    except ImportError:
        raise MissingExtraError(f"reading {file.name}", "pyarrow", "parquet") from None
    table = parquet.read_table(file)
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise BadInputError(f"{file}: column {name!r} is null in row {row}; fill or drop it")
        if types.is_fixed_size_list(column.type):
            flat = column.combine_chunks().flatten().to_numpy()
            columns[name] = flat.reshape(-1, column.type.list_size)
        else:
            columns[name] = column.to_numpy()
    return columns
