"""Which columns of an Arrow table are data, and how they lie in rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from shoal.dtypes import common
from shoal.errors import BadInputError
from shoal.sources.columns import Columns, check_present, listed, wanted_columns, warn_left_out
from shoal.sources.index import without_index
from shoal.sources.limits import USUAL, Limits
from shoal.sources.places import Places


@dataclass(frozen=True)
class Field:
    """A column of data: one number a row (width None), or lists of ``width`` of them."""

    name: str
    dtype: np.dtype[Any]
    width: int | None


@dataclass(frozen=True)
class Layout:
    """How columns of a table lie in rows, side by side."""

    fields: tuple[Field, ...]
    weight: Any
    name: str  # what messages call the data, and
    places: Places | None = None  # the files it comes from
    limits: Limits = USUAL

    def place(self, index: int) -> tuple[str, int]:
        """What a row comes from, and its number there."""
        return (self.name, index) if self.places is None else self.places.find(index)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of data."""
        return tuple(field.name for field in self.fields)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Values of each column in a row, where any has several; else ()."""
        if all(field.width is None for field in self.fields):
            return ()
        return tuple(1 if field.width is None else field.width for field in self.fields)

    @cached_property
    def used(self) -> list[str]:
        """Names of all columns that are read."""
        names = list(self.columns)
        return names if self.weight is None or self.weight in names else [*names, self.weight]

    @cached_property
    def dim(self) -> int:
        """Columns of the rows."""
        return sum(1 if field.width is None else field.width for field in self.fields)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows."""
        return common([field.dtype for field in self.fields])

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return max(1, self.dim * self.dtype.itemsize)

    @property
    def rows_at_a_time(self) -> int:
        """Rows of a piece of bounded size."""
        return max(1, self.limits.piece // self.row_bytes)


def bare(kind: Any) -> Any:
    """Type that an extension type is stored as."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def element(kind: Any) -> tuple[Any, bool]:
    """Type of the values of a column, and whether they come in lists."""
    kind = bare(kind)
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        return bare(kind.value_type), True
    return kind, False


def holds_numbers(kind: Any) -> bool:
    """Whether a column of this type is one number, or a list of them, per row."""
    value, _ = element(kind)
    return bool(types.is_integer(value) or types.is_floating(value) or types.is_boolean(value))


def refusal(kind: Any) -> str | None:
    """Why a column of numbers is not read; None for one that is, and for one of no numbers."""
    value, _ = element(kind)
    if types.is_decimal(value):
        return "decimals are not read: cast it to float64"
    encoded = ("dictionary<", "run_end_encoded<", "list_view<", "large_list_view<")
    if str(value).startswith(encoded) and holds_numbers(value.value_type):
        return "numbers encoded so are not read: cast it to plain numbers or lists"
    return None


def types_of(schema: Any, where: str) -> dict[str, Any]:
    """Type of each column, by its name."""
    names = list(schema.names)
    if len(set(names)) < len(names):
        raise BadInputError(f"{where} has several columns of one name: {listed(names)}")
    return dict(zip(names, schema.types, strict=True))


def features_of(
    found: Mapping[str, Any],
    columns: Columns,
    where: str,
    leave_out: bool,
    index: Collection[str] = (),
) -> tuple[str, ...]:
    """Names of the columns of data of a table.

    ``leave_out``: columns that are not numbers are left out, with a warning, unless columns are
    named; otherwise they are an error. ``index``: columns that pandas wrote as an index, which are
    left out likewise.
    """
    present = without_index(list(found), columns, where, index)
    check_present(present, columns, where)
    weight = columns.weights
    for name in [*columns.named, *([] if weight is None else [weight])]:
        check_numbers(name, found[name], columns, where)
    if weight is not None and element(found[weight])[1]:
        raise _not_numbers(weight, found[weight], columns, where)
    if columns.named:
        return columns.named
    rest = [name for name in present if name != columns.weight]
    left_out = [] if not leave_out else [name for name in rest if not holds_numbers(found[name])]
    without = set(left_out)
    for name in rest:
        if name not in without or refusal(found[name]):
            check_numbers(name, found[name], columns, where)
    numbers = [name for name in present if name not in without]
    if not any(name != columns.weight for name in numbers):
        raise BadInputError(f"{where} has no columns of numbers; it has {listed(found)}")
    if left_out:
        warn_left_out(where, left_out)
    return wanted_columns(numbers, columns._replace(weigh=False), where)


def check_numbers(name: str, kind: Any, columns: Columns, where: str) -> None:
    """Refuse a column that is not numbers."""
    if not holds_numbers(kind):
        raise _not_numbers(name, kind, columns, where)


def _not_numbers(name: str, kind: Any, columns: Columns, where: str) -> BadInputError:
    column = f"column {name!r} of {where}" + (", the weight," * (name == columns.weight))
    if why := refusal(kind):
        return BadInputError(f"{column} is {kind}: {why}, or name the columns to use without it")
    return BadInputError(
        f"{column} is not numbers: it is {kind}. Name the columns to use with feature_columns"
    )


def field_of(name: str, kind: Any, chunks: Iterable[Any], where: str) -> Field:
    """Describe a column; ``chunks`` are looked at where only the data tells how long lists are."""
    value, listed = element(kind)
    dtype = np.dtype(value.to_pandas_dtype())
    if not listed:
        return Field(name, dtype, None)
    kind = bare(kind)
    width = (
        kind.list_size if types.is_fixed_size_list(kind) else _length_of_lists(chunks, name, where)
    )
    if not width:
        how = "has no list to tell how long they are" if width is None else "holds empty lists"
        raise BadInputError(f"column {name!r} of {where} {how}")
    return Field(name, dtype, width)


def check_lists(array: Any, name: object, where: str) -> None:
    """Refuse lists that lie outside of their values, as damage has them: reading ends Python."""
    try:
        array.validate()
    except (ValueError, LookupError) as error:
        raise BadInputError(f"column {name!r} of {where} cannot be read: {error}") from None


def _length_of_lists(chunks: Iterable[Any], name: object, where: str) -> int | None:
    """Length of the first list that is not null."""
    for chunk in chunks:
        storage = getattr(chunk, "storage", chunk)
        check_lists(storage, name, where)
        valid = np.flatnonzero(storage.is_valid().to_numpy(zero_copy_only=False))
        if len(valid):
            return len(storage[int(valid[0])])
    return None
