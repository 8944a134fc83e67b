"""Records of CSV text: where they end, and what is in a file between two of those ends."""

from __future__ import annotations

import csv
import io
import itertools
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from shoal.errors import BadInputError
from shoal.sources.unread import by_bytes

#: Bytes that a record may have: one that is longer has a quote that is never closed.
MAX_RECORD_BYTES = 64 << 20

_UNICODE_16 = (b"\xff\xfe", b"\xfe\xff")

_limit = threading.RLock()


@contextmanager
def long_fields() -> Iterator[None]:
    """Let Python's reader take fields of more than 128 kB; the limit is one of the process."""
    with _limit:
        before = csv.field_size_limit(MAX_RECORD_BYTES)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def reader_of(lines: Iterable[str], delimiter: str) -> Any:
    """Python's reader; several spaces are one delimiter."""
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter == " ")


def decoded(block: bytes, file: str) -> str:
    """The text of a block, which must be UTF-8."""
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError as error:
        if other := by_bytes(block[:64], "csv"):
            raise BadInputError(f"{file} cannot be read: {other}") from None
        guess = "UTF-16, as Excel's 'Unicode text' is" if block[:2] in _UNICODE_16 else "Latin-1"
        raise BadInputError(
            f"{file} cannot be read: it is not UTF-8 ({error}), but perhaps {guess}: save it as "
            "UTF-8, or read it with pandas.read_csv(..., encoding=...) and pass the frame"
        ) from None


def _lines(block: bytes) -> list[bytes]:
    return block.splitlines(keepends=True)


def records_of(block: bytes, delimiter: str = ",") -> Iterator[list[str]]:
    """Records that are not empty lines."""
    lines = io.StringIO(block.decode("utf-8"), newline="")
    return (record for record in reader_of(lines, delimiter) if record)


def next_of(records: Iterator[list[str]], number: int) -> list[list[str]]:
    """The next ``number`` records, or as many as there are, with fields of any length."""
    with long_fields():
        return list(itertools.islice(records, number))


def blocks_of(
    content: IO[bytes], size: int, delimiter: str = ",", start: int = 0
) -> Iterator[tuple[int, bytes]]:
    """Whole records, about ``size`` bytes at a time, each with its offset in the file."""
    content.seek(start)
    offset, rest = start, b""
    while True:
        more = content.read(max(size, len(rest)))  # twice as much, where a record is not whole yet
        block = rest + more
        if not more and _is_open(block, delimiter):
            raise _never_closed(content, offset, block, delimiter)
        end = end_of_records(block, delimiter) if more else len(block)
        if end:
            yield offset, block[:end]
        offset, rest = offset + end, block[end:]
        if not more:
            return
        if len(rest) > MAX_RECORD_BYTES:
            raise _never_closed(content, offset, rest, delimiter)


def _is_open(block: bytes, delimiter: str) -> bool:
    """Whether the end of the data is inside of quotes."""
    if b'"' not in block:
        return False
    last = "\0"
    lines = [line.decode("latin-1") for line in _lines(block)]
    with long_fields():
        *_, found = reader_of([*lines, last], delimiter)
    return bool(found != [last])


def _never_closed(content: IO[bytes], offset: int, block: bytes, delimiter: str) -> csv.Error:
    """The error for a quote that swallows the rest of a file; names the line of its record."""
    content.seek(0)
    line = 1 + len(_lines(block[: _last_record(block, delimiter)]))
    while offset > 0:  # lines of the records before
        before = content.read(min(offset, 1 << 20))
        line += before.count(b"\n")
        offset -= len(before)
    return csv.Error(
        f"a quote is opened in line {line}, in the record that begins there, and is not closed: "
        "close it, or write a quote inside of text twice"
    )


def _end_of_quoted(text: npt.NDArray[np.uint8], delimiter: str) -> int:
    """The same where all quotes are where they belong, around whole fields; 0 where not."""
    quotes = np.flatnonzero(text == ord('"'))
    opening, closing = quotes[::2], quotes[1::2]
    doubled = opening[1:] == closing[: len(opening) - 1] + 1
    separates = np.isin(np.arange(256), list(delimiter.encode() + b"\r\n"))
    before = separates[np.where(opening > 0, text[opening - 1], ord("\n"))]
    before[1:] |= doubled
    last = len(text) - 1
    after = separates[np.where(closing < last, text[np.minimum(closing + 1, last)], ord("\n"))]
    after[: len(doubled)] |= doubled
    if not (before.all() and after.all()):
        return 0
    newlines = np.flatnonzero(text == ord("\n"))
    outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


def end_of_records(block: bytes, delimiter: str) -> int:
    """Where the last record begins, which may go on after the block, or where it ends."""
    if b'"' not in block:
        return block.rfind(b"\n") + 1 or block.rfind(b"\r", 0, len(block) - 1) + 1
    if end := _end_of_quoted(np.frombuffer(block, np.uint8), delimiter):
        return end
    return _last_record(block, delimiter)


def _last_record(block: bytes, delimiter: str) -> int:
    """Where the last record begins, by Python's reader."""
    lines = _lines(block)
    reader = reader_of((line.decode("latin-1") for line in lines), delimiter)  # ends are ASCII
    before = last = 0
    with long_fields():
        for _ in reader:
            before, last = last, reader.line_num
    return sum(map(len, lines[:before]))
