"""Values of Arrow columns, to the bit, as rows.

Rows are filled column by column, so that a column is copied once; a single column of lists lies
in memory as rows do, and is not copied where it comes in one piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import types

from shoal.dtypes import first_inexact, inexact
from shoal.errors import BadInputError
from shoal.sources.arrow import Field, Layout, check_lists
from shoal.sources.paths import changed
from shoal.sources.rows import Rows
from shoal.sources.weights import weights_of
from shoal.types import Mask

#: Values [n], or [n, width] of lists, and which rows have a null (their values are 0).
Values = tuple[npt.NDArray[Any], Mask | None]


# --- values -------------------------------------------------------------------------------------


def values_of(array: Any, field: Field, layout: Layout, first: int) -> Values:
    """Values of a column; ``first`` is the index of its first row."""
    array = getattr(array, "storage", array)
    if field.width is None:
        return _numbers(array)
    missing = _nulls(array)
    if types.is_fixed_size_list(array.type):
        child = array.values.slice(array.offset * field.width, len(array) * field.width)
    else:
        child = _child_of_lists(array, field, missing, layout, first)
    values, nulls = _numbers(getattr(child, "storage", child))
    values = values.reshape(-1, field.width)
    inside = None if nulls is None else nulls.reshape(-1, field.width).any(axis=1)
    if missing is None or len(values) == len(array):
        found = [mask for mask in (missing, inside) if mask is not None]
        return values, np.logical_or.reduce(found) if found else None
    full = np.zeros((len(array), field.width), values.dtype)  # null lists took no room
    full[~missing] = values
    if inside is not None:
        missing[~missing] = inside
    return full, missing


def _child_of_lists(
    array: Any, field: Field, missing: Mask | None, layout: Layout, first: int
) -> Any:
    """The values of all lists that are not null; each must have the length of the first."""
    width = field.width or 0
    check_lists(array, field.name, layout.place(first)[0])
    offsets = np.asarray(array.offsets)
    lengths = np.diff(offsets)
    wrong = lengths != width if missing is None else (lengths != width) & ~missing
    if wrong.any():
        bad = int(np.flatnonzero(wrong)[0])
        where, row = layout.place(first + bad)
        raise BadInputError(
            f"column {field.name!r} of {where} has a list of {lengths[bad]} in row {row}, where "
            f"the first has {width}: all must have one length"
        )
    if missing is None:
        start = int(offsets[0]) if len(offsets) else 0
        return array.values.slice(start, len(array) * width)
    starts = offsets[:-1][~missing]
    return array.values.take(pa.array((starts[:, None] + np.arange(width)).ravel()))


def _nulls(array: Any) -> Mask | None:
    return array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None


def _numbers(array: Any) -> Values:
    """Numbers as they are stored: a view, but for booleans and where there are nulls."""
    missing = _nulls(array)
    if types.is_boolean(array.type):
        filled = array if missing is None else array.fill_null(False)
        return filled.to_numpy(zero_copy_only=False), missing
    dtype = np.dtype(array.type.to_pandas_dtype())
    stored = array.buffers()[1]
    if len(array) == 0 or stored is None:
        return np.zeros(len(array), dtype), missing
    values = np.frombuffer(stored, dtype, len(array), array.offset * dtype.itemsize)
    return values if missing is None else np.where(missing, dtype.type(0), values), missing


# --- rows ---------------------------------------------------------------------------------------


class Builder:
    """Rows [n, d] to be filled with columns; in Fortran order, but for a single column of lists."""

    def __init__(self, layout: Layout, rows: int, first: int = 0) -> None:
        self._layout, self._first, self._size = layout, first, rows
        self._filled = 0
        self._rows: npt.NDArray[Any] | None = None
        self._weights = None if layout.weight is None else np.zeros(rows)
        self._missing: Mask | None = None

    @property
    def room(self) -> int:
        """Rows to come."""
        return self._size - self._filled

    def add(self, columns: Mapping[str, Any], rows: int) -> None:
        """Take some more rows: an array of each column."""
        start = 0
        for field in self._layout.fields:
            width = 1 if field.width is None else field.width
            self.put(field, columns[field.name], self._filled, start)
            start += width
        if self._layout.weight is not None:
            self.put_weights(columns[self._layout.weight], self._filled)
        self._filled += rows

    def put(self, field: Field, array: Any, row: int, column: int) -> None:
        """Copy values to rows from ``row`` and columns from ``column`` on."""
        values, missing = values_of(array, field, self._layout, self._first + row)
        self._note(missing, row)
        values = values[:, None] if values.ndim == 1 else values
        if (at := first_inexact(values)) is not None:
            where, bad = self._layout.place(self._first + row + at // values.shape[1])
            raise inexact(where, values.flat[at], f"row {bad}, column {field.name!r}")
        if values.shape == (self._size, self._layout.dim) and values.dtype == self._layout.dtype:
            self._rows = values  # all there is: no need to copy
            return
        if self._rows is None:
            self._rows = self._empty()
        self._rows[row : row + len(values), column : column + values.shape[1]] = values

    def put_weights(self, array: Any, row: int) -> None:
        """Copy weights to rows from ``row`` on."""
        assert self._weights is not None
        values, missing = _numbers(getattr(array, "storage", array))
        self._note(missing, row)
        layout, first = self._layout, self._first + row
        checked = weights_of(values, len(values), layout.name, first, places=layout.places)
        self._weights[row : row + len(values)] = checked

    def rows(self) -> Rows:
        """The rows, which are all there."""
        rows = self._empty() if self._rows is None else self._rows
        if self._missing is not None:
            if not rows.flags.writeable:
                rows = rows.copy()
            rows[self._missing] = 0
        layout = self._layout
        return Rows(
            rows,
            self._weights,
            layout.name,
            layout.columns,
            layout.widths,
            self._missing,
            first=self._first,
            places=layout.places,
        )

    def _empty(self) -> npt.NDArray[Any]:
        shape, dtype = (self._size, self._layout.dim), self._layout.dtype
        if len(self._layout.fields) == 1:
            return np.empty(shape, dtype)
        return np.empty(shape[::-1], dtype).T

    def _note(self, missing: Mask | None, row: int) -> None:
        if missing is not None:
            if self._missing is None:
                self._missing = np.zeros(self._size, bool)
            self._missing[row : row + len(missing)] |= missing


def pieces(
    batches: Iterable[Any], layout: Layout, total: int, first: int, size: int | None = None
) -> Iterator[Rows]:
    """Rows of record batches in pieces of ``size``, wherever batches end; ``total`` in all.

    Fewer or more rows are an error: the data is not what it was.
    """
    size = size or layout.rows_at_a_time
    done, builder = 0, Builder(layout, min(size, total), first)
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, builder.room)
            if part.num_rows == 0:
                raise changed(f"{layout.name} has more than {total} rows now")
            builder.add({name: part.column(name) for name in layout.used}, part.num_rows)
            start += part.num_rows
            if builder.room == 0:
                rows = builder.rows()
                done += len(rows)
                builder = Builder(layout, min(size, total - done), first + done)
                yield rows
    if done < total:
        raise changed(f"{layout.name} has fewer than {total} rows now")
