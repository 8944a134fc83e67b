"""Shards on this machine, one after the other, each with all threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.errors import BadInputError
from shoal.executors.base import Floats, Indices
from shoal.shards.potential import Nearest, NearestOfParts
from shoal.shards.shard import Shard
from shoal.sources.sparse import Matrix, dense, stacked
from shoal.state import Farthest, Grid, Partial, Scan

#: Sums of weighted rows beyond could leave the range of float64.
LARGEST_SUM = 1e300


class LocalExecutor:
    """The executor of one machine."""

    def __init__(self, shards: Sequence[Shard], unit_rows: bool) -> None:
        self._shards = shards
        scans = [shard.scan() for shard in shards]
        self._scan = scans[0]
        for scan in scans[1:]:
            self._scan = self._scan.merge(scan)
        if self._scan.rows == 0:
            raise BadInputError("the data has no rows: give at least one")
        if self._scan.weighted and self._scan.heaviest == 0:
            raise BadInputError("all weights are zero: at least one must be positive")
        largest = 1.0 if unit_rows else float(self._scan.magnitude.max(initial=1.0))
        if self._scan.rows * max(largest, 1.0) * self._scan.heaviest > LARGEST_SUM:
            raise BadInputError(
                f"the weights reach {self._scan.heaviest:.3g}: their sums leave the range of "
                "float64. Scale the weights down; only their ratios matter"
            )
        self._grid = Grid.of(self._scan, unit_rows)
        self._starts = np.array([0, *accumulate(scan.rows for scan in scans)])

    def scan(self) -> Scan:
        """Size and magnitudes of the rows."""
        return self._scan

    def dtype(self) -> npt.DTypeLike:
        """The dtype of the centers: float64 where some rows need it, else float32."""
        return np.float64 if self._scan.double else np.float32

    def assign(self, centers: Floats) -> Partial:
        """Assign every row to its nearest center."""
        partials = [shard.assign(centers, self._grid) for shard in self._shards]
        total = partials[0]
        for partial in partials[1:]:
            total = total.merge(partial)
        return total

    def distances(self, centers: Floats) -> Floats:
        """Distance [n] of each row to its nearest center, 0 for a row without direction."""
        return np.concatenate([shard.distances(centers) for shard in self._shards])

    def farthest(self, centers: Floats, number: int) -> Farthest:
        """The ``number`` rows farthest from the centers of the last ``assign``."""
        parts = [shard.farthest(centers, number) for shard in self._shards if shard.rows]
        starts = [
            start for start, shard in zip(self._starts, self._shards, strict=False) if shard.rows
        ]
        placed = [part.after(int(start)) for part, start in zip(parts, starts, strict=True)]
        return Farthest.of(placed, number)

    def nearest(self, centers: Floats, negligible: float, room: int) -> Nearest:
        """Distances to the nearest of some centers, to choose more from."""
        parts = [
            shard.nearest(centers, negligible, room * shard.rows // self._scan.rows)
            for shard in self._shards
        ]
        if len(parts) == 1:
            return parts[0]
        return NearestOfParts(parts, self.take, self._starts.tolist())

    def sample(self, indices: Indices) -> Matrix:
        """Rows by their index, sparse where they are."""
        parts, back = self._gather(indices, lambda shard, local: shard.take(local)[0])
        rows: Matrix = stacked(parts)[back]
        return rows

    def take(self, indices: Indices) -> Floats:
        """Rows by their index as an array [m, d]: what centers are made of."""
        return dense(self.sample(indices))

    def row_sums(self, indices: Indices, grid: Grid) -> npt.NDArray[np.int64]:
        """What each of some rows adds to a sum, [levels, m, d + 1]."""
        parts, back = self._gather(indices, lambda shard, local: shard.row_sums(local, grid))
        sums: npt.NDArray[np.int64] = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return sums[:, back]

    def weights(self) -> Floats | None:
        """Weights [n], or None where rows have none."""
        if not self._scan.weighted:
            return None
        parts = []
        for shard in self._shards:
            weights = shard.weights()
            parts.append(np.ones(shard.rows) if weights is None else weights)
        return np.concatenate(parts)

    def labels(self) -> npt.NDArray[np.int32]:
        """Labels [n] of the last ``assign``."""
        return np.concatenate([shard.labels() for shard in self._shards])

    def _gather(
        self, indices: Indices, read: Callable[[Shard, Indices], Any]
    ) -> tuple[list[Any], Any]:
        """Read rows from the shards that hold them; and how to bring those in order."""
        if len(self._shards) == 1:
            return [read(self._shards[0], indices)], slice(None)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        places, parts = [], []
        for which in np.unique(owner):
            mine = np.flatnonzero(owner == which)
            places.append(mine)
            parts.append(read(self._shards[which], indices[mine] - self._starts[which]))
        return parts, np.argsort(np.concatenate(places), kind="stable")
