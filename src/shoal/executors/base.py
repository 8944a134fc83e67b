"""The seam between the loop and the machines: centers go out, partials come back."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shoal.shards.potential import Nearest
from shoal.sources.sparse import Matrix
from shoal.state import Farthest, Grid, Partial, Scan

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]


class Executor(Protocol):
    """All rows of a batch or of a data set, wherever they are, as one sequence of rows."""

    def scan(self) -> Scan:
        """Size and magnitudes of the rows."""

    def dtype(self) -> npt.DTypeLike:
        """The dtype of the centers: float64 where rows need it, else float32."""

    def assign(self, centers: Floats) -> Partial:
        """Assign every row to its nearest center."""

    def distances(self, centers: Floats) -> Floats:
        """Distance [n] of each row to its nearest center, 0 for a row without direction."""

    def farthest(self, centers: Floats, number: int) -> Farthest:
        """The ``number`` rows farthest from the centers of the last ``assign``."""

    def nearest(self, centers: Floats, negligible: float, room: int) -> Nearest:
        """Distances to the nearest of some centers [k, d], k may be 0, to choose more from.

        Distances up to ``negligible`` have no mass; ``room`` bytes may be kept beside them.
        """

    def sample(self, indices: Indices) -> Matrix:
        """Rows by their index, sparse where they are."""

    def take(self, indices: Indices) -> Floats:
        """Rows by their index as an array [m, d]: what centers are made of."""

    def weights(self) -> Floats | None:
        """Weights [n], or None where rows have none."""

    def labels(self) -> npt.NDArray[np.int32]:
        """Labels [n] of the last ``assign``."""

    def row_sums(self, indices: Indices, grid: Grid) -> npt.NDArray[np.int64]:
        """What each of some rows adds to a sum; see ``Shard.row_sums``."""
