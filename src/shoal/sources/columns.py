"""Columns of dicts and frames: which are used, and their values, read with NumPy alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.dtypes import first_inexact, inexact, widened
from shoal.errors import BadInputError
from shoal.sources.sparse import is_sparse
from shoal.sources.tensors import to_array

logger = logging.getLogger("shoal")

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """Which columns of a dict or frame are data, and which one is the weight.

    ``learned`` are the names that a model was trained on, () if there were none: later data must
    have them too.
    """

    features: Sequence[str] | None = None
    weight: str | None = None
    learned: tuple[Any, ...] | None = None

    def given(self) -> bool:
        """Whether any column was named."""
        return self.features is not None or self.weight is not None


def is_frame(data: object) -> bool:
    """Whether ``data`` has named columns: a mapping, or a pandas- or polars-like frame."""
    if is_sparse(data):  # some are mappings, too
        return False
    return isinstance(data, Mapping) or (
        hasattr(data, "__array__") and hasattr(data, "__getitem__") and hasattr(data, "columns")
    )


def is_table(data: object) -> bool:
    """Whether ``data`` speaks Arrow's C interface: polars, pyarrow, DuckDB and others.

    Not pandas, whose frames have an index beside their columns, nor what is read once.
    """
    kind = type(data)
    speaks = hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__")
    return speaks and not hasattr(kind, "__next__") and not kind.__module__.startswith("pandas")


def wanted_columns(present: list[Any], columns: Columns, name: str) -> tuple[Any, ...]:
    """Names of the columns to use, each among those ``present`` once."""
    wanted: Sequence[Any] | None = columns.features or columns.learned or None
    if wanted is None:
        whole = all(isinstance(column, (int, np.integer)) for column in present)
        rest = [column for column in present if column != columns.weight]
        wanted = sorted(rest, key=None if whole else str)
        if columns.learned is not None:
            logger.warning(
                "%s has named columns, the model was trained on rows without names: they are taken "
                "in the order %s",
                name,
                wanted,
            )
    if not wanted:
        raise BadInputError(f"{name} has no columns of data; it has {present}")
    for column in [*wanted, *([columns.weight] if columns.weight else [])]:
        if present.count(column) != 1:
            how = "has no" if column not in present else "has more than one"
            raise BadInputError(f"{name} {how} column {column!r}; it has {present}")
    return tuple(wanted)


def warn_left_out(where: object, names: Iterable[str]) -> None:
    """Say which columns are not used."""
    logger.warning(
        "%s: columns left out because they are not numbers: %s. To choose, name the "
        "columns to use: --columns on the command line, feature_columns in Python",
        where,
        ", ".join(names),
    )


def read_columns(
    data: Any, wanted: tuple[Any, ...], weight: str | None, name: str
) -> tuple[list[Array], Array | None, Mask | None]:
    """Values [n, …] of each column, the weights [n], and which rows have a null (0 there)."""
    parts: list[Array] = []
    missing: list[Mask | None] = []
    for column in wanted:
        values, nulls = _values(data[column], column, name)
        if values.dtype == object and values.ndim == 1:
            values, nulls = _stacked(values, data[column], column, name)
        if values.ndim == 1:
            values = values[:, None]
        native = values.dtype if values.dtype.isnative else values.dtype.newbyteorder("=")
        if values.ndim != 2 or widened(native) is None:
            raise BadInputError(
                f"column {column!r} of {name} has dtype {values.dtype} and shape {values.shape}; "
                "it must hold one number, or a fixed number of numbers, per row. Name the columns "
                "to use with feature_columns"
            )
        parts.append(values)
        missing.append(nulls)
    lengths = {len(part) for part in parts}
    if len(lengths) > 1:
        raise BadInputError(
            f"the columns of {name} differ in length: "
            f"{ {c: len(p) for c, p in zip(wanted, parts, strict=True)} }"
        )
    for column, part in zip(wanted, parts, strict=True):
        if (at := first_inexact(part)) is not None:
            row = at // part.shape[1]
            raise inexact(name, part.flat[at], f"row {row}, column {column!r}")
    weights: Array | None = None
    if weight is not None:
        weights, nulls = _values(data[weight], weight, name)
        missing.append(nulls)
    masks = [nulls for nulls in missing if nulls is not None]
    return parts, weights, np.logical_or.reduce(masks) if masks else None


def _values(column: Any, label: Any, name: str) -> tuple[Array, Mask | None]:
    """Values of a column, 0 where they are null; NaN is a value."""
    dtype = getattr(column, "dtype", None)
    if hasattr(dtype, "subtype") and hasattr(dtype, "fill_value"):  # of pandas
        raise BadInputError(
            f"column {label!r} of {name} is sparse, which columns of frames cannot be: use "
            ".sparse.to_dense(), or pass a sparse matrix, .sparse.to_coo().tocsr() of the frame"
        )
    try:
        if hasattr(dtype, "na_value") and getattr(dtype, "kind", "") in "fiub":
            return _nullable(column)  # of pandas
        if hasattr(column, "null_count") and hasattr(column, "fill_null") and column.null_count():
            return np.asarray(column.fill_null(0)), np.asarray(column.is_null())  # of polars
        return np.asarray(to_array(column, f"column {label!r} of {name}")), None
    except (ValueError, TypeError) as error:
        raise BadInputError(f"column {label!r} of {name} is not an array: {error}") from None


def _nullable(column: Any) -> tuple[Array, Mask | None]:
    nulls = np.asarray(column.isna())
    values = np.asarray(column.to_numpy(dtype=column.dtype.numpy_dtype, na_value=0))
    return values, nulls if nulls.any() else None


def _stacked(column: Array, given: Any, label: Any, name: str) -> tuple[Array, Mask | None]:
    """Lists of numbers, all of one length, as a matrix; no list at all is a null."""
    isna = getattr(given, "isna", None)
    nulls = np.asarray(isna()) if isna else np.array([one is None for one in column], bool)
    lists = [one for one in column if isinstance(one, (list, tuple, np.ndarray))]
    if not lists or len(lists) + int(nulls.sum()) < len(column):
        return column, None  # something else
    wrong = [len(one) != len(lists[0]) for one in lists]
    if any(wrong):
        row = int(np.flatnonzero(~nulls)[wrong.index(True)])
        raise BadInputError(
            f"column {label!r} of {name} has a list of {len(column[row])} in row {row}, where the "
            f"first has {len(lists[0])}: all must have one length"
        )
    values = np.array(lists)
    if values.ndim != 2 or not nulls.any():
        return values, None
    filled = np.zeros((len(column), values.shape[1]), values.dtype)
    filled[~nulls] = values
    return filled, nulls
