"""Passes over rows, and what makes them cheap. Home of the one assignment step.

Rows are a sequence of blocks (rows.py) that can be read again and again; what is kept of one pass
serves the next.
"""

from __future__ import annotations

import numpy as np

from shoal import _core
from shoal.errors import BadInputError
from shoal.metric import is_cosine
from shoal.shards.candidates import CandidatesOfBlocks
from shoal.shards.kernels import assign_block, measured_loss, total_weight
from shoal.shards.lottery import lowest
from shoal.shards.part import Part
from shoal.shards.potential import PotentialOfBlocks
from shoal.shards.rows import Blocks, source_changed
from shoal.shards.values import Begun, Drawn, Measure, Runs, Steps
from shoal.shards.workspace import Workspace
from shoal.sources.rows import Rows
from shoal.sources.sparse import dense
from shoal.state import Farthest, Grid, Partial, Scan
from shoal.types import Floats, Indices, Ints, Labels, Shares


class Passes:
    """Passes over some rows, one after the other.

    Parameters
    ----------
    blocks
        The rows.
    part
        How they are looked at, and what may be kept beside them.
    workspace
        Shared with others, that is with whoever makes the next pass: each one starts anew.
    """

    def __init__(self, blocks: Blocks, part: Part, workspace: Workspace | None = None) -> None:
        self.blocks = blocks
        self._metric = part.metric
        self._threads = part.threads
        self._budget = part.budget
        self._limits = part.limits
        self._shared = workspace is not None
        self._workspace = workspace or Workspace()
        self._labels: list[Labels] = []
        self._keepers: list[_core.Keeper] = []
        self._sums: tuple[Ints, Ints] | None = None  # of the labels; of the squares of the rows
        self._grid: Grid | None = None  # of the sums

    def scan(self) -> Scan:
        """Size and magnitudes of the rows (one reading, the first time)."""
        return self.blocks.scan()

    def begin(self, grid: Grid) -> None:
        """Add on this grid from now on; whatever is kept of another is forgotten."""
        if self._grid is None or not self._grid.same(grid):
            self._forget()
            self._grid = grid

    @property
    def have_labels(self) -> bool:
        """Whether there was a pass that the next one is compared with."""
        return self._sums is not None

    def assign(self, centers: Floats) -> Partial:
        """Assign all rows and add them up.

        Labels, sums and whatever saves work are kept for the next pass, which then costs less and
        gives the same: sums of integers can be brought up to date, and the rest only says what need
        not be computed.
        """
        grid = self._grid
        assert grid is not None
        sums, squares = self._sums_on(grid, centers)
        changes = rows = 0
        try:
            for position, block in enumerate(self.blocks):
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

    def steps(self, centers: Floats, most: int, again: bool, limit: float) -> Steps | None:
        """At most ``most`` passes, each of which moves the centers to the means of their rows.

        They end early where a cluster has no rows, where no label changes (in the first step only
        if there were others before: ``again``), and where the centers move by no more than
        ``limit``. None where rows are not one array.
        """
        grid, block = self._grid, self._only()
        assert grid is not None
        if block is None or not isinstance(block.rows, np.ndarray):
            return None
        sums, squares = self._sums_on(grid, centers)
        labels, keeper = self._kept_of(0, len(block.rows), len(centers))
        moved = np.array(centers, order="C")
        try:
            steps, changes, shift, empty, settled = _core.lloyd(
                block.rows,
                block.weights,
                moved,
                is_cosine(self._metric),
                self._threads,
                keeper,
                labels,
                grid,
                sums,
                squares,
                most,
                again,
                limit,
            )
        except BaseException:
            self._forget()
            raise
        partial = Partial(sums, squares, grid, len(block.rows), changes)
        return Steps(moved, steps, shift, empty, settled, partial)

    def runs(self, begun: Begun, centers: Floats, most: int, tolerance: float) -> Runs | None:
        """Whole runs, each of at most ``most`` steps, and the best of them.

        They end where one takes more than the core does by itself. ``centers`` [k, d] is written
        to. None where rows are not one dense array without weights.
        """
        grid, block = self._grid, self._only()
        assert grid is not None
        if block is None or not isinstance(block.rows, np.ndarray) or block.weights is not None:
            return None
        n, d = block.rows.shape
        labels = np.empty(n, np.int32)
        sums = np.empty((grid.levels, len(centers), d + 1), np.int64)
        squares = np.empty((2, d + 1), np.int64)
        done, _, _, inertia, steps = _core.runs(
            block.rows,
            self._threads,
            grid,
            self._budget,
            begun.firsts,
            begun.draws,
            most,
            tolerance,
            centers,
            labels,
            sums,
            squares,
        )
        if not done:
            return None
        return Runs(done, centers, labels, inertia, steps, Partial(sums, squares, grid, n, 0))

    def _sums_on(self, grid: Grid, centers: Floats) -> tuple[Ints, Ints]:
        """Sums and squares of the last pass, zero before the first."""
        k, d = centers.shape
        shape = (grid.levels, k, d + 1)
        if self._sums is None or self._shared or self._sums[0].shape != shape:
            self._forget()
            self._sums = (
                self._workspace.array("sums", shape, np.int64, 0),
                self._workspace.array("squares", (2, d + 1), np.int64, 0),
            )
        return self._sums

    def loss(self, centers: Floats) -> int:
        """The exact loss of the last pass, made with ``centers``, in units of 2**-1074."""
        if not self.have_labels:  # of a shard that was made anew
            return self.measure(centers).loss
        return sum(
            measured_loss(block, self._labels[position], centers, self._metric, self._threads)
            for position, block in enumerate(self.blocks)
        )

    def measure(self, centers: Floats) -> Measure:
        """Exact sums of weight * distance and of weights, and how many rows there are."""
        total = Measure(0, 0, 0)
        for block in self.blocks.read():  # looked at as they are read, if they never were
            if block.rows.shape[1] != centers.shape[1]:  # of a stream, which is not known before
                raise BadInputError(
                    f"{block.name} has {block.rows.shape[1]} columns, the centers have "
                    f"{centers.shape[1]}: they must agree"
                )
            _, loss = assign_block(block, centers, self._metric, self._threads)
            scan = block.seen
            found = Measure(loss, total_weight(block), len(block.rows), scan.dropped, scan.left_out)
            total = total.merge(found)
        return total

    def _distances(self, block: Rows, centers: Floats) -> Floats:
        out = np.empty(len(block.rows))
        assign_block(block, centers, self._metric, self._threads, None, out)
        if is_cosine(self._metric):
            out[~block.rows.any(axis=1)] = 0.0
        return out

    def potential(
        self, centers: Floats | None, negligible: float, budget: int, without: Indices
    ) -> PotentialOfBlocks:
        """Distances to the nearest of some centers, to choose more from; see ``Shard``."""
        cosine = is_cosine(self._metric) and centers is not None
        if centers is None:
            centers = np.empty((0, len(self.scan().magnitude)))
        return PotentialOfBlocks(
            self.blocks,
            centers,
            without,
            cosine=cosine,
            threads=self._threads,
            negligible=negligible,
            budget=budget if self.blocks.resident else min(budget, self._budget),
        )

    def candidates(self, first: int, negligible: float) -> CandidatesOfBlocks:
        """Distances to candidates for centers, of which there are none yet; see ``Shard``."""
        return CandidatesOfBlocks(
            self.blocks,
            first,
            metric=self._metric,
            threads=self._threads,
            negligible=negligible,
            at_once=self._limits.candidate_rows,
        )

    def weigh(self, of: CandidatesOfBlocks, candidates: Floats) -> Partial:
        """The weight of the rows nearest to each candidate, the last of which are these."""
        assert self._grid is not None
        return of.weigh(candidates, self._grid)

    def picked(self, first: int, draws: Shares, budget: int) -> Drawn | None:
        """The row ``first`` and one for each row of ``draws``, as k-means++ picks them.

        Fewer where every row is a center already. None where rows are not one block.
        """
        if self._only() is None:
            return None
        start = np.array([first])
        potential = self.potential(dense(self.take(start).rows), 0.0, budget, start[:0])
        further = potential.pick(draws)
        return None if further is None else self.take(np.concatenate([start, further]))

    def _only(self) -> Rows | None:
        """The block, if there is but one, in memory."""
        if not self.blocks.resident:
            return None
        blocks = list(self.blocks)
        return blocks[0] if len(blocks) == 1 else None

    def farthest(self, centers: Floats, number: int) -> Farthest:
        """The ``number`` rows farthest from ``centers``, with which the last pass was made."""
        start, parts = 0, []
        for position, block in enumerate(self.blocks):
            parts.append(self._farthest(position, block, centers, number).after(start))
            start += len(block.rows)
        return Farthest.of(parts, number)

    def _farthest(self, position: int, block: Rows, centers: Floats, number: int) -> Farthest:
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

    def labels(self) -> Labels:
        """Labels [n] of the last pass; a copy."""
        return np.concatenate(self._labels)

    def take(self, indices: Indices | None) -> Drawn:
        """Rows (and weights) by their index, in the order asked for; None: all with a weight."""
        if indices is None:
            indices = self.blocks.positive()
        return Drawn(indices, *self.blocks.take(indices))

    def some(self, number: int, key: int) -> tuple[Shares, Drawn]:
        """At most ``number`` distinct rows with a weight, drawn by ``key``; see lottery.py."""
        numbers, indices = lowest(self.blocks, number, key)
        return numbers, self.take(indices)

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
        scan = self.scan()
        dim = len(scan.magnitude)
        share = self._budget * rows // max(scan.rows, 1)
        keeper = _core.Keeper(rows, share, self.blocks.resident)
        if keeper.planned(dim, k, False):
            return keeper
        bounds = _core.bytes_of_bounds(rows, dim, k)
        spent = sum(keeper.bytes for keeper in self._keepers)
        return _core.Keeper(rows, bounds if spent + bounds <= self._budget else 0, False)
