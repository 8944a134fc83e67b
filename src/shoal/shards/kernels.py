"""What the core computes of some rows or of their sums: the doors to it, but for ``Shard``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from shoal import _core
from shoal.errors import BadInputError
from shoal.metric import LARGEST_VALUE, is_cosine
from shoal.sources.rows import Rows
from shoal.sources.sparse import Matrix
from shoal.state import LOSS_UNIT, Grid, Partial, exact_sum, exact_to_float
from shoal.types import Floats, Labels

LARGEST_FLOAT = float(np.finfo(np.float64).max)


def assign_block(
    block: Rows,
    centers: Floats,
    metric: str,
    threads: int,
    labels: Labels | None = None,
    distances: Floats | None = None,
) -> tuple[int, int]:
    """Assign rows to their nearest centers, once; ``Shard.assign`` does it pass after pass.

    Both are one function of the core, the only assignment step there is.

    Parameters
    ----------
    block
        The rows.
    centers
        [k, d], of any length under cosine.
    metric, threads
        The distance, and how many threads may work on it.
    labels
        INOUT [n] int32: the labels before, the labels after.
    distances
        OUT [n] float64: distance of each row to its center.

    Returns
    -------
    tuple
        The number of labels that changed, and the exact loss in units of 2**-1074.
    """
    changes, loss, _ = _core.assign(
        block.rows, block.weights, centers, is_cosine(metric), threads, labels, distances
    )
    return changes, loss


def total_weight(block: Rows) -> int:
    """Exact sum of the weights of a block, 1 each where it has none."""
    if block.weights is None:
        return len(block.rows) * LOSS_UNIT
    return exact_sum(block.weights)


def row_sums(
    rows: Matrix, weights: Floats | None, metric: str, threads: int, grid: Grid
) -> npt.NDArray[np.int64]:
    """What each of some rows adds to a sum, [levels, m, d + 1] in quanta."""
    sums = np.zeros((grid.levels, len(rows), rows.shape[1] + 1), np.int64)
    each = np.arange(len(rows), dtype=np.int32)
    _core.add_sums(rows, weights, each, is_cosine(metric), grid, len(rows), threads, sums)
    return sums


def is_fine(rows: npt.NDArray[Any], metric: str) -> bool:
    """Whether validation would find nothing to refuse: it takes four times as long.

    Where this is False, it may find nothing either: of arrays that are not packed, for example.
    """
    if rows.dtype.char not in "fd" or not rows.flags.c_contiguous or not rows.dtype.isnative:
        return False
    return _core.within(rows, LARGEST_FLOAT if is_cosine(metric) else LARGEST_VALUE)


def nearest_labels(rows: Matrix, centers: Floats, metric: str, threads: int) -> Labels:
    """Nearest center [n] of some validated rows."""
    labels = np.empty(len(rows), np.int32)
    _core.assign(rows, None, centers, is_cosine(metric), threads, labels, None, False)
    return labels


def nearest(rows: Matrix, centers: Floats, metric: str, threads: int) -> tuple[Labels, Floats]:
    """Nearest center [n] of some validated rows, and its distance [n]."""
    labels = np.empty(len(rows), np.int32)
    distances = np.empty(len(rows))
    assign_block(Rows(rows), centers, metric, threads, labels, distances)
    return labels, distances


def as_loss(total: int) -> float:
    """An exact sum of weight * distance, in units of 2**-1074, rounded once."""
    try:
        return exact_to_float(total)
    except OverflowError:
        raise BadInputError(
            "the loss, the sum of weight times distance over all rows, leaves the range of float64 "
            "(1.8e308): scale the data or the weights down"
        ) from None


#: A loss from sums may be off by this much of it, for centers of each dtype.
LOSS_ERROR = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-47}


def loss_of(partial: Partial, centers: Floats, metric: str, threads: int) -> float | None:
    """Sum of weight * distance over the rows of a pass with ``centers``, from its sums.

    None where that would not be exact enough, and rows must be measured: where the distances are
    tiny beside the values, or the range of these is very wide.
    """
    loss, error = _core.loss(
        partial.sums,
        partial.squares,
        partial.grid,
        partial.rows,
        centers,
        is_cosine(metric),
        threads,
    )
    return loss if error <= loss * LOSS_ERROR[centers.dtype] else None


def measured_loss(block: Rows, labels: Labels, centers: Floats, metric: str, threads: int) -> int:
    """The same from the rows and their labels, exactly, in units of 2**-1074."""
    if not isinstance(block.rows, np.ndarray):
        return assign_block(block, centers, metric, threads)[1]
    return _core.measure(block.rows, block.weights, labels, centers, is_cosine(metric), threads)


def means_of(partial: Partial, before: Floats, metric: str, threads: int) -> Floats:
    """Mean of each cluster; one without rows or without a direction stays where it is."""
    means = np.empty(before.shape, before.dtype)
    _core.means(partial.sums, partial.grid, before, None, is_cosine(metric), threads, means)
    return means


def shift_of(before: Floats, after: Floats) -> float:
    """Sum of the squared moves of the centers."""
    return _core.shift(before, after)


def running_means_of(partial: Partial, before: Floats, counts: Floats, threads: int) -> Floats:
    """W_j + (s_j - m_j W_j) / (n_j + m_j): one mean of what was and what came; ``counts`` n."""
    means = np.empty(before.shape, before.dtype)
    _core.means(partial.sums, partial.grid, before, counts, False, threads, means)
    return means


def planned_bytes(
    shape: tuple[int, int], k: int, budget: int, resident: bool, as_they_lie: bool
) -> int:
    """What a shard of rows [n, d] keeps beside them, in bytes."""
    rows, dim = shape
    planned = _core.Keeper(rows, budget, resident).planned(dim, k, as_they_lie)
    if planned or resident:
        return planned
    return min(budget, _core.bytes_of_bounds(rows, dim, k))  # of as many blocks as have room
