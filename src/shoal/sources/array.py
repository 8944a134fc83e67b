"""Rows in memory: arrays, dicts of columns, frames, lists of shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from shoal.checks import warn_user
from shoal.dtypes import LARGEST_WHOLE, check_dtype, common, first_inexact, inexact
from shoal.errors import BadInputError, MissingExtraError
from shoal.sources.brought import of_no_dimension, of_other_shape, prepared, ragged
from shoal.sources.columns import (
    Columns,
    as_lists,
    is_frame,
    is_table,
    read_columns,
    values_and_gaps,
    wanted_columns,
)
from shoal.sources.foreign import to_array
from shoal.sources.npz import of_npz
from shoal.sources.rows import Rows, with_weights
from shoal.sources.sparse import Matrix, SparseRows, from_scipy, is_sparse
from shoal.sources.weights import (
    HOW,
    Weighted,
    check_labels,
    check_rows,
    weights_of,
)
from shoal.types import Array


def to_rows(data: object, columns: Columns, name: str = "x") -> Rows:
    """Read one batch or shard: rows, ``Weighted``, or a tuple of rows and what comes beside."""
    if isinstance(data, Rows):
        return data
    if isinstance(data, Weighted):
        check_rows(data.rows, name)
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


def warn_of_labels(parts: list[Rows], name: str) -> bool:
    """Warn if something came beside rows; whether it did."""
    found = any(part.labelled for part in parts)
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
    present = list(data if isinstance(data, Mapping) else data.columns)
    columns = columns.spelled(present)
    wanted = wanted_columns(present, columns, name)
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
        raise ragged(data, name, error) from None
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
    if listed and array.dtype.kind == "f":
        _refuse_rounded(data, array, name)
    return array


def _refuse_rounded(given: Any, array: Array, name: str) -> None:
    """Refuse lists of which a whole number has become another one of float64."""
    large = np.argwhere(np.abs(array) > LARGEST_WHOLE)
    numbers = np.asarray(given, object) if len(large) else array
    for row, column in large.tolist():
        if isinstance(numbers[row, column], (int, np.integer)):
            raise inexact(name, numbers[row, column], f"row {row}, column {column}")


def _no_data(data: object, name: str) -> BadInputError:
    """The error for what is no array, nor turns into one."""
    kind = type(data).__name__
    return BadInputError(
        f"{name} is of type {kind}; it must be rows and columns: an array, a table or frame, a "
        "sparse matrix, batches of them, or a path"
    )


def to_parts(data: Any, columns: Columns, name: str = "x") -> list[Rows]:
    """Read a batch: one array, or a list of arrays (shards of one batch)."""
    if isinstance(data, Weighted) and is_part_list(data.rows):
        parts = with_weights(to_parts(data.rows, columns, name), data.weights, name)
    elif is_part_list(data):
        parts = []
        for i, item in enumerate(data):
            parts.append(to_rows(item, columns, f"{name}[{i}]"))
            columns = columns.following(parts[-1].columns, f"{name}[{i}]")
    else:
        parts = [to_rows(data, columns, name)]
    first = parts[0].rows
    for i, part in enumerate(parts):
        if isinstance(part.rows, SparseRows) != isinstance(first, SparseRows):
            raise BadInputError(
                f"of {name}[0] and {name}[{i}] one is sparse and the other is not: shards must "
                "agree"
            )
        if part.rows.shape[1] != first.shape[1] or part.rows.dtype != first.dtype:
            raise BadInputError(
                f"{name}[{i}] has {part.rows.shape[1]} columns of {part.rows.dtype}, {name}[0] "
                f"has {first.shape[1]} of {first.dtype}: shards must agree"
            )
    return parts


def is_part_list(data: object) -> bool:
    """Whether ``data`` is a list of arrays (dicts, frames, ``Weighted``), not an array itself."""
    return isinstance(data, list) and len(data) > 0 and all(_is_part(item) for item in data)


def _is_part(item: object) -> bool:
    if isinstance(item, Rows) or is_frame(item) or is_table(item):
        return True
    if isinstance(item, Weighted):
        return _is_part(item.rows)
    if isinstance(item, tuple):
        return len(item) > 0 and _is_part(item[0])
    return getattr(item, "ndim", 2 if hasattr(item, "__dlpack__") else 0) == 2
