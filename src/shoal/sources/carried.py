"""Columns of the data that go to the output as they are: names, titles, dates beside a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.csv_head import form_of
from shoal.sources.csv_records import blocks_of, next_of, records_of
from shoal.sources.limits import Limits
from shoal.sources.paths import File, changed, naming
from shoal.types import Indices

Piece = dict[str, Any]  # columns of as many rows each: arrays of text, or arrays of pyarrow


class Reader(Protocol):
    """How columns of files are read that are no numbers."""

    def names(self) -> list[str]:
        """Names of all columns, () where there are none."""

    def pieces(self, names: Sequence[str]) -> Iterator[Piece]:
        """All rows in order, some at a time."""


class Carried:
    """Takes rows of columns in increasing order, beside whoever reads the numbers."""

    def __init__(self, reader: Reader, names: Sequence[str], label: str) -> None:
        self.names = list(names)
        self._label = label
        self._pieces = reader.pieces(self.names)
        self._piece: Piece = {}
        self._first = self._end = 0  # rows of the piece

    def take(self, rows: Indices) -> Piece:
        """Values at these rows of the data, behind those taken before."""
        parts: list[Piece] = []
        at = 0
        while at < len(rows):
            end = int(np.searchsorted(rows, self._end))
            if end > at:
                wanted = rows[at:end] - self._first
                parts.append({name: one.take(wanted) for name, one in self._piece.items()})
                at = end
            if at < len(rows):
                self._next()
        if len(parts) == 1:
            return parts[0]
        return {name: _joined([part[name] for part in parts]) for name in self.names}

    def finish(self, rows: int) -> None:
        """See that there were as many rows as of the numbers."""
        while self._end <= rows and self._next(last=True):
            pass
        if self._end != rows:
            raise changed(f"{self._label} has {self._end} rows of what is kept, and {rows} others")

    def close(self) -> None:
        """Let go of the file that is being read."""
        self._pieces.close()  # type: ignore[attr-defined]

    def _next(self, last: bool = False) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            if last:
                return False
            raise changed(f"{self._label} has only {self._end} rows now")
        self._piece = piece
        self._first, self._end = self._end, self._end + len(piece[self.names[0]])
        return True


def _joined(arrays: list[Any]) -> Any:
    if isinstance(arrays[0], np.ndarray):
        return np.concatenate(arrays)
    import pyarrow

    return pyarrow.concat_arrays(arrays)


def carried(
    files: list[File],
    wanted: Sequence[str] | None,
    results: Sequence[str],
    typed: bool,
    limits: Limits,
) -> Carried:
    """Open the columns that are to be kept: those ``wanted``, or all.

    ``results`` are names that the output has already; ``typed``: numbers of CSV are to be numbers.
    """
    first = files[0].name
    if files[0].kind in ("npy", "npz"):
        raise BadInputError(f"--keep names columns, but {first} has no names of columns")
    reader: Reader
    if files[0].kind in ("parquet", "ipc"):
        try:
            from shoal.sources.carried_arrow import ArrowReader
        except ImportError:
            raise MissingExtraError(f"reading {first}", "pyarrow", "parquet") from None
        reader = ArrowReader(files, limits)
    else:
        reader = CsvReader(files, typed, limits)
    present = reader.names()
    names = present if wanted is None else list(wanted)
    for name in names:
        if present.count(name) != 1:
            how = "no" if name not in present else "more than one"
            raise BadInputError(f"{first} has {how} column {name!r} to keep; it has {present}")
        if name in results:
            raise BadInputError(
                f"column {name!r} of {first} cannot be kept beside the result of that name: name "
                "the columns to keep without it, --keep a,b"
            )
    return Carried(reader, names, first)


# --- CSV ----------------------------------------------------------------------------------------


class CsvReader:
    """Fields of CSV files as they are written."""

    def __init__(self, files: list[File], typed: bool, limits: Limits) -> None:
        self._files = files
        self._limits = limits
        self._typed = typed

    def names(self) -> list[str]:
        """Names in the header; numbers of the columns where there is none."""
        with naming(self._files[0]), self._files[0].open() as content:
            form = form_of(content, self._files[0].name, say=False)
        return [] if form is None else list(form.fields)

    def pieces(self, names: Sequence[str]) -> Iterator[Piece]:
        """Arrays of text, or of numbers where all fields of a column are such."""
        kinds = [self._kind(one) if self._typed else object for one in names]
        for texts in self._texts(names):
            yield {
                name: _column(one, kind)
                for name, one, kind in zip(names, texts, kinds, strict=True)
            }

    def _texts(self, names: Sequence[str]) -> Iterator[list[tuple[str, ...]]]:
        """Fields of some columns, some records at a time."""
        for file in self._files:
            with naming(file), file.open() as content:
                form = form_of(content, file.name, say=False)
                if form is None:
                    continue
                where = [form.fields.index(name) for name in names]
                size = self._limits.csv_page
                for _, block in blocks_of(content, size, form.delimiter, form.start):
                    records = records_of(block, form.delimiter)
                    while chunk := next_of(records, self._limits.carried_rows):
                        yield [tuple(record[one] for record in chunk) for one in where]

    def _kind(self, column: str) -> type:
        """What all fields of a column are: whole numbers, numbers, else text."""
        kind: type = int
        for (texts,) in self._texts([column]):
            for text in filter(None, texts):
                if kind is int and not _is_whole(text):
                    kind = float
                if kind is float and not _is_number(text):
                    return str
        return kind


def _is_whole(text: str) -> bool:
    """Whether a text is a whole number of 64 bits as it would be written again."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        return False
    return str(int(text)) == text and -(2**63) <= int(text) < 2**63


def _is_number(text: str) -> bool:
    """Whether a text is a number, and not a code such as 007 or 1_000."""
    if "_" in text or (text[:1] == "0" and text[1:2].isdecimal()):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(texts: tuple[str, ...], kind: type) -> Any:
    """Fields as text; typed, as an array of pyarrow: null where a number is missing."""
    if kind is object:
        values = np.empty(len(texts), object)
        values[:] = texts
        return values
    import pyarrow as pa

    if kind is str:
        return pa.array(texts, pa.string())
    types = {int: pa.int64(), float: pa.float64()}
    return pa.array([kind(text) if text else None for text in texts], types[kind])
