"""Rows in memory: arrays, dicts of columns, frames, lists of shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.checks import warn_user
from shoal.dtypes import check_dtype, common, first_inexact
from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.brought import of_no_dimension, of_other_shape, prepared
from shoal.sources.columns import Columns as Columns
from shoal.sources.columns import as_lists, read_columns, values_and_gaps, wanted_columns
from shoal.sources.columns import is_frame as is_frame
from shoal.sources.columns import is_table as is_table
from shoal.sources.foreign import to_array
from shoal.sources.npz import of_npz
from shoal.sources.places import Places
from shoal.sources.sparse import Matrix, SparseRows, from_scipy, is_sparse, stacked
from shoal.sources.weights import (
    HOW,
    Weighted,
    check_labels,
    given_twice,
    weights_of,
    weights_of_parts,
)

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Rows:
    """Rows [n, d] of any dtype of ``dtypes``, in any order or sparse, and weights [n] or None."""

    rows: Matrix
    weights: Floats | None = None
    name: str = "x"  # what error messages call them
    columns: tuple[Any, ...] = ()  # names, of a dict or a frame, and
    widths: tuple[int, ...] = ()  # values of each in a row, where one has several
    missing: npt.NDArray[np.bool_] | None = None  # [n] rows with a null, whose values say nothing
    first: int = 0  # index of the first row, and
    index: npt.NDArray[np.int64] | None = None  # [n] of each where they do not follow each other
    places: Places | None = None  # the files they come from
    labelled: bool = False  # something came beside them, which is not used
    gap: Callable[[int], str] | None = None  # says where the value is that a row misses

    def __len__(self) -> int:
        return len(self.rows)

    def index_of(self, row: Any) -> int:
        """Index of a row in the data set."""
        return int(self.first + row if self.index is None else self.index[row])

    def place(self, row: Any) -> tuple[str, int]:
        """What a row comes from, and its number there, for messages."""
        index = self.index_of(row)
        return (self.name, index) if self.places is None else self.places.find(index)

    def column_of(self, value: Any) -> str:
        """What column a value of a row belongs to, for messages."""
        if not self.columns:
            return f"column {value}"
        ends = np.cumsum(self.widths or [1] * len(self.columns))
        at = int(np.searchsorted(ends, value, side="right"))
        width = self.widths[at] if self.widths else 1
        inside = f", value {value - int(ends[at]) + width} of {width}" if width > 1 else ""
        return f"column {self.columns[at]!r}{inside}"

    def select(self, names: tuple[Any, ...]) -> Rows:
        """A copy with some columns, in this order."""
        widths = self.widths or (1,) * len(self.columns)
        fields = zip(np.cumsum(widths).tolist(), widths, strict=True)
        ends = dict(zip(self.columns, fields, strict=True))
        chosen = [ends[name] for name in names]
        at = np.concatenate([np.arange(end - width, end) for end, width in chosen])
        widths = tuple(width for _, width in chosen) if self.widths else ()
        return replace(self, rows=self.rows[:, at], columns=names, widths=widths)

    def copy(self) -> Rows:
        """The same rows and weights in arrays of their own."""
        weights = None if self.weights is None else self.weights.copy()
        return replace(self, rows=self.rows.copy(), weights=weights)

    def between(self, start: int, end: int) -> Rows:
        """A view of rows ``start`` … ``end`` - 1."""
        part = slice(start, end)
        return replace(
            self,
            rows=self.rows[part],
            weights=None if self.weights is None else self.weights[part],
            missing=None if self.missing is None else self.missing[part],
            first=self.first + start,
            index=None if self.index is None else self.index[part],
        )

    def at(self, indices: npt.NDArray[np.int64]) -> Rows:
        """A copy of some rows."""
        return replace(
            self,
            rows=self.rows[indices],
            weights=None if self.weights is None else self.weights[indices],
            missing=None if self.missing is None else self.missing[indices],
            index=self.first + indices if self.index is None else self.index[indices],
        )


def joined(parts: list[Rows]) -> Rows:
    """Rows one after the other; a copy, unless there is one part."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(part) for part in parts]

    def all_of(given: list[Any], default: Any) -> Any:
        if all(one is None for one in given):
            return None
        made = [default(n) if one is None else one for one, n in zip(given, sizes, strict=True)]
        return np.concatenate(made)

    return replace(
        parts[0],
        rows=stacked([part.rows for part in parts]),
        weights=all_of([part.weights for part in parts], np.ones),
        missing=all_of([part.missing for part in parts], lambda n: np.zeros(n, bool)),
        index=np.concatenate(
            [
                np.arange(part.first, part.first + len(part)) if part.index is None else part.index
                for part in parts
            ]
        ),
    )


def to_rows(data: object, columns: Columns, name: str = "x") -> Rows:
    """Read one batch or shard: rows, ``Weighted``, or a tuple of rows and what comes beside."""
    if isinstance(data, Rows):
        return data
    if isinstance(data, Weighted):
        return with_weights([to_rows(data.rows, columns, name)], data.weights, name)[0]
    data = prepared(of_npz(data, columns, name), name)
    if isinstance(data, tuple) and data and not _is_value(data[0]):
        found = to_rows(data[0], columns, name)
        return replace(found, labelled=check_labels(data[1:], len(found), name))
    named = _of_table(data, columns, name)
    if named is None:
        if columns.needs_names():
            raise BadInputError(
                f"feature_columns and weight_column name columns, but {name} is "
                f"{type(data).__name__}: pass a dict or a frame, or name no columns"
            )
        values, missing = values_and_gaps(data)
        gap = None if missing is None else partial(_of_mask, name)
        named = Rows(_to_matrix(values, name, columns.dim), None, name, missing=missing, gap=gap)
    return named


