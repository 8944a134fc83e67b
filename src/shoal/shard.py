"""Rows, and what makes passes over them cheap. Home of the one assignment step.

A ``Block`` is an array of validated rows with their weights. A ``Shard`` is a sequence of blocks
that can be read again and again: one block in memory, or the batches of a re-readable source.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal import _core
from shoal.errors import BadInputError
from shoal.metric import LARGEST_VALUE, SQUARED_EUCLIDEAN_DISTANCE, is_cosine
from shoal.nearest import NearestOfBlocks
from shoal.state import Grid, Partial, Scan

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Block:
    """Rows [n, d] float16, float32 or float64 in any order, weights [n] float64 or None."""

    rows: Floats
    weights: Floats | None
    scan: Scan


EMPTY_SCAN = Scan(0, np.zeros(0), 1.0, False, False)


def make_block(
    rows: Floats,
    weights: Floats | None,
    metric: str,
    threads: int,
    on_bad_rows: str = "error",
    name: str = "x",
) -> Block:
    """Look at every value once: the door through which rows come in.

    Raises BadInputError for a NaN or an infinity (the first bad row and column named), unless
    ``on_bad_rows="skip"``, which drops such rows and warns with their number.
    """
    scan, bad = _scan(rows, weights, threads)
    if bad is not None and on_bad_rows == "skip":
        good = np.isfinite(rows).all(axis=1)
        warnings.warn(
            f"{name}: dropped {len(rows) - int(good.sum())} of {len(rows)} rows with values that "
            "are not finite (on_bad_rows='skip')",
            UserWarning,
            stacklevel=2,
        )
        rows = rows[good]
        weights = None if weights is None else weights[good]
        scan, bad = _scan(rows, weights, threads)
    if bad is not None:
        raise BadInputError(
            f"{name} holds {rows[bad]} in row {bad[0]}, column {bad[1]}: every value must be "
            "finite. Clean the data, or pass on_bad_rows='skip' to drop such rows"
        )
    if metric == SQUARED_EUCLIDEAN_DISTANCE and scan.magnitude.max(initial=0) > LARGEST_VALUE:
        column = int(scan.magnitude.argmax())
        raise BadInputError(
            f"{name} holds values of magnitude {scan.magnitude[column]:.3g} in column {column}: "
            f"their squares leave the range of float64. Scale the data to below {LARGEST_VALUE:g}"
        )
    largest = 1.0 if is_cosine(metric) else float(scan.magnitude.max(initial=0))
    if math.sqrt(scan.heaviest) * largest > LARGEST_VALUE:
        raise BadInputError(
            f"the weights of {name} reach {scan.heaviest:.3g}: weighted squares leave the range of "
            "float64. Scale the weights down; only their ratios matter"
        )
    return Block(rows, weights, scan)


def _scan(
    rows: Floats, weights: Floats | None, threads: int
) -> tuple[Scan, tuple[int, int] | None]:
    magnitude = np.zeros(rows.shape[1])
    bad = _core.scan(rows, threads, magnitude)
    heaviest = 1.0 if weights is None else float(weights.max(initial=0.0))
    scan = Scan(len(rows), magnitude, heaviest, weights is not None, rows.dtype == np.float64)
    return scan, None if bad[0] < 0 else bad


def assign_block(
    block: Block,
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


def nearest_labels(rows: Floats, centers: Floats, metric: str, threads: int) -> Labels:
    """Nearest center [n] of some validated rows."""
    labels = np.empty(len(rows), np.int32)
    _core.assign(rows, None, centers, is_cosine(metric), threads, labels, None, False)
    return labels


def nearest(rows: Floats, centers: Floats, metric: str, threads: int) -> tuple[Labels, Floats]:
    """Nearest center [n] of some validated rows, and its distance [n]."""
    labels = np.empty(len(rows), np.int32)
    distances = np.empty(len(rows))
    block = Block(rows, None, EMPTY_SCAN)
    assign_block(block, centers, metric, threads, labels, distances)
    return labels, distances


def loss_of(partial: Partial, centers: Floats, metric: str, threads: int) -> float:
    """Sum of weight * distance over the rows of a pass with ``centers``, from its sums."""
    return _core.loss(
        partial.sums, partial.squares, partial.grid, centers, is_cosine(metric), threads
    )


def means_of(partial: Partial, before: Floats, metric: str, threads: int) -> Floats:
    """Mean of each cluster; one without rows or without a direction stays where it is."""
    means = np.empty(before.shape, before.dtype)
    _core.means(partial.sums, partial.grid, before, is_cosine(metric), threads, means)
    return means


class Shard:
    """Some rows of a data set, read in blocks.

    Parameters
    ----------
    read
        Returns the blocks, from the first, each time it is called.
    metric
        The distance metric.
    threads
        How many threads a pass may use.
    budget
        How many bytes may be kept beside the rows, from pass to pass, to make passes cheaper.
    once
        Whether there will be one pass only: its sums are given away.
    reread
        Whether each pass reads the rows anew, so that they could be others: then it is checked.
    """

    def __init__(
        self,
        read: Callable[[], Iterable[Block]],
        metric: str,
        threads: int,
        budget: int = 0,
        once: bool = False,
        reread: bool = False,
    ) -> None:
        self._read = read
        self._reread = reread
        self._checksums: list[int] = []
        self._metric = metric
        self._threads = threads
        self._budget = budget
        self._once = once
        self._labels: list[Labels] = []
        self._keepers: list[_core.Keeper] = []
        self._sums: npt.NDArray[np.int64] | None = None  # of the labels
        self._squares = np.zeros(0, np.int64)  # of the rows
        self._grid: Grid | None = None  # of the sums
        self._scan: Scan | None = None

    @classmethod
    def of_block(cls, block: Block, metric: str, threads: int, budget: int | None = None) -> Shard:
        """Shard of one block in memory; no budget: for one pass."""
        return cls(lambda: (block,), metric, threads, budget or 0, once=budget is None)

    def scan(self) -> Scan:
        """Size and magnitudes of the rows (one pass, the first time)."""
        if self._scan is None:
            scans = [block.scan for block in self._read()]
            if not scans:
                raise BadInputError("the data has no rows: give at least one")
            total = scans[0]
            for scan in scans[1:]:
                total = total.merge(scan)
            self._scan = total
        return self._scan

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.scan().rows

    @property
    def dim(self) -> int:
        """Number of columns."""
        return len(self.scan().magnitude)

    def assign(self, centers: Floats, grid: Grid) -> Partial:
        """Assign all rows and add them up on ``grid``.

        Labels, sums and whatever saves work are kept for the next pass, which then costs less and
        gives the same: sums of integers can be brought up to date, and the rest only says what need
        not be computed.
        """
        shape = (grid.levels, len(centers), centers.shape[1] + 1)
        if self._sums is None or self._sums.shape != shape or grid is not self._grid:
            self._forget()
            self._sums, self._grid = np.zeros(shape, np.int64), grid
            self._squares = np.zeros((2, shape[2]), np.int64)
        changes = rows = 0
        try:
            for position, block in enumerate(self._checked_blocks()):
                labels, keeper = self._kept_of(position, len(block.rows))
                changed, _, _ = _core.assign_again(
                    block.rows,
                    block.weights,
                    centers,
                    is_cosine(self._metric),
                    self._threads,
                    keeper,
                    labels,
                    grid,
                    self._sums,
                    self._squares,
                )
                changes += changed
                rows += len(block.rows)
        except BaseException:
            self._forget()  # a pass that ends half-way leaves labels and sums of two passes
            raise
        if self._once:
            sums, self._sums = self._sums, None
            return Partial(sums, self._squares, grid, rows, changes)
        return Partial(self._sums.copy(), self._squares.copy(), grid, rows, changes)

    def row_sums(self, indices: npt.NDArray[np.int64], grid: Grid) -> npt.NDArray[np.int64]:
        """What each of some rows adds to a sum, [levels, m, d + 1] in quanta."""
        rows, weights = self.take(indices)
        sums = np.zeros((grid.levels, len(rows), rows.shape[1] + 1), np.int64)
        _core.add_sums(
            rows,
            weights,
            np.arange(len(rows), dtype=np.int32),
            is_cosine(self._metric),
            grid,
            len(rows),
            self._threads,
            sums,
        )
        return sums

    def distances(self, centers: Floats) -> Floats:
        """Distance [n] of each row to its nearest center, 0 for a row without direction."""
        parts = []
        for block in self._checked_blocks():
            out = np.empty(len(block.rows))
            assign_block(block, centers, self._metric, self._threads, None, out)
            if is_cosine(self._metric):
                out[~block.rows.any(axis=1)] = 0.0
            parts.append(out)
        return np.concatenate(parts)

    def nearest(self, centers: Floats, negligible: float, room: int) -> NearestOfBlocks:
        """Distances to the nearest of some centers, to choose more from; see ``Nearest``."""
        return NearestOfBlocks(
            lambda: ((block.rows, block.weights) for block in self._checked_blocks()),
            lambda indices: self.take(indices)[0],
            self.rows,
            centers,
            cosine=is_cosine(self._metric),
            threads=self._threads,
            negligible=negligible,
            room=room,
        )

    def take(self, indices: npt.NDArray[np.int64]) -> tuple[Floats, Floats | None]:
        """Rows (and weights) by their index, in the order asked for."""
        out: Floats | None = None
        weights: Floats | None = None
        start = 0
        for block in self._checked_blocks():
            rows = len(block.rows)
            if rows == self.rows:  # all of them: no need to look which
                out = block.rows[indices]
                weights = None if block.weights is None else block.weights[indices]
                start += rows
                continue
            inside = np.flatnonzero((indices >= start) & (indices < start + rows))
            if out is None:
                out = np.empty((len(indices), block.rows.shape[1]), block.rows.dtype)
                weights = None if block.weights is None else np.empty(len(indices))
            local = indices[inside] - start
            out[inside] = block.rows[local]
            if weights is not None and block.weights is not None:
                weights[inside] = block.weights[local]
            start += rows
        if out is None:
            raise BadInputError("the data has no rows: give at least one")
        return out, weights

    def weights(self) -> Floats | None:
        """All weights [n], or None where rows have none."""
        if not self.scan().weighted:
            return None
        parts = [
            np.ones(len(block.rows)) if block.weights is None else block.weights
            for block in self._checked_blocks()
        ]
        return np.concatenate(parts)

    def labels(self) -> Labels:
        """Labels [n] of the last pass."""
        return np.concatenate(self._labels) if self._labels else np.empty(0, np.int32)

    def _forget(self) -> None:
        """Start anew: the next pass is a first one."""
        self._labels.clear()
        self._keepers.clear()
        self._sums = None

    def _kept_of(self, position: int, rows: int) -> tuple[Labels, _core.Keeper]:
        """Labels of a block, and what else is kept of it."""
        if position == len(self._labels):
            self._labels.append(np.full(rows, -1, np.int32))
            share = self._budget * rows // max(self.rows, 1)
            self._keepers.append(_core.Keeper(rows, share))
        if len(self._labels[position]) != rows:
            raise _source_changed(
                f"batch {position} had {len(self._labels[position])} rows, now {rows}"
            )
        return self._labels[position], self._keepers[position]

    def _check_same(self, position: int, block: Block) -> None:
        """Labels are kept by position: the rows must be the same, in the same order."""
        checksum = zlib.crc32(np.ascontiguousarray(block.rows).data)
        if block.weights is not None:
            checksum = zlib.crc32(block.weights.data, checksum)
        if position == len(self._checksums):
            self._checksums.append(checksum)
        if checksum != self._checksums[position]:
            raise _source_changed(f"other rows in batch {position}, or the same in another order")

    def _checked_blocks(self) -> Iterator[Block]:
        """Yield the blocks; a source that gives other data than at first is an error."""
        scan, rows = self.scan(), 0
        for position, block in enumerate(self._read()):
            rows += len(block.rows)
            known = block.scan is scan or scan.covers(block.scan)
            if rows <= scan.rows and not known:
                raise _source_changed("other columns, another dtype or larger values now")
            if rows > scan.rows:
                break
            if self._reread:
                self._check_same(position, block)
            yield block
        if rows != scan.rows:
            more = "more" if rows > scan.rows else rows
            raise _source_changed(f"{scan.rows} rows at first, {more} now")


def _source_changed(how: str) -> BadInputError:
    return BadInputError(
        f"the source changed between two passes: {how}. Full-batch training reads the same data "
        "at each pass; a callable must return a new iterator over it each time"
    )
