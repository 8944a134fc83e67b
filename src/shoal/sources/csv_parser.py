"""Text of CSV files to float64: whole records at a time, by pyarrow where it is installed.

What pyarrow does not take for a number, or takes for one that is not finite, is read again as
Python's own ``float`` reads it, so that both ways give the same values and the same errors.
"""

from __future__ import annotations

import itertools
import math
import re
from threading import current_thread, main_thread

import numpy as np

from shoal.errors import BadInputError
from shoal.sources.ahead import ahead
from shoal.sources.csv_head import FALSE, MISSING, TRUE, Form, is_number
from shoal.sources.csv_records import (
    decoded,
    end_of_records,
    long_fields,
    next_of,
    records_of,
)
from shoal.types import Array, Mask

Place = tuple[str, int, str]  # a file, a row of it, and the text of a field there

#: Bytes at the beginning that are read slowly, before what follows is read fast.
HEAD_BYTES = 1 << 14

#: How a text of which pyarrow must not decide looks: perhaps a finite number.
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"

_NO_NAMES = (
    ". The file has no line of names: write one, or choose columns by their number, "
    "feature_columns=['0', …] in Python, --columns 0,… on the command line"
)
_DECIMAL_COMMA = re.compile(r"\d{1,3}(\.\d{3})+,\d+|\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"\d{1,3}([,.' \u00a0\u202f]\d{3})+(\.\d+)?")


class Column:
    """Numbers of a column, up to the first field that is none, and what else is known of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bad: Place | None = None  # the first field that is no number, nor missing
        self.good: Place | None = None  # a field that is a finite number
        self.truth: Place | None = None  # a field that is True or False
        self.empty = True  # no field but missing ones
        self.parts: list[Array] = []
        self.masks: list[Mask | None] = []  # which values of a part are missing

    @property
    def is_numbers(self) -> bool:
        """Whether all is numbers, or True and False, and some of it is there."""
        return self.bad is None and not self.empty

    def take(self, texts: tuple[str, ...], file: str, row: int) -> None:
        """Read the fields of some more rows."""
        try:
            part = _floats(texts)
        except ValueError:
            self._look_at(texts, file, row)
            return
        if self.good is None and (finite := np.flatnonzero(np.isfinite(part))).size:
            self.good = (file, row + int(finite[0]), texts[finite[0]])
        self.empty = self.empty and bool(np.isnan(part).all())
        self.keep(part)

    def keep(self, part: Array, mask: Mask | None = None) -> None:
        """Add values, unless there are fields that are no numbers."""
        if self.bad is None:
            self.parts.append(part)
            self.masks.append(mask)

    def forget(self) -> None:
        """Let go of the values."""
        self.parts.clear()
        self.masks.clear()

    def _look_at(self, texts: tuple[str, ...], file: str, first: int) -> None:
        """Read fields of which some are no numbers."""
        part, mask = np.zeros(len(texts)), np.zeros(len(texts), bool)
        for i, text in enumerate(texts):
            place = (file, first + i, text)
            if is_number(text):
                part[i] = float(text)
                self.empty = self.empty and math.isnan(part[i])
                if self.good is None and math.isfinite(part[i]):
                    self.good = place
            elif (word := text.strip()) in MISSING:
                mask[i] = True
            elif word in TRUE or word in FALSE:
                part[i], self.empty = word in TRUE, False
                self.truth = self.truth or place
            elif self.bad is None:
                self.bad = place
                self.forget()
        self.keep(part, mask)

    def check(self, named: bool, weight: str | None, nameless: bool = False) -> None:
        """Refuse a column that is used and is not all numbers; one of text may be left out.

        ``nameless``: columns have numbers for names.
        """
        if self.bad is None and self.good is not None:
            self.bad = self.truth  # numbers among truths
        if self.bad is None:
            return
        file, row, text = self.bad
        if self.good is None:
            cure = cure_of(text)
            if named or cure:
                column = f"column {self.name!r} of {file}" + ", the weight," * (self.name == weight)
                raise BadInputError(
                    f"{column} is not numbers: it is text (dtype object), {text!r} in row {row}"
                    + (cure or _NO_NAMES * nameless)
                )
            return
        where = f"row {self.good[1]}" + f" of {self.good[0]}" * (self.good[0] != file)
        raise BadInputError(
            f"{file}: column {self.name!r} holds {text!r} in row {row}, where other rows hold "
            f"numbers ({self.good[2]!r} in {where}); mend the file, or leave the column "
            "out by naming those to use" + (cure_of(text) or "")
        )

    def values(self) -> Array:
        """All that was kept, float64; a masked array, where values are missing."""
        if not self.parts:
            return np.zeros(0)
        values = np.concatenate(self.parts)
        if all(mask is None for mask in self.masks):
            return values
        mask = np.concatenate(
            [
                np.zeros(len(part), bool) if mask is None else mask
                for part, mask in zip(self.parts, self.masks, strict=True)
            ]
        )
        return np.ma.MaskedArray(values, mask) if mask.any() else values


def cure_of(text: str) -> str | None:
    """What to do with a number that is written in another way; None for other text."""
    word = text.strip().lstrip("+-")
    if word.startswith("[") and word.endswith("]"):
        return (
            ". These look like lists written as text: keep lists in Parquet, or name the columns "
            "to use"
        )
    ways = []
    if _DECIMAL_COMMA.fullmatch(word):
        ways.append("decimal=','" + ", thousands='.'" * ("." in word))
    if _THOUSANDS.fullmatch(word):
        ways.append(f"thousands={next(one for one in word if not one.isdigit())!r}")
    if not ways:
        return None
    how = ") or (..., ".join(ways)
    return (
        ". Numbers are read with a decimal point and without separators of thousands: "
        f"pandas.read_csv(..., {how}) reads these, pass the frame"
    )


def _floats(texts: tuple[str, ...]) -> Array:
    if any("_" in text for text in texts):  # float() takes 1_000 for a number
        raise ValueError
    return np.fromiter(map(float, texts), np.float64, len(texts))


def parse(
    block: bytes, form: Form, into: dict[str, Column], file: str, row: int, at_once: int
) -> int:
    """Add the records of a block to columns; returns how many there were.

    ``row`` is the number of the first record in the file; of no more than ``at_once`` records the
    text is held in fields.
    """
    decoded(block, file)
    if all(column.bad is None and column.good is None for column in into.values()):
        end = end_of_records(block[:HEAD_BYTES], form.delimiter)  # to see which columns are text
        head = _parsed_slowly(block[:end], form, into, file, row, at_once)
        return head + _parsed(block[end:], form, into, file, row + head, at_once)
    return _parsed(block, form, into, file, row, at_once)


def _parsed(
    block: bytes, form: Form, into: dict[str, Column], file: str, row: int, at_once: int
) -> int:
    kinds = {name: _kind(column) for name, column in into.items()}
    fast = _parsed_fast(block, form, kinds)
    if fast is None:
        return _parsed_slowly(block, form, into, file, row, at_once)
    rows, values = fast
    for name, (part, mask) in values.items():
        column = into[name]
        column.keep(part, mask)
        there = np.ones(rows, bool) if mask is None else ~mask
        column.empty = column.empty and not there.any()
        if column.good is None and kinds[name] == "number" and there.any():
            at = int(there.argmax())
            column.good = (file, row + at, repr(float(part[at])))
    return rows


def _kind(column: Column) -> str:
    """How a column is read fast."""
    if column.bad is not None:
        return "text"
    return "truth" if column.truth is not None and column.good is None else "number"


def _parsed_slowly(
    block: bytes, form: Form, into: dict[str, Column], file: str, row: int, at_once: int
) -> int:
    records, first, width = records_of(block, form.delimiter), row, len(form.fields)
    while True:
        chunk = next_of(records, at_once)
        if not chunk:
            return row - first
        for number, record in enumerate(chunk, row):
            if len(record) != width or (form.spare and record[-1].strip()):
                raise _of_other_width(record, form, f"{file}: row {number}")
        for name, texts in zip(form.fields, zip(*chunk, strict=True), strict=True):
            if name in into:
                into[name].take(texts, file, row)
        row += len(chunk)


def _of_other_width(record: list[str], form: Form, where: str) -> BadInputError:
    hint = ""
    if record[0].startswith("#"):
        hint = ": take comments out of the file"
    elif form.delimiter == "," and len(record) > len(form.fields):
        hint = ": quote fields that have a comma in them, and write numbers with decimal points"
    return BadInputError(
        f"{where} has {len(record)} fields where there are {len(form.fields) - form.spare} columns"
        + hint
    )


def _parsed_fast(
    block: bytes, form: Form, kinds: dict[str, str]
) -> tuple[int, dict[str, tuple[Array, Mask | None]]] | None:
    """Values of columns that are all finite numbers; None where one is not, or others look so."""
    if form.spare:
        return None
    try:
        import pyarrow as pa
        from pyarrow import compute
        from pyarrow import csv as arrow_csv
    except ImportError:
        return None
    read_as = {"number": pa.float64(), "truth": pa.bool_(), "text": pa.string()}
    types = {name: read_as[kind] for name, kind in kinds.items()}
    options = (
        arrow_csv.ReadOptions(
            use_threads=False, block_size=len(block) + 1, column_names=list(form.fields)
        ),
        arrow_csv.ParseOptions(newlines_in_values=True, delimiter=form.delimiter),
        arrow_csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=sorted(MISSING),
            true_values=sorted(TRUE),
            false_values=sorted(FALSE),
        ),
    )
    try:
        # In the main thread, pyarrow takes a Ctrl-C to itself, and loses some.
        reading = (arrow_csv.read_csv(pa.BufferReader(block), *options) for _ in range(1))
        [table] = ahead(reading) if current_thread() is main_thread() else reading
    except (ValueError, OSError, KeyError, NotImplementedError):
        return None
    values = {}
    for name, kind in kinds.items():
        column = table.column(name)
        if kind == "text":
            if compute.any(compute.match_substring_regex(column, NUMBER)).as_py():
                return None
            continue
        mask = None
        if column.null_count:
            mask = column.is_null().to_numpy()
            column = column.fill_null(kind == "number" and 0.0)
        part = column.to_numpy().astype(np.float64, copy=False)
        if not np.isfinite(part).all():
            return None
        values[name] = part, mask
    return table.num_rows, values


def record_of(block: bytes, delimiter: str, number: int) -> list[str]:
    """One record of a block."""
    with long_fields():
        return next(itertools.islice(records_of(block, delimiter), number, None))
