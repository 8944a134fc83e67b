"""JSON in files that a kill at any instant leaves readable: one record, or one a line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from shoal.errors import BadInputError
from shoal.storage.files import open_no_link, write_whole

#: Bytes read at a time from the end of a file of lines.
TAIL = 1 << 16


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write one record as a file, whole or not at all. Raises OSError, naming the file."""
    text = json.dumps(json_safe(record), indent=1, allow_nan=False) + "\n"
    write_whole(path, [text.encode()])


def append_json(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record as a line; what a kill left of a line before it is removed.

    Raises OSError, naming the file, where it cannot be written; the file is then as it was.
    """
    line = json.dumps(json_safe(record), allow_nan=False).encode() + b"\n"
    try:
        with open(path, "ab+", buffering=0, opener=open_no_link) as file:
            size = whole_lines(file)
            if size < file.seek(0, os.SEEK_END):
                file.truncate(size)
            try:
                written = file.write(line)
                if written is not None and written < len(line):
                    file.write(line[written:])  # says why it does not go on
            except OSError:
                with suppress(OSError):
                    file.truncate(size)
                raise
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error


def whole_lines(file: BinaryIO) -> int:
    """Bytes of a file up to the end of its last whole line."""
    for start, line in lines_from_the_end(file):
        if line.endswith(b"\n"):
            return start + len(line)
    return 0


def json_object(text: str | bytes) -> dict[str, Any]:
    """Return the object that a JSON text is; ValueError for all else."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"its JSON is {type(found).__name__}, not an object")
    return found


def truncate_after(path: Path, step: int) -> int:
    """Cut the lines beyond ``step``, and a torn one, off a file; return how many that were.

    Steps rise from line to line, so only the end of the file is read.
    """
    if not path.exists():
        return 0
    with open(path, "rb+", opener=open_no_link) as file:
        end, dropped = 0, 0
        for start, line in lines_from_the_end(file):
            if line.endswith(b"\n") and _step_of(line) <= step:
                end = start + len(line)
                break
            dropped += 1
        if dropped:
            file.truncate(end)
    return dropped


def _step_of(line: bytes) -> float:
    """The step of a line; one that is damaged is beyond every step."""
    try:
        return float(json_object(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return math.inf


def lines_from_the_end(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield where each line begins, and the line, from the last to the first."""
    start = file.seek(0, os.SEEK_END)
    kept = b""
    while start > 0:
        size = min(TAIL, start)
        start -= size
        file.seek(start)
        kept = file.read(size) + kept
        at = kept.rfind(b"\n", 0, len(kept) - 1)
        while at >= 0:
            yield start + at + 1, kept[at + 1 :]
            kept = kept[: at + 1]
            at = kept.rfind(b"\n", 0, len(kept) - 1)
    if kept:
        yield 0, kept


def json_safe(value: Any) -> Any:
    """Return what JSON has for ``value``, for people and other programs.

    Arrays become lists; numbers that are not finite, which JSON lacks, become text; so does
    anything else.
    """
    return _cleaned(value, _as_text)


def plain(value: Any) -> Any:
    """Return what JSON has for ``value``, to be read back as it was: scalars, and sequences.

    Raises
    ------
    BadInputError
        For anything else.
    """
    return _cleaned(value, _refused)


def _cleaned(value: Any, otherwise: Callable[[Any], Any]) -> Any:
    """Scalars of NumPy and sequences as JSON has them; ``otherwise``: what it has not."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else otherwise(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_cleaned(one, otherwise) for one in value]
    return otherwise(value)


def _as_text(value: Any) -> Any:
    if isinstance(value, float):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): json_safe(one) for key, one in value.items()}
    if hasattr(value, "__array__"):
        return json_safe(np.asarray(value).tolist())
    return [json_safe(one) for one in value] if isinstance(value, (set, frozenset)) else repr(value)


def _refused(value: Any) -> Any:
    if isinstance(value, float):
        return value  # Python's JSON has them
    raise BadInputError(f"{value!r} cannot be saved: columns need names that are text or numbers")
