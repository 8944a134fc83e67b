"""Text of CSV files to float64: whole records at a time, by pyarrow where it is installed.

What pyarrow does not take for a number, or takes for one that is not finite, is read again as
Python's own ``float`` reads it, so that both ways give the same values and the same errors.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import math
from collections.abc import Collection, Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from shoal.errors import BadInputError

Array = npt.NDArray[Any]
Place = tuple[str, int, str]  # a file, a row of it, and the text of a field there

#: Rows that are held as text at a time.
TEXT_ROWS = 4096

#: Bytes at the beginning that are read slowly, before what follows is read fast.
HEAD_BYTES = 1 << 14

#: Bytes that may stand beside a quoted field.
SEPARATES = np.isin(np.arange(256), list(b",\r\n"))

#: How a text of which pyarrow must not decide looks: perhaps a finite number.
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


class Column:
    """Numbers of a column, up to the first field that is none, and what else is known of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bad: Place | None = None  # the first field that is no number
        self.good: Place | None = None  # a field that is a finite number
        self.parts: list[Array] = []

    def take(self, texts: tuple[str, ...], file: str, row: int) -> None:
        """Read the fields of some more rows."""
        try:
            part = _floats(texts)
        except ValueError:
            self._look_at(texts, file, row)
            return
        if self.good is None and (finite := np.flatnonzero(np.isfinite(part))).size:
            self.good = (file, row + int(finite[0]), texts[finite[0]])
        self.keep(part)

    def keep(self, part: Array) -> None:
        """Add values, unless there are fields that are no numbers."""
        if self.bad is None:
            self.parts.append(part)

    def _look_at(self, texts: tuple[str, ...], file: str, first: int) -> None:
        for row, text in enumerate(texts, first):
            if not is_number(text):
                if self.bad is None:
                    self.bad = (file, row, text)
                    self.parts.clear()
            elif self.good is None and math.isfinite(float(text)):
                self.good = (file, row, text)

    def check(self, named: bool, weight: str | None) -> None:
        """Refuse a column that is used and is not all numbers; one of text may be left out."""
        if self.bad is None:
            return
        file, row, text = self.bad
        if self.good is None:
            if named:
                column = f"column {self.name!r} of {file}" + ", the weight," * (self.name == weight)
                raise BadInputError(
                    f"{column} is not numbers: it is text (dtype object), {text!r} in row {row}"
                )
            return
        where = f"row {self.good[1]}" + f" of {self.good[0]}" * (self.good[0] != file)
        raise BadInputError(
            f"{file}: column {self.name!r} holds {text!r} in row {row}, where other rows hold "
            f"numbers ({self.good[2]!r} in {where}); mend the file, or leave the column "
            "out by naming those to use"
        )

    def values(self) -> Array:
        """All that was kept, float64."""
        return np.concatenate(self.parts) if self.parts else np.zeros(0)


def _floats(texts: tuple[str, ...]) -> Array:
    if any("_" in text for text in texts):  # float() takes 1_000 for a number
        raise ValueError
    return np.fromiter(map(float, texts), np.float64, len(texts))


def is_number(field: str) -> bool:
    """Whether a field is a number as Python writes them, without underscores."""
    try:
        _floats((field,))
    except ValueError:
        return False
    return True


def parse(block: bytes, header: list[str], into: dict[str, Column], file: str, row: int) -> int:
    """Add the records of a block to columns; returns how many there were.

    ``row`` is the number of the first record in the file.
    """
    if all(column.bad is None and column.good is None for column in into.values()):
        end = _end_of_records(block[:HEAD_BYTES])  # enough to see which columns are text
        head = _parsed_slowly(block[:end], header, into, file, row)
        return head + _parsed(block[end:], header, into, file, row + head)
    return _parsed(block, header, into, file, row)


def _parsed(block: bytes, header: list[str], into: dict[str, Column], file: str, row: int) -> int:
    numbers = {name: column for name, column in into.items() if column.bad is None}
    fast = _parsed_fast(block, header, list(numbers), [one for one in into if one not in numbers])
    if fast is None:
        return _parsed_slowly(block, header, into, file, row)
    rows, values = fast
    for name, column in numbers.items():
        column.keep(values[name])
    if rows and any(column.good is None for column in numbers.values()):
        for name, text in zip(header, next(_records(block)), strict=True):
            if name in numbers:
                into[name].good = into[name].good or (file, row, text)
    return rows


