"""Sparse rows: scipy's CSR in memory, read as it lies. scipy itself is never imported."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.checks import warn_user
from shoal.errors import BadInputError
from shoal.types import Floats, Indices

#: Columns that rows may have; a center has a value of each.
MOST_COLUMNS = 2**31 - 1
#: Rows whose values are looked at together.
PIECE_ROWS = 65536


class SparseRows:
    """Rows of which only values that may not be zero are kept; stands where an array [n, d] does.

    Row i has ``values[indptr[i] : indptr[i + 1]]`` in the columns ``indices`` of the same place,
    each at most once and in any order. A slice is a view; rows taken by index are a copy. They are
    never made dense unasked: see ``toarray``.

    Parameters
    ----------
    indptr, indices, values
        [n + 1] and [m] int32 or int64, [m] of the dtype of the rows.
    columns
        Number of columns d.
    kind
        The user's type of matrix.
    matrix
        The matrix that these rows are; None: it is made when asked for.
    """

    ndim = 2

    def __init__(
        self,
        indptr: npt.NDArray[Any],
        indices: npt.NDArray[Any],
        values: Floats,
        columns: int,
        kind: Any,
        matrix: Any = None,
    ) -> None:
        self.indptr = indptr
        self.indices = indices
        self.values = values
        self.shape = (len(indptr) - 1, columns)
        self.kind = kind
        self._matrix = matrix

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        return self.values.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take."""
        each = self.indices.itemsize + self.values.itemsize
        return int(self.indptr[-1] - self.indptr[0]) * each + self.indptr.nbytes

    @property
    def matrix(self) -> Any:
        """The rows as the user's kind of matrix: the one that was given, where they are its."""
        if self._matrix is not None:
            return self._matrix
        inside = slice(int(self.indptr[0]), int(self.indptr[-1]))
        parts = (self.values[inside], self.indices[inside], self.indptr - self.indptr[0])
        return self.kind(parts, shape=self.shape)

    def __getitem__(self, key: Any) -> Any:
        """Rows by a slice, by their indices or by a mask; one value by (row, column)."""
        if isinstance(key, tuple):
            row, column = key
            start, end = int(self.indptr[row]), int(self.indptr[row + 1])
            at = np.flatnonzero(self.indices[start:end] == column)
            return self.values[start + int(at[0])] if len(at) else self.dtype.type(0)
        if isinstance(key, slice):
            start, end, step = key.indices(len(self))
            if step == 1:
                return self._like(
                    self.indptr[start : max(start, end) + 1], self.indices, self.values
                )
            key = np.arange(start, end, step)
        rows = np.flatnonzero(key) if np.asarray(key).dtype == bool else np.asarray(key, np.int64)
        return self._taken(rows)

    def _taken(self, rows: Indices) -> SparseRows:
        starts = self.indptr[:-1][rows].astype(np.int64)
        lengths = self.indptr[1:][rows] - starts
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        at = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        return self._like(indptr, self.indices[at], self.values[at])

    def _like(self, indptr: Any, indices: Any, values: Any) -> SparseRows:
        return SparseRows(indptr, indices, values, self.shape[1], self.kind)

    def __reduce__(self) -> Any:  # of a slice, no other rows
        inside = slice(int(self.indptr[0]), int(self.indptr[-1]))
        indptr = self.indptr - self.indptr[0]
        parts = indptr, self.indices[inside], self.values[inside], self.shape[1], self.kind
        return SparseRows, parts

    def any(self, axis: int) -> npt.NDArray[np.bool_]:
        """Whether each row has a value that is not zero."""
        assert axis == 1
        return self._some(lambda values: values != 0)

    def finite(self) -> npt.NDArray[np.bool_]:
        """Whether all values of each row are finite."""
        return ~self._some(lambda values: ~np.isfinite(values))

    def _some(self, test: Callable[[Floats], npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
        """Whether any value of each row passes a test."""
        found = np.zeros(len(self), bool)
        for start in range(0, len(self), PIECE_ROWS):
            ends = self.indptr[start : start + PIECE_ROWS + 1].astype(np.int64)
            passing = test(self.values[ends[0] : ends[-1]])
            before = np.concatenate([np.zeros(1, np.int64), np.cumsum(passing)])
            found[start : start + PIECE_ROWS] = np.diff(before[ends - ends[0]]) > 0
        return found

    def copy(self) -> SparseRows:
        """The same rows in arrays of their own."""
        return self._taken(np.arange(len(self)))

    def toarray(self) -> Floats:
        """The rows as an array [n, d], zeros included."""
        dense = np.zeros(self.shape, self.dtype)
        inside = slice(int(self.indptr[0]), int(self.indptr[-1]))
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        dense[rows, self.indices[inside]] = self.values[inside]
        return dense

    def checksum(self) -> int:
        """A number that other rows rarely have."""
        inside = slice(int(self.indptr[0]), int(self.indptr[-1]))
        found = zlib.crc32(np.diff(self.indptr).astype(np.int64).data)
        for part in (self.indices[inside], self.values[inside]):
            found = zlib.crc32(np.ascontiguousarray(part).data, found)
        return found

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("sparse rows are not made dense unasked: use toarray()")


Matrix = Floats | SparseRows


def is_sparse(data: object) -> bool:
    """Whether ``data`` is a sparse matrix or array of scipy's, or of one like it."""
    return hasattr(data, "tocsr")


def from_scipy(data: Any, name: str) -> SparseRows:
    """Rows of a sparse matrix: CSR as it lies; anything else is converted, with a warning."""
    if not hasattr(data, "format") or not hasattr(data, "nnz"):
        raise BadInputError(
            f"{name} is a sparse matrix of type {type(data).__name__}, which cannot be read: pass "
            "one of scipy's, or an array with .toarray() if that fits into memory"
        )
    if data.ndim != 2:
        raise BadInputError(
            f"{name} is a sparse array of shape {data.shape}; it must have two dimensions, rows "
            "and columns. Use .reshape(-1, 1) for one column"
        )
    if data.shape[1] == 0:
        raise BadInputError(f"{name} has shape {data.shape}: it needs at least one column")
    if data.shape[1] > MOST_COLUMNS:
        raise BadInputError(
            f"{name} has {data.shape[1]} columns; there may be {MOST_COLUMNS} at most, as "
            "centers hold a value of each. Hash them into fewer, or leave out those without values"
        )
    matrix = data
    if data.format != "csr":
        matrix = data.tocsr()
        warn_user(
            f"{name} is a sparse matrix in {data.format.upper()} format, and rows are read from "
            f"CSR: a converted copy is used, {_size(matrix)} beside it. Pass {name}.tocsr() to "
            "convert it yourself, once"
        )
    _check_parts(matrix, name)
    ends, values = matrix.indptr, min(len(matrix.indices), len(matrix.data))
    rising = len(ends) == data.shape[0] + 1 and not (ends[1:] < ends[:-1]).any()
    if not rising or ends[0] != 0 or ends[-1] > values:
        raise BadInputError(
            f"{name}, a sparse matrix, is not well formed: its indptr does not go from 0 to the "
            f"number of its values, a step for each row. {name}.check_format() says more"
        )
    parts = (matrix.indptr, matrix.indices, matrix.data)
    return SparseRows(*parts, matrix.shape[1], type(matrix), matrix)


def _check_parts(matrix: Any, name: str) -> None:
    """Refuse arrays that scipy would not have made: they are read as they lie."""
    for part in ("indptr", "indices", "data"):
        array = getattr(matrix, part)
        if array.ndim != 1 or not array.flags.c_contiguous:
            raise BadInputError(
                f"{name}, a sparse matrix, has {part} of shape {array.shape} and strides "
                f"{array.strides}; it must be one packed vector: use {name}.copy()"
            )
        if part != "data" and array.dtype not in (np.int32, np.int64):
            raise BadInputError(
                f"{name}, a sparse matrix, has {part} of dtype {array.dtype}; it must be int32 or "
                f"int64: use {name}.{part} = {name}.{part}.astype(np.int64)"
            )


def _size(matrix: Any) -> str:
    size = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    return f"{size / 1e6:.3g} MB"


def dense(rows: Matrix) -> Floats:
    """Rows as an array, to be centers."""
    return rows.toarray() if isinstance(rows, SparseRows) else rows


def as_given(rows: Matrix) -> Any:
    """Rows as the user knows them: an array, or a matrix of scipy's."""
    return rows.matrix if isinstance(rows, SparseRows) else rows


def without_gaps(centers: Any) -> Any:
    """Centers that are given as a sparse matrix, as an array; all else as it is."""
    return centers.toarray() if is_sparse(centers) and hasattr(centers, "toarray") else centers


def stacked(parts: list[Any]) -> Any:
    """Rows of one kind one after the other: a copy, unless there is one part."""
    if len(parts) == 1:
        return parts[0]
    if not isinstance(parts[0], SparseRows):
        return np.concatenate(parts)
    inside = [slice(int(part.indptr[0]), int(part.indptr[-1])) for part in parts]
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    return SparseRows(
        np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        np.concatenate([part.indices[i] for part, i in zip(parts, inside, strict=True)]),
        np.concatenate([part.values[i] for part, i in zip(parts, inside, strict=True)]),
        parts[0].shape[1],
        parts[0].kind,
    )


class Scattered:
    """Rows that are put into their places piece by piece."""

    def __init__(self) -> None:
        self._places: list[Indices] = []
        self._pieces: list[SparseRows] = []

    def put(self, places: Indices, rows: SparseRows) -> None:
        """Take in rows, and where each of them will be."""
        self._places.append(places)
        self._pieces.append(rows)

    def rows(self) -> SparseRows:
        """All rows in place."""
        together: SparseRows = stacked(self._pieces)
        placed: SparseRows = together[np.argsort(np.concatenate(self._places))]
        return placed