def _is_value(first: object) -> bool:
    """Whether a tuple that begins so is a row or rows itself."""
    return isinstance(first, tuple) or np.isscalar(first)


def with_weights(shards: list[Rows], given: Any, name: str, what: str | None = None) -> list[Rows]:
    """The shards with weights: one vector for all rows, or one for each shard."""
    if any(shard.weights is not None for shard in shards):
        raise given_twice(name, "shoal.Weighted" if what is None else what)
    weights = weights_of_parts(given, list(map(len, shards)), name, what)
    return [replace(shard, weights=one) for shard, one in zip(shards, weights, strict=True)]


def warn_of_labels(shards: list[Rows], name: str) -> bool:
    """Warn if something came beside rows; whether it did."""
    found = any(shard.labelled for shard in shards)
    if found:
        warn_user(
            f"{name}: of a tuple, the first item is taken as rows, and what comes beside it, "
            f"labels as a rule, is not used. Weights are given by {HOW}"
        )
    return found


def _of_table(data: Any, columns: Columns, name: str) -> Rows | None:
    """Rows of a table, a frame or a dict; None for what has no columns by name."""
    if is_table(data) and (find_spec("pyarrow") or not is_frame(data)):
        try:
            from shoal.sources.tables import read_table
        except ImportError:
            kind = type(data).__name__
            raise MissingExtraError(f"reading a {kind}", "pyarrow", "parquet") from None
        return read_table(data, columns, name)
    if not is_frame(data):
        return None
    wanted = wanted_columns(
        list(data if isinstance(data, Mapping) else data.columns), columns, name
    )
    parts, weights, missing = read_columns(data, wanted, columns.weights, name)
    rows = np.concatenate(parts, axis=1, dtype=common([part.dtype for part in parts]))
    if missing is not None:
        rows[missing] = 0
    checked = None if weights is None else weights_of(weights, len(rows), name)
    widths = tuple(part.shape[1] for part in parts)
    return Rows(rows, checked, name, wanted, widths if max(widths) > 1 else (), missing)


def _of_mask(name: str, _row: int) -> str:
    return f" ({name} has masked values, which .filled(...) replaces)"


def _to_matrix(data: object, name: str, columns: int | None) -> Matrix:
    if is_sparse(data):
        sparse = from_scipy(data, name)
        check_dtype(sparse.dtype, name)
        return sparse
    if isinstance(data, (list, tuple)) and len(data) == 0:
        raise BadInputError(f"{name} is empty: give at least one row")
    data = to_array(data, name)
    listed = not hasattr(data, "__array__")
    try:
        array = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{name} is not a rectangular array of numbers: {error}") from None
    if listed and array.dtype.kind in "iub" and first_inexact(array) is None:
        array = array.astype(np.float64)  # a list of whole numbers has no dtype of its own
    if array.ndim == 0:
        raise _no_data(data, name) if listed else of_no_dimension(data, array, name)
    if array.ndim == 1 and array.dtype == object:
        array = as_lists(array, data, name)
    if array.ndim != 2:
        raise of_other_shape(data, array, name, columns)
    if array.shape[1] == 0:
        raise BadInputError(f"{name} has shape {array.shape}: it needs at least one column")
    check_dtype(array.dtype, name)
    return array


def _no_data(data: object, name: str) -> BadInputError:
    """The error for what is no array, nor turns into one."""
    kind = type(data).__name__
    return BadInputError(
        f"{name} is of type {kind}; it must be rows and columns: an array, a table or frame, a "
        "sparse matrix, batches of them, or a path"
    )


def to_shards(data: Any, columns: Columns, name: str = "x") -> list[Rows]:
    """Read a batch: one array, or a list of arrays (shards of one batch)."""
    if isinstance(data, Weighted) and is_shard_list(data.rows):
        shards = with_weights(to_shards(data.rows, columns, name), data.weights, name)
    elif is_shard_list(data):
        shards = []
        for i, item in enumerate(data):
            shards.append(to_rows(item, columns, f"{name}[{i}]"))
            columns = columns.following(shards[-1].columns, f"{name}[{i}]")
    else:
        shards = [to_rows(data, columns, name)]
    first = shards[0].rows
    for i, shard in enumerate(shards):
        if isinstance(shard.rows, SparseRows) != isinstance(first, SparseRows):
            raise BadInputError(
                f"of {name}[0] and {name}[{i}] one is sparse and the other is not: shards must "
                "agree"
            )
        if shard.rows.shape[1] != first.shape[1] or shard.rows.dtype != first.dtype:
            raise BadInputError(
                f"{name}[{i}] has {shard.rows.shape[1]} columns of {shard.rows.dtype}, {name}[0] "
                f"has {first.shape[1]} of {first.dtype}: shards must agree"
            )
    return shards


def names_of(shards: list[Rows]) -> tuple[Any, ...]:
    """Names of the columns, of the first shard that has any."""
    return next((shard.columns for shard in shards if shard.columns), ())


def is_shard_list(data: object) -> bool:
    """Whether ``data`` is a list of arrays (dicts, frames, ``Weighted``), not an array itself."""
    return isinstance(data, list) and len(data) > 0 and all(_is_shard(item) for item in data)


def _is_shard(item: object) -> bool:
    if isinstance(item, Rows) or is_frame(item) or is_table(item):
        return True
    if isinstance(item, Weighted):
        return _is_shard(item.rows)
    if isinstance(item, tuple):
        return len(item) > 0 and _is_shard(item[0])
    return getattr(item, "ndim", 2 if hasattr(item, "__dlpack__") else 0) == 2