def _parsed_slowly(
    block: bytes, header: list[str], into: dict[str, Column], file: str, row: int
) -> int:
    records, first, width = _records(block), row, len(header)
    while chunk := list(itertools.islice(records, TEXT_ROWS)):
        for number, record in enumerate(chunk, row):
            if len(record) != width:
                raise BadInputError(
                    f"{file}: row {number} has {len(record)} fields where there are {width} columns"
                )
        for name, texts in zip(header, zip(*chunk, strict=True), strict=True):
            if name in into:
                into[name].take(texts, file, row)
        row += len(chunk)
    return row - first


def _parsed_fast(
    block: bytes, header: list[str], numbers: list[str], texts: Collection[str]
) -> tuple[int, dict[str, Array]] | None:
    """Values of columns that are all finite numbers; None where one is not, or others look so."""
    try:
        import pyarrow as pa
        from pyarrow import compute
        from pyarrow import csv as arrow_csv
    except ImportError:
        return None
    types = {name: pa.float64() for name in numbers} | {name: pa.string() for name in texts}
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(block),
            arrow_csv.ReadOptions(
                use_threads=False, block_size=len(block) + 1, column_names=header
            ),
            arrow_csv.ParseOptions(newlines_in_values=True),
            arrow_csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[]
            ),
        )
    except (ValueError, OSError, KeyError, NotImplementedError):
        return None
    for name in texts:
        if compute.any(compute.match_substring_regex(table.column(name), NUMBER)).as_py():
            return None
    values = {name: table.column(name).to_numpy() for name in numbers}
    if not all(np.isfinite(part).all() for part in values.values()):
        return None
    return table.num_rows, values


def _lines(block: bytes) -> list[bytes]:
    return block.splitlines(keepends=True)


def _records(block: bytes) -> Iterator[list[str]]:
    """Records that are not empty lines."""
    lines: Iterable[str] = io.StringIO(block.decode("utf-8"), newline="")
    return (record for record in csv.reader(lines) if record)


def head_of(block: bytes) -> tuple[list[str] | None, int, int]:
    """Names in the first record, None if it is numbers; its width; where the data begins."""
    lines = _lines(block)
    reader = csv.reader(line.decode("utf-8") for line in lines)
    first = next((record for record in reader if record), None)
    if first is None:
        return None, 0, len(block)
    if all(map(is_number, first)):
        return None, len(first), 0
    end = sum(map(len, lines[: reader.line_num]))
    return [field.strip() for field in first], len(first), end


def blocks_of(content: IO[bytes], size: int) -> Iterator[tuple[int, bytes]]:
    """Whole records, about ``size`` bytes at a time, each with its offset in the file."""
    rest = content.read(len(codecs.BOM_UTF8))
    offset = 0
    if rest == codecs.BOM_UTF8:
        offset, rest = len(rest), b""
    while True:
        more = content.read(size)
        block = rest + more
        end = _end_of_records(block) if more else len(block)
        if end:
            yield offset, block[:end]
        offset, rest = offset + end, block[end:]
        if not more:
            return


def _end_of_quoted(text: npt.NDArray[np.uint8]) -> int:
    """The same where all quotes are where they belong, around whole fields; 0 where not."""
    quotes = np.flatnonzero(text == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    doubled = opening[1:] == closing[: len(opening) - 1] + 1
    before = SEPARATES[np.where(opening > 0, text[opening - 1], ord("\n"))]
    before[1:] |= doubled
    last = len(text) - 1
    after = SEPARATES[np.where(closing < last, text[np.minimum(closing + 1, last)], ord("\n"))]
    after[: len(doubled)] |= doubled
    if not (before.all() and after.all()):
        return 0
    newlines = np.flatnonzero(text == ord("\n"))
    outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


def _end_of_records(block: bytes) -> int:
    """Where the last record begins, which may go on after the block, or where it ends."""
    if b'"' not in block:
        return block.rfind(b"\n") + 1 or block.rfind(b"\r", 0, len(block) - 1) + 1
    if end := _end_of_quoted(np.frombuffer(block, np.uint8)):
        return end
    lines = _lines(block)
    reader = csv.reader(line.decode("latin-1") for line in lines)  # line ends are ASCII
    before = last = 0
    for _ in reader:
        before, last = last, reader.line_num
    return sum(map(len, lines[:before]))
