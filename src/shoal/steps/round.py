"""A batch offered to a seeding method, and what all methods ask of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shoal.checks import warn_user
from shoal.config import RANDOM_INIT, Parameters
from shoal.executors.data import Data
from shoal.executors.potential import Potential
from shoal.metric import as_stored, is_cosine
from shoal.shards.kernels import nearest
from shoal.shards.values import Drawn
from shoal.sources.sparse import Matrix, dense
from shoal.state import State
from shoal.steps.random import SEEDING, Random
from shoal.types import Floats, Indices

logger = logging.getLogger("shoal")

#: Values of rows that are looked at together where distinct rows are counted.
DISTINCT_VALUES = 1 << 22
#: Digits of directions that are compared: rounding tells those of equal directions apart.
DIRECTION_DIGITS = 6


@dataclass(frozen=True)
class Round:
    """One batch offered to a seeding method."""

    data: Data
    state: State  # with the centers chosen in earlier rounds
    parameters: Parameters
    inputs: Callable[[], list[Matrix]] = list  # gives the rows themselves, to callables
    whole: bool = True  # the batch is the whole data set, which random access reaches
    progress: Callable[[int], None] | None = None  # hears how many centers there are

    def tell(self, chosen: int) -> None:
        """Say that ``chosen`` centers of this round are there."""
        if self.progress is not None:
            self.progress(len(self.found) + chosen)

    @property
    def found(self) -> Floats:
        """Centers chosen in earlier rounds."""
        return self.state.clusters

    @property
    def remaining(self) -> int:
        """How many are missing."""
        return self.parameters.num_clusters - len(self.state.clusters)

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.data.scan().rows

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        return self.data.scan().weighted

    @property
    def too_few(self) -> bool:
        """Whether there are no more rows with a weight than centers are missing."""
        return self.data.scan().positive <= self.remaining

    @property
    def cosine(self) -> bool:
        """Whether rows are compared by direction."""
        return is_cosine(self.parameters.distance_metric)

    def random(self, chain: int = 0) -> Random:
        """Random numbers of this round; each chain has its own."""
        return Random(self.state.seed, SEEDING, self.state.seeding_rounds, chain)

    def measure(self, rows: Matrix, centers: Floats) -> Floats:
        """Distance of each row to its nearest center; 0 for a row without direction."""
        parameters = self.parameters
        _, distances = nearest(rows, centers, parameters.distance_metric, parameters.num_threads)
        likely = np.where(distances > self.negligible, distances, 0.0)
        return np.where(rows.any(axis=1), likely, 0.0) if self.cosine else likely

    def potential(self, centers: Floats) -> Potential:
        """Rows by their distances to the nearest of some centers."""
        return self.data.potential(centers, self.negligible, self.budget)

    @property
    def budget(self) -> int:
        """Bytes that may be kept beside the distances."""
        return self.parameters.budget(self.rows * self.found.shape[1] * self.found.itemsize)

    def drawn(self, random: Random, size: int) -> Drawn:
        """Rows drawn evenly, or in proportion to weight."""
        if not self.weighted:
            return self.data.take(random.integers(self.rows, size))
        return self.drawn_without(random, size, np.empty(0, np.int64))

    def drawn_without(self, random: Random, size: int, without: Indices) -> Drawn:
        """Rows drawn in proportion to weight, but for some."""
        even = self.data.potential(None, without=without)
        drawn = even.draw_by(random.shares(size))
        even.close()
        return drawn

    @property
    def negligible(self) -> float:
        """The distance up to which a row is a center already.

        Under cosine, centers are rounded to length one, so a row is not quite at its own center.
        """
        return float(2 * np.finfo(self.found.dtype).eps) ** 2 if self.cosine else 0.0


def say_if_repeated(offered: Round, clusters: Floats) -> None:
    """Warn, once all centers are there, if some repeat others for want of other rows.

    By distance, a row that is a center already is chosen only then. Random draws look at no values:
    whether there are other rows is then found out.
    """
    repeated = len(clusters) - len(distinct(clusters, offered))
    if not repeated:
        return
    at_random = offered.parameters.initial_clusters == RANDOM_INIT
    if at_random and _has_more(offered, clusters, repeated):
        logger.info(
            "%d of the %d centers repeat others: rows were drawn at random, whatever their values; "
            "the other ways to choose them draw other ones where there are",
            repeated,
            len(clusters),
        )
        return
    which = "the data has" if offered.whole else "the batches that centers were chosen from have"
    warn_user(
        f"{which} fewer distinct rows than clusters: {repeated} of the {len(clusters)} centers "
        "repeat others. Use fewer clusters"
    )


def distinct(rows: Floats, offered: Round) -> set[Any]:
    """Each distinct row once, as it would be stored as a center."""
    stored = as_stored(
        rows.astype(offered.found.dtype, copy=False), offered.parameters.distance_metric
    )
    if offered.cosine:
        stored = stored.round(DIRECTION_DIGITS)
    stored = np.ascontiguousarray(stored + 0.0)  # of two zeros the one without a sign
    whole = np.dtype((np.void, stored.shape[1] * stored.itemsize))
    return set(stored.view(whole).ravel().tolist())


def _has_more(offered: Round, clusters: Floats, repeated: int) -> bool:
    """Whether the batch has so many distinct rows that no center needed to be ``repeated``."""
    size = max(1, DISTINCT_VALUES // offered.found.shape[1])
    first = offered.data.take(np.arange(min(offered.rows, size)))
    rows = dense(first.rows if first.weights is None else first.rows[first.weights > 0])
    if len(distinct(clusters, offered) | distinct(rows, offered)) >= len(clusters):
        return True
    potential = offered.potential(clusters)
    picked = potential.pick(offered.random(1).shares(repeated, 1))
    potential.close()
    return picked is not None and len(picked.indices) == repeated
