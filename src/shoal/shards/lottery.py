"""Rows drawn by what they hold, so that it does not matter how data is split, nor where it is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shoal.shards.rows import Blocks
from shoal.sources.sparse import Matrix, SparseRows
from shoal.types import Floats, Indices, Shares

#: Values that are looked at together.
PIECE_VALUES = 1 << 18


def lowest(blocks: Blocks, number: int, key: int) -> tuple[Shares, Indices]:
    """Indices of the distinct rows with a weight whose numbers are lowest, and the numbers."""
    found, where, start = [], [], 0
    for block in blocks:
        mine = numbers_of(block.rows, key)
        inside = np.arange(len(mine))
        if block.weights is not None:
            inside = np.flatnonzero(block.weights > 0)
        found.append(mine[inside])
        where.append(start + inside)
        start += len(mine)
    numbers, first = np.unique(np.concatenate(found), return_index=True)
    return numbers[:number], np.concatenate(where)[first[:number]]


def numbers_of(rows: Matrix, key: int) -> Shares:
    """A number [n] of what each row holds, random by ``key``; zeros, of either sign, add nothing.

    A sum over the columns, modulo 2**64, of the mixed bits (splitmix64) of the values.
    """
    salts = _mixed(np.arange(rows.shape[1], dtype=np.uint64) + np.uint64(key))
    return _mixed(np.concatenate(list(_sums(rows, salts))) ^ np.uint64(key))


def _sums(rows: Matrix, salts: Shares) -> Iterator[Shares]:
    size = max(1, PIECE_VALUES // rows.shape[1])
    for start in range(0, max(len(rows), 1), size):
        piece = rows[start : start + size]
        if isinstance(piece, SparseRows):
            ends = piece.indptr.astype(np.int64)
            inside = slice(int(ends[0]), int(ends[-1]))
            each = _of_values(piece.values[inside], salts[piece.indices[inside]])
            running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(each)])
            yield running[ends[1:] - ends[0]] - running[ends[:-1] - ends[0]]
        else:
            yield _of_values(piece, salts).sum(axis=1, dtype=np.uint64)


def _of_values(values: Floats, salts: Shares) -> Shares:
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    return np.where(values == 0, np.uint64(0), _mixed(bits ^ salts))


def _mixed(words: Shares) -> Shares:
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
