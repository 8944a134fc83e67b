"""Results of many rows as files: written batch by batch, and there whole or not at all."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from shoal.cli.data import STANDARD
from shoal.errors import BadInputError, MissingExtraError
from shoal.inference import CLUSTER_IDX
from shoal.sources.limits import Limits
from shoal.storage.files import whole_file
from shoal.types import Array

#: Columns [n], or of several values a row [n, k]; those of the data may be arrays of pyarrow [n].
Batch = dict[str, Any]

#: Columns of few values that repeat.
DICTIONARIES = [CLUSTER_IDX]
#: Bytes of the head of a .npy file: room for any number of rows.
HEAD_BYTES = 128


class Writer(Protocol):
    """Takes the columns of one batch after another."""

    def write(self, batch: Batch) -> None:
        """Take in a batch, of the same columns as the first."""

    def finish(self) -> None:
        """Write what is left."""

    def abandon(self) -> None:
        """Let go of everything: the file is thrown away."""


class NpyWriter:
    """One column, as an array [n] or [n, k]; the number of rows is filled in at the end."""

    def __init__(self, file: IO[bytes], main: str, _limits: Limits) -> None:
        self._file = file
        self._main = main
        self._rows = 0
        self._like: Array | None = None

    def write(self, batch: Batch) -> None:
        """Append rows."""
        array = batch[self._main]
        if self._like is None:
            self._like = array[:0]
            self._file.write(_npy_head(array[:0]))
        array = as_before(array, self._like.dtype)
        self._file.write(np.ascontiguousarray(array).data)
        self._rows += len(array)

    def finish(self) -> None:
        """Fill in the number of rows."""
        if self._like is not None:
            self._file.seek(0)
            self._file.write(_npy_head(self._like, self._rows))

    def abandon(self) -> None:
        """Nothing is held."""


def as_before(values: Array, dtype: np.dtype[Any]) -> Array:
    """Values as those written before them; a file has one dtype."""
    if np.can_cast(values.dtype, dtype):
        return values.astype(dtype, copy=False)
    raise BadInputError(
        f"the distances of some rows leave the range of {dtype}, as which those of the rows before "
        "were written: save the data as float64"
    )


def _npy_head(like: Array, rows: int = 0) -> bytes:
    """Head of version 1.0 of the format, padded to a fixed size."""
    shape = (rows, *like.shape[1:])
    said = {"descr": like.dtype.str, "fortran_order": False, "shape": shape}
    magic = b"\x93NUMPY\x01\x00"
    size = HEAD_BYTES - len(magic) - 2
    return magic + size.to_bytes(2, "little") + repr(said).encode().ljust(size - 1) + b"\n"


class CsvWriter:
    """A line per row; a column of several values a row becomes NAME0, NAME1 and so on."""

    def __init__(self, file: IO[bytes], _main: str, _limits: Limits) -> None:
        self._text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        self._lines = csv.writer(self._text, lineterminator="\n")
        self._begun = False

    def write(self, batch: Batch) -> None:
        """Append lines."""
        columns: Batch = {}
        for name, values in batch.items():
            if getattr(values, "ndim", 1) == 1:
                columns[name] = values
            else:
                columns |= {f"{name}{i}": one for i, one in enumerate(values.T)}
        if not self._begun:
            self._lines.writerow(columns)
            self._begun = True
        self._lines.writerows(zip(*map(_fields, columns.values()), strict=True))

    def finish(self) -> None:
        """Write what is in the buffer."""
        self._text.flush()
        self._text.detach()

    def abandon(self) -> None:
        """Let go of the file."""
        with suppress(OSError, ValueError):
            self._text.detach()


def _fields(values: Any) -> list[Any]:
    if isinstance(values, np.ndarray):
        return list(values.tolist())
    from shoal.sources.carried_arrow import as_text

    return as_text(values)


class ParquetWriter:
    """A table; a column of several values a row is a fixed-size list."""

    def __init__(self, file: IO[bytes], _main: str, limits: Limits) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise MissingExtraError("writing Parquet", "pyarrow", "parquet") from None
        self._arrow, self._parquet = pyarrow, parquet
        self._file = file
        self._group_bytes = limits.row_group
        self._to: Any = None
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self._waiting: list[Any] = []
        self._waiting_bytes = 0

    def write(self, batch: Batch) -> None:
        """Append rows; they are written when there are enough for a row group."""
        size = sum(values.nbytes for values in batch.values())
        step = max(1, len(next(iter(batch.values()))) * self._group_bytes // max(size, 1))
        for start in range(0, len(next(iter(batch.values()))), step):
            part = {name: values[start : start + step] for name, values in batch.items()}
            self._waiting.append(self._table(part))
            self._waiting_bytes += sum(values.nbytes for values in part.values())
            if self._waiting_bytes >= self._group_bytes:
                self._write_group()

    def _table(self, batch: Batch) -> Any:
        columns = {}
        for name, given in batch.items():
            if isinstance(given, self._arrow.Array):  # as it was in the data
                columns[name] = given
                continue
            values = as_before(given, self._dtypes.setdefault(name, given.dtype))
            flat = self._arrow.array(np.ascontiguousarray(values).reshape(-1))
            if values.ndim == 2:
                flat = self._arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
            columns[name] = flat
        return self._arrow.table(columns)

    def _write_group(self) -> None:
        group = self._arrow.concat_tables(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if self._to is None:
            texts = [one.name for one in group.schema if self._arrow.types.is_string(one.type)]
            self._to = self._parquet.ParquetWriter(
                self._file, group.schema, use_dictionary=[*DICTIONARIES, *texts]
            )
        self._to.write_table(group, row_group_size=max(1, len(group)))

    def finish(self) -> None:
        """Write the last rows and the end of the file."""
        if self._waiting:
            self._write_group()
        if self._to is not None:
            self._to.close()

    def abandon(self) -> None:
        """Let go of the file."""
        if self._to is not None:
            with suppress(Exception):
                self._to.close()
            self._to.is_open = False  # or it tries again when it is collected


WRITERS: dict[str, type[NpyWriter] | type[CsvWriter] | type[ParquetWriter]] = {
    ".npy": NpyWriter,
    ".csv": CsvWriter,
    ".parquet": ParquetWriter,
}


def check_suffix(target: Path) -> None:
    """Refuse files of other kinds than those of ``WRITERS``."""
    if target.suffix not in WRITERS:
        raise BadInputError(f"{target} is of no known kind; files end in one of {tuple(WRITERS)}")


def writing(target: str, main: str, limits: Limits) -> AbstractContextManager[Writer]:
    """Give what writes into ``target``, which appears when all is written; "-": standard output.

    ``main`` names the column for files that hold only one.
    """
    if target == STANDARD:
        return _to_stdout(limits)
    return _to_file(Path(target), main, limits)


@contextmanager
def _to_file(target: Path, main: str, limits: Limits) -> Iterator[Writer]:
    kind = WRITERS[target.suffix]
    with whole_file(target) as file, _ended(kind(file, main, limits)) as writer:
        yield writer


@contextmanager
def _to_stdout(limits: Limits) -> Iterator[Writer]:
    if sys.stdout is None:
        raise BadInputError("standard output is closed: give a file to write, -o labels.csv")
    with _ended(CsvWriter(sys.stdout.buffer, "", limits)) as writer:
        yield writer


@contextmanager
def _ended(writer: Writer) -> Iterator[Writer]:
    """Finish what was written, or abandon it where that ends half-way."""
    try:
        yield writer
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
