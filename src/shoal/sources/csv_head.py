"""How a file of text is laid out: what separates its fields, what they are called, where rows are.

All of it is decided by the first records, by rules that always give the same answer; where two
answers are as likely, the file is refused.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from shoal.errors import BadInputError
from shoal.sources.csv_records import MAX_RECORD_BYTES, decoded, long_fields, reader_of
from shoal.sources.paths import without_compression

logger = logging.getLogger("shoal")

#: Bytes that are looked at; more, where they hold no two records.
HEAD_BYTES = 1 << 14

#: Values that must have a decimal point where a line of whole numbers is to be their names.
ENOUGH = 10

#: What may separate fields, the first that fits.
DELIMITERS = (",", ";", "\t", "|", " ")

#: Texts of a missing value, as pandas has them; what ``float`` reads as NaN is one as well.
MISSING = frozenset(
    ["", "NA", "N/A", "n/a", "<NA>", "NULL", "null", "None", "#N/A", "#N/A N/A", "#NA"]
    + [f"{sign}1.#{kind}" for sign in ("", "-") for kind in ("IND", "QNAN")]
)
#: Texts that are 1 and 0, as pandas has them, in columns of nothing else.
TRUE = frozenset(("True", "TRUE", "true"))
FALSE = frozenset(("False", "FALSE", "false"))

_WHOLE = re.compile(r"\s*\d+\s*")
_SEPARATOR = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)

Record = list[str]


@dataclass(frozen=True)
class Form:
    """Layout of one file."""

    delimiter: str
    fields: tuple[str, ...]  # what each field of a record is called; its number, without names
    has_names: bool
    start: int  # where the first row begins
    spare: bool = False  # rows end in a delimiter that the line of names does not have


# --- what is in a field -------------------------------------------------------------------------


def is_number(field: str) -> bool:
    """Whether a field is a number as Python writes them, without underscores."""
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


def is_missing(field: str) -> bool:
    """Whether a field says that there is no value."""
    return field.strip() in MISSING


def _is_finite(field: str) -> bool:
    return is_number(field) and math.isfinite(float(field))


# --- the first records --------------------------------------------------------------------------


def form_of(content: IO[bytes], file: str, say: bool = True) -> Form | None:
    """Look at the beginning of a file; None where there is nothing but empty lines.

    ``say``: what is not plain to see is told, by warnings and in the log.
    """
    head, ended = _head(content)
    end = len(head) if ended else max(head.rfind(b"\n"), head.rfind(b"\r")) + 1
    text = decoded(head[: end or len(head)], file)
    offset = 3 if text.startswith("\ufeff") else 0
    lines = list(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    asked, comments, skipped = None, [], 0
    while skipped < len(lines):
        line = lines[skipped]
        if found := _SEPARATOR.fullmatch(line):
            asked = found[1]
        elif line.startswith("#"):
            comments.append(line.lstrip("#").strip())
        elif line.strip():
            break
        skipped += 1
    offset += sum(len(line.encode()) for line in lines[:skipped])
    lines = lines[skipped:]
    if not lines and comments:
        raise BadInputError(f"{file} has comments and no rows")
    if not lines:
        return None
    delimiter = asked or _delimiter(lines, ended, file)
    records, ends = _records_of(lines, delimiter, ended)
    form = _by_names(records, comments, delimiter, file, say)
    if say and delimiter != ",":
        logger.info("%s: fields are separated by %r", file, delimiter)
    behind = sum(len(line.encode()) for line in lines[: ends[0]])
    from_comment = form.start < 0
    return Form(
        delimiter,
        form.fields,
        form.has_names,
        offset + (behind if form.has_names and not from_comment else 0),
        form.spare,
    )


def _head(content: IO[bytes]) -> tuple[bytes, bool]:
    """The beginning of a file, of at least some lines, and whether that is all of it."""
    head = content.read(HEAD_BYTES)
    while max(head.count(b"\n"), head.count(b"\r")) < 3 and len(head) < MAX_RECORD_BYTES:
        more = content.read(len(head))
        if not more:
            return head, True
        head += more
    return head, not content.read(1)


def _records_of(lines: list[str], delimiter: str, ended: bool) -> tuple[list[Record], list[int]]:
    """Records that are not empty, and the number of lines up to the end of each."""
    reader = reader_of(lines, delimiter)
    found, ends = [], []
    with long_fields():
        for record in reader:
            if record:
                found.append(record)
                ends.append(reader.line_num)
    if not ended and len(found) > 1:  # the last one may go on
        del found[-1], ends[-1]
    return found, ends


def _delimiter(lines: list[str], ended: bool, file: str) -> str:
    """The first delimiter by which all records have one width, or one but for the names."""
    order: tuple[str, ...] = DELIMITERS
    if without_compression(file).lower().endswith(".tsv"):
        order = ("\t", *(one for one in DELIMITERS if one != "\t"))
    widths = {}
    for one in order:
        found = [len(record) for record in _records_of(lines, one, ended)[0]]
        widths[one] = (found[0], min(found[1:], default=found[0]), max(found[1:], default=found[0]))
    for more in (0, 1):
        for one, (first, least, most) in widths.items():
            if most >= 2 and least == most == first + more:
                return one
    return order[0]


def _by_names(
    records: list[Record], comments: list[str], delimiter: str, file: str, say: bool
) -> Form:
    """Names of the fields; ``start`` is -1 where they stand in a comment."""
    first, rest = records[0], records[1:]
    if comments and any(map(_is_finite, first)):
        [names] = reader_of(comments[-1:], delimiter)
        if len(names) == len(first) and not any(map(_is_finite, names)):
            if say:
                logger.info("%s: names of columns are in the comment %s", file, comments[-1])
            return Form(delimiter, _labels(names), True, -1)
    if comments and say:
        logger.warning("%s: lines that begin with '#' are left out: %s", file, "; ".join(comments))
    width = {len(record) for record in rest}
    if width == {len(first) + 1} and not all(map(is_number, first)):
        if all(not record[-1].strip() for record in rest):
            return Form(delimiter, _labels([*first, ""]), True, 0, spare=True)
        _check_row_names(first, rest, delimiter, file)
        return Form(delimiter, _labels(["", *first]), True, 0)
    if width == {len(first) - 1} and not first[-1].strip():
        first = first[:-1]
    if not _has_names(first, [record for record in rest if len(record) == len(first)], file, say):
        return Form(delimiter, tuple(map(str, range(len(first)))), False, 0)
    return Form(delimiter, _labels(first), True, 0)


def _labels(names: Iterable[str]) -> tuple[str, ...]:
    """Names without blanks around them; what has none is called as pandas calls it."""
    return tuple(name.strip() or f"Unnamed: {i}" for i, name in enumerate(names))


def _check_row_names(first: Record, rest: list[Record], delimiter: str, file: str) -> None:
    """Refuse what may be decimal commas as well as row names, as R writes them."""
    names = [record[0] for record in rest]
    running = names == [str(i) for i in range(1, len(names) + 1)]
    if delimiter == "," and not running and any(map(is_number, names)):
        raise BadInputError(
            f"{file}: rows have {len(first) + 1} fields, the first line has {len(first)} names: "
            "name the first column too if these are row names, write decimal points where these "
            "are decimal commas, and take out lines above the names"
        )


def _has_names(first: Record, rest: list[Record], file: str, say: bool) -> bool:
    """Whether the first record is names; one of nothing but numbers may be, too."""
    number = [_is_finite(field) for field in first]
    if not any(number):
        return any(not is_missing(field) and not is_number(field) for field in first)
    whole = all(_WHOLE.fullmatch(one) for one, yes in zip(first, number, strict=True) if yes)
    texts = [
        i
        for i, field in enumerate(first)
        if not number[i] and not is_missing(field) and not is_number(field)
    ]
    if not whole or any(first[i] == record[i] for i in texts for record in rest):
        return False
    if not texts and not _numbers_are_names(first, rest, number, file):
        return False
    if say and first[0].strip():
        logger.warning(
            "%s: the first line is taken as the names of the columns, numbers among them: %s. If "
            "it is a row, put a line of names before it",
            file,
            ", ".join(first[:8]) + ", …" * (len(first) > 8),
        )
    return True


def _numbers_are_names(first: Record, rest: list[Record], number: list[bool], file: str) -> bool:
    """Whether whole numbers in the first record are names; refused where that cannot be known."""
    counted = [field.strip() for field, yes in zip(first, number, strict=True) if yes]
    follows = counted == [str(i) for i in range(len(counted))]  # as pandas calls columns
    nameless = next((i for i, field in enumerate(first) if field.strip()), 0)  # of an index
    if not all(number[nameless:]) or not rest:
        return False
    if nameless and follows:
        return True
    values = [record[i] for record in rest for i, yes in enumerate(number) if yes]
    values = [value for value in values if not is_missing(value)]
    fractions = bool(values) and not any(map(_WHOLE.fullmatch, values))
    if follows and (fractions or len(counted) > 2):
        return True
    if fractions and len(set(counted)) == len(counted) > 1 and len(values) >= ENOUGH:
        return True
    if nameless or (follows and len(counted) == 2):
        raise BadInputError(
            f"{file}: the first line, {','.join(first)}, may be names of columns or a row: put a "
            "line of names before it if it is a row, and write names with a letter (c0, c1, …) if "
            f"they are names, as pandas.read_csv({os.path.basename(file)!r}).add_prefix('c') does"
        )
    return False
