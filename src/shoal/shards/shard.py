"""Rows, and what makes passes over them cheap. Home of the one assignment step.

A ``Shard`` is a sequence of blocks (rows.py) that can be read again and again, with what is kept
of one pass for the next.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal import _core
from shoal.metric import is_cosine
from shoal.shards.kernels import assign_block
from shoal.shards.potential import NearestOfBlocks
from shoal.shards.rows import Block, Blocks, source_changed
from shoal.sources.sparse import Matrix, dense
from shoal.state import Farthest, Grid, Partial, Scan

Floats = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int64]


class Workspace:
    """The arrays that a pass fills and the next one writes over.

    Batches that are seen once share one, so that a step allocates no sums and no labels.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def __reduce__(self) -> Any:  # of a copied or pickled model: begins empty
        return Workspace, ()

    def array(
        self, name: str, shape: tuple[int, ...], dtype: type[np.generic], fill: int
    ) -> npt.NDArray[Any]:
        """An array full of ``fill``: the one of this name, if it is large enough."""
        size = math.prod(shape)
        array = self._arrays.get(name)
        if array is None or len(array) < size:
            array = self._arrays[name] = np.empty(size, dtype)
        array = array[:size].reshape(shape)
        array.fill(fill)
        return array


class Shard:
    """Some rows of a data set, read in blocks.

    Parameters
    ----------
    blocks
        The rows.
    metric
        The distance metric.
    threads
        How many threads a pass may use.
    budget
        How many bytes may be kept beside the rows, from pass to pass, to make passes cheaper.
    workspace
        Shared with others, that is with whoever makes the next pass: each one starts anew.
    """

    def __init__(
        self,
        blocks: Blocks,
        metric: str,
        threads: int,
        budget: int = 0,
        workspace: Workspace | None = None,
    ) -> None:
        self._blocks = blocks
        self._metric = metric
        self._threads = threads
        self._budget = budget
        self._shared = workspace is not None
        self._workspace = workspace or Workspace()
        self._labels: list[Labels] = []
        self._keepers: list[_core.Keeper] = []
        self._sums: tuple[Ints, Ints] | None = None  # of the labels; of the squares of the rows
        self._grid: Grid | None = None  # of the sums

    def scan(self) -> Scan:
        """Size and magnitudes of the rows (one pass, the first time)."""
        return self._blocks.scan()

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
        sums, squares = self._sums_on(grid, centers)
        changes = rows = 0
        try:
            for position, block in enumerate(self._blocks):
                labels, keeper = self._kept_of(position, len(block.rows), len(centers))
                changed, _, _ = _core.assign_again(
                    block.rows,
                    block.weights,
                    centers,
                    is_cosine(self._metric),
                    self._threads,
                    keeper,
                    labels,
                    grid,
                    sums,
                    squares,
                )
                changes += changed
                rows += len(block.rows)
        except BaseException:
            self._forget()  # a pass that ends half-way leaves labels and sums of two passes
            raise
        return Partial(sums, squares, grid, rows, changes)

    def _sums_on(self, grid: Grid, centers: Floats) -> tuple[Ints, Ints]:
        """Sums and squares of the last pass, zero before the first."""
        k, d = centers.shape
        shape = (grid.levels, k, d + 1)
        same = self._sums is not None and self._sums[0].shape == shape and grid is self._grid
        if self._sums is None or self._shared or not same:
            self._forget()
            self._grid = grid
            self._sums = (
                self._workspace.array("sums", shape, np.int64, 0),
                self._workspace.array("squares", (2, d + 1), np.int64, 0),
            )
        return self._sums

    def row_sums(self, indices: Indices, grid: Grid) -> npt.NDArray[np.int64]:
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
        return np.concatenate([self._distances(block, centers) for block in self._blocks])

    def _distances(self, block: Block, centers: Floats) -> Floats:
        out = np.empty(len(block.rows))
        assign_block(block, centers, self._metric, self._threads, None, out)
        if is_cosine(self._metric):
            out[~block.rows.any(axis=1)] = 0.0
        return out

    def nearest(self, centers: Floats, negligible: float, room: int) -> NearestOfBlocks:
        """Distances to the nearest of some centers, to choose more from; see ``Nearest``."""
        return NearestOfBlocks(
            lambda: ((block.rows, block.weights) for block in self._blocks),
            lambda indices: dense(self.take(indices)[0]),
            self.rows,
            centers,
            cosine=is_cosine(self._metric),
            threads=self._threads,
            negligible=negligible,
            room=room if self._blocks.resident else min(room, self._budget),
        )

    def farthest(self, centers: Floats, number: int) -> Farthest:
        """The ``number`` rows farthest from ``centers``, with which the last pass was made."""
        start, parts = 0, []
        for position, block in enumerate(self._blocks):
            parts.append(self._farthest(position, block, centers, number).after(start))
            start += len(block.rows)
        return Farthest.of(parts, number)

    def _farthest(self, position: int, block: Block, centers: Floats, number: int) -> Farthest:
        labels = self._labels[position]
        number = min(number, len(labels))
        rows, distances = np.empty(number, np.int64), np.empty(number)
        counts = np.empty(len(centers), np.int64)
        # The core measures dense rows itself, by their labels.
        measured = None if isinstance(block.rows, np.ndarray) else self._distances(block, centers)
        found = _core.farthest(
            block.rows,
            block.weights,
            labels,
            centers,
            is_cosine(self._metric),
            self._threads,
            measured,
            self._keepers[position],
            rows,
            distances,
            counts,
        )
        return Farthest(rows[:found], distances[:found], labels[rows[:found]], counts)

    def take(self, indices: Indices) -> tuple[Matrix, Floats | None]:
        """Rows (and weights) by their index, in the order asked for."""
        return self._blocks.take(indices)

    def weights(self) -> Floats | None:
        """All weights [n], or None where rows have none."""
        return self._blocks.weights()

    def labels(self) -> Labels:
        """Labels [n] of the last pass."""
        return np.concatenate(self._labels) if self._labels else np.empty(0, np.int32)

    def _forget(self) -> None:
        """Start anew: the next pass is a first one."""
        self._labels.clear()
        self._keepers.clear()
        self._sums = None

    def _kept_of(self, position: int, rows: int, k: int) -> tuple[Labels, _core.Keeper]:
        """Labels of a block, and what else is kept of it."""
        if position == len(self._labels):
            name = f"labels {position}"
            self._labels.append(self._workspace.array(name, (rows,), np.int32, -1))
            self._keepers.append(self._keeper(rows, k))
        if len(self._labels[position]) != rows:
            raise source_changed(
                f"batch {position} had {len(self._labels[position])} rows, now {rows}"
            )
        return self._labels[position], self._keepers[position]

    def _keeper(self, rows: int, k: int) -> _core.Keeper:
        """A share of the budget; where that is too little, the first get what bounds take."""
        share = self._budget * rows // max(self.rows, 1)
        keeper = _core.Keeper(rows, share, self._blocks.resident)
        if keeper.planned(self.dim, k, False):
            return keeper
        bounds = _core.bytes_of_bounds(rows, self.dim, k)
        spent = sum(keeper.bytes for keeper in self._keepers)
        return _core.Keeper(rows, bounds if spent + bounds <= self._budget else 0, False)
