"""A batch offered to a seeding method, and what all methods ask of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.config import Parameters
from shoal.executors.base import Executor
from shoal.metric import is_cosine
from shoal.shards.kernels import nearest
from shoal.shards.potential import Nearest
from shoal.sources.sparse import Matrix
from shoal.steps.random import SEEDING, Stream

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Round:
    """One batch offered to a seeding method."""

    batch: Executor
    inputs: list[Matrix]  # the rows behind the batch, for callables
    whole: bool  # the batch is the whole data set, which random access reaches
    found: Floats  # centers chosen in earlier rounds
    remaining: int
    path: tuple[int, int]  # of the random stream: seed, round
    parameters: Parameters
    told: Callable[[int], None] | None = None  # hears how many centers there are

    def tell(self, chosen: int) -> None:
        """Say that ``chosen`` centers of this round are there."""
        if self.told is not None:
            self.told(len(self.found) + chosen)

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.batch.scan().rows

    @property
    def cosine(self) -> bool:
        """Whether rows are compared by direction."""
        return is_cosine(self.parameters.distance_metric)

    def stream(self, chain: int = 0) -> Stream:
        """Random numbers of this round; each chain has its own."""
        seed, number = self.path
        return Stream(seed, SEEDING, number, chain)

    def measure(self, rows: Matrix, centers: Floats) -> Floats:
        """Distance of each row to its nearest center; 0 for a row without direction."""
        given = self.parameters
        _, distances = nearest(rows, centers, given.distance_metric, given.num_threads)
        return self.likely(np.where(rows.any(axis=1), distances, 0.0) if self.cosine else distances)

    def nearest(self, centers: Floats) -> Nearest:
        """Rows by their distances to the nearest of some centers."""
        data = self.rows * self.found.shape[1] * self.found.itemsize
        return self.batch.nearest(centers, self.negligible, self.parameters.budget(data))

    @property
    def negligible(self) -> float:
        """The distance up to which a row is a center already.

        Under cosine, centers are rounded to length one, so a row is not quite at its own center.
        """
        return float(2 * np.finfo(self.found.dtype).eps) ** 2 if self.cosine else 0.0

    def likely(self, distances: Floats, weights: Floats | None = None) -> Floats:
        """What rows are drawn by: weight times distance, 0 where a center is already."""
        distant = np.where(distances > self.negligible, distances, 0.0)
        return distant if weights is None else distant * weights


def say_repeated(number: int) -> None:
    """Warn of centers that repeat others."""
    warnings.warn(
        f"the data has fewer distinct rows than clusters: {number} of the centers repeat others",
        UserWarning,
        stacklevel=2,
    )
