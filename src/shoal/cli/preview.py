"""``--preview``: what a command would read and write, before it does."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import shoal
from shoal.cli.arguments import MODEL_OPTIONS
from shoal.cli.data import files_of, label
from shoal.cli.models import trained_columns, with_centers
from shoal.cli.output import Result
from shoal.cli.places import names_of_places
from shoal.errors import BadInputError, MissingExtraError
from shoal.memory import MemoryEstimate, memory_estimate
from shoal.sources.csv_head import form_of, is_missing, is_number
from shoal.sources.csv_records import blocks_of, records_of
from shoal.sources.limits import Limits
from shoal.sources.paths import File, naming, of_one_kind

#: Bytes of a file of text that are looked at.
HEAD_BYTES = 1 << 20
#: Columns, and files, that are named; --json has all columns.
MOST_COLUMNS, MOST_FILES = 20, 3

NUMBERS = ("number", "whole number")


@dataclass(frozen=True)
class Column:
    """A column of DATA."""

    name: str
    type: str
    numbers: int  # values of a row, 0: no numbers


@dataclass(frozen=True)
class Content:
    """What files hold, as far as their heads say."""

    rows: int
    counted: bool  # else estimated
    columns: list[Column]
    dtype: np.dtype[Any]
    named: bool = True


def preview(options: argparse.Namespace) -> Result:
    """What the command would read, use and write."""
    files = of_one_kind(files_of(options))
    found = _content(files, options.limits)
    wanted = _wanted(options)
    used = _used(found, wanted, getattr(options, "weight", None), label(options.data))
    width = 3 if wanted.places else sum(column.numbers for column in used)
    dtype = np.dtype(np.float64) if wanted.places else found.dtype
    memory = memory_estimate(
        wanted.model,
        rows=max(found.rows, wanted.clusters),
        columns=width,
        dtype=dtype,
        on_disk=files[0].kind not in ("npy", "npz"),
        batch_size=getattr(options, "batch_size", None),
    )
    numbers = {
        "files": len(files),
        "format": files[0].kind,
        "bytes": sum(file.size for file in files),
        "rows": found.rows,
        "rows_counted": found.counted,
        "columns": [vars(column) | {"used": column in used} for column in found.columns],
        "numbers_a_row": width,
        "dtype": str(dtype),
        "decoded_bytes": found.rows * width * dtype.itemsize,
        "memory": _memory(options, memory),
        "clusters": wanted.clusters,
        "output_bytes": _output_bytes(options, found.rows, wanted.clusters, dtype),
    }
    if options.json:
        return {"preview": options.name, **numbers}
    return {"preview": f"of {options.name}: nothing is read but heads", **_shown(numbers, files)}


# --- what is in files ---------------------------------------------------------------------------


def _content(files: list[File], limits: Limits) -> Content:
    kind = files[0].kind
    if kind == "csv":
        return _of_csv(files)
    return _of_arrays(files) if kind in ("npy", "npz") else _of_arrow(files, kind, limits)


def _of_csv(files: list[File]) -> Content:
    with naming(files[0]), files[0].open() as content:
        form = form_of(content, files[0].name, say=False)
        if form is None:
            raise BadInputError(f"{files[0].name} is empty")
        blocks = blocks_of(content, HEAD_BYTES, form.delimiter, form.start)
        block = next(blocks, (0, b""))[1]
        whole = next(blocks, None) is None
    records = list(records_of(block, form.delimiter))
    columns = []
    for at, name in enumerate(form.fields):
        kind = _type([record[at] for record in records if at < len(record)])
        columns.append(Column(name, kind, int(kind in NUMBERS)))
    read = form.start + len(block)
    if whole and len(files) == 1:
        return Content(len(records), True, columns, np.dtype(np.float64), form.has_names)
    size = sum(file.size for file in files)
    if files[0].is_compressed:  # what is behind it is not known: text shrinks to a third, or so
        size *= 3
    rows = round(len(records) * size / max(read, 1))
    return Content(rows, False, columns, np.dtype(np.float64), form.has_names)


def _type(fields: Iterable[str]) -> str:
    present = [field for field in fields if not is_missing(field)]
    if not all(map(is_number, present)):
        return "text"
    return NUMBERS[all(field.strip().lstrip("+-").isdecimal() for field in present)]


def _of_arrays(files: list[File]) -> Content:
    shapes = []
    for file in files:
        with naming(file), file.open() as content:
            shapes += [_array_head(content)] if file.kind == "npy" else _heads(content)
    dims = {shape[1] for shape, _ in shapes if len(shape) == 2}
    if len(dims) != 1 or any(len(shape) != 2 for shape, _ in shapes):
        held = ", ".join(f"{shape} of {dtype}" for shape, dtype in shapes[:MOST_COLUMNS])
        raise BadInputError(f"{files[0].name} holds arrays {held}, and one of (rows, columns) fits")
    dtype = np.result_type(*(dtype for _, dtype in shapes))
    columns = [Column(str(at), str(dtype), 1) for at in range(dims.pop())]
    rows = sum(shape[0] for shape, _ in shapes)
    return Content(rows, True, columns, dtype, named=False)


def _array_head(content: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(content)
    read = np.lib.format.read_array_header_1_0
    if version >= (2, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(content)
    return shape, dtype


def _heads(content: Any) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
    import zipfile

    with zipfile.ZipFile(content) as archive:
        heads = []
        for name in archive.namelist():
            with archive.open(name) as array:
                heads.append(_array_head(array))
    return heads


def _of_arrow(files: list[File], kind: str, limits: Limits) -> Content:
    try:
        import pyarrow

        from shoal.sources.arrow_formats import IpcReader, ParquetReader
    except ImportError:
        raise MissingExtraError(f"reading {files[0].name}", "pyarrow", "parquet") from None
    reader = ParquetReader() if kind == "parquet" else IpcReader(limits)
    rows, schema = 0, None
    for file in files:
        with naming(file):
            read, lengths = reader.head(file)
        rows, schema = rows + sum(lengths), schema or read
    columns, dtypes = [], []
    for field in schema or ():
        inner = getattr(field.type, "value_type", field.type)
        width = getattr(field.type, "list_size", 1)
        is_list = pyarrow.types.is_list(field.type) or pyarrow.types.is_large_list(field.type)
        is_number = pyarrow.types.is_integer(inner) or pyarrow.types.is_floating(inner)
        is_number = is_number or pyarrow.types.is_boolean(inner)
        if is_number and is_list:
            width = _length_of_lists(reader, files[0], field.name)
        columns.append(Column(field.name, str(field.type), width if is_number else 0))
        if is_number:
            is_bool = pyarrow.types.is_boolean(inner)
            dtypes.append(np.dtype(bool) if is_bool else np.dtype(inner.to_pandas_dtype()))
    common = np.result_type(*dtypes) if dtypes else np.dtype(np.float32)
    return Content(rows, True, columns, common)


def _length_of_lists(reader: Any, file: File, name: str) -> int:
    """Of the first list that is there."""
    for array in itertools.islice(reader.column(file, name), 1):
        return next((len(one) for one in array.to_pylist() if one is not None), 0)
    return 0


# --- what is used of it -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wanted:
    columns: list[str] | None
    places: list[str] | None
    clusters: int
    model: shoal.KMeansClustering


def _wanted(options: argparse.Namespace) -> _Wanted:
    """Columns, number of clusters, and a model to ask how much memory it takes."""
    if options.name == "fit" and not options.resume:
        clusters = options.clusters or MODEL_OPTIONS["clusters"][1]
        model = shoal.KMeansClustering(
            clusters,
            initial_clusters=options.init or MODEL_OPTIONS["init"][1],
            use_mini_batch=bool(options.mini_batch),
            num_threads=options.threads,
        )
        return _Wanted(options.columns, options.sphere, clusters, model)
    if options.name == "choose-k":
        most = max(options.numbers)
        model = shoal.KMeansClustering(most, use_mini_batch=False, num_threads=options.threads)
        return _Wanted(options.columns, options.sphere, most, model)
    trained = with_centers(options.model)
    columns = trained_columns(trained)
    places = getattr(options, "sphere", None) or names_of_places(columns)
    model = shoal.KMeansClustering(len(trained.clusters()), num_threads=options.threads)
    return _Wanted(None if places else columns, places, len(trained.clusters()), model)


def _used(found: Content, wanted: _Wanted, weight: str | None, name: str) -> list[Column]:
    names = wanted.places or wanted.columns
    if names is None or not found.named:
        used = [one for one in found.columns if one.numbers and one.name != weight]
    else:
        by_name = {column.name: column for column in found.columns}
        if missing := [one for one in names if one not in by_name]:
            there = ", ".join(list(by_name)[:MOST_COLUMNS])
            raise BadInputError(f"{name} has no column {missing[0]!r}; it has {there}")
        used = [by_name[one] for one in names]
    if not used:
        raise BadInputError(f"{name} has no column of numbers")
    return used


def _memory(options: argparse.Namespace, estimate: MemoryEstimate) -> int:
    """Of the process at its peak; where nothing is trained, rows go by."""
    if options.name in ("fit", "choose-k"):
        return estimate.total
    return estimate.process + estimate.reading + estimate.centers + estimate.threads


def _output_bytes(options: argparse.Namespace, rows: int, clusters: int, dtype: Any) -> int:
    """Of the result, as an array; text takes about twice as much."""
    if options.name == "predict":
        return rows * 8
    width = 8 if dtype.itemsize == 8 else 4
    return rows * clusters * width if options.name == "transform" else 0


# --- what is shown ------------------------------------------------------------------------------


def _shown(numbers: dict[str, Any], files: list[File]) -> Result:
    names = ", ".join(file.name for file in files[:MOST_FILES])
    more = f" and {len(files) - MOST_FILES} more" if len(files) > MOST_FILES else ""
    columns = numbers["columns"]
    listed = [
        f"{one['name']} ({one['type']}{'' if one['used'] else ', not used'})"
        for one in columns[:MOST_COLUMNS]
    ]
    if len(columns) > MOST_COLUMNS:
        listed.append(f"and {len(columns) - MOST_COLUMNS} more")
    shown: Result = {
        "files": f"{len(files)} of {numbers['format']}: {names}{more}",
        "size": _size(numbers["bytes"]),
        "rows": f"{'' if numbers['rows_counted'] else 'about '}{numbers['rows']:,}",
        "columns": listed,
        "used": f"{numbers['numbers_a_row']} numbers a row, {numbers['dtype']}: "
        f"{_size(numbers['decoded_bytes'])} decoded",
        "memory": f"about {_size(numbers['memory'])} at the peak, with {numbers['clusters']:,} "
        "clusters",
    }
    if numbers["output_bytes"]:
        shown["output"] = f"about {_size(numbers['output_bytes'])}"
    return shown


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"
