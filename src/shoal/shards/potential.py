"""How far rows are from the centers chosen so far, kept where the rows are: what seeding needs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from shoal import _core
from shoal.shards.rows import Blocks
from shoal.sources.rows import Rows
from shoal.types import Floats, Indices, Shares


class Gains(NamedTuple):
    """What each candidate center would change, by exact sums."""

    lowered: list[int]  # by how much, the sum of weight times distance
    masses: list[int]  # what would be left of the mass

    def plus(self, other: Gains) -> Gains:
        """Return the gains in both parts."""
        return Gains(
            [a + b for a, b in zip(self.lowered, other.lowered, strict=True)],
            [a + b for a, b in zip(self.masses, other.masses, strict=True)],
        )


class PotentialOfBlocks:
    """Rows and their distances to the nearest center so far; 1 where there is no center yet.

    A row without direction (cosine) is at distance 0. A row is drawn by its mass: weight times
    distance, or 0 where the distance is negligible. Sums are exact, in units of 2**-1074.

    Parameters
    ----------
    blocks
        The rows.
    centers
        [k, d] the centers so far; k may be 0.
    without
        Indices of rows that have no mass.
    cosine, threads
        The metric, and how many threads may be used.
    negligible
        Distances up to this have no mass.
    budget
        Bytes that may be kept beside the distances; it changes no answer.
    """

    def __init__(
        self,
        blocks: Blocks,
        centers: Floats,
        without: Indices,
        *,
        cosine: bool,
        threads: int,
        negligible: float,
        budget: int,
    ) -> None:
        self._read = blocks
        self._without = without
        self._weights: list[Floats | None] = []
        self._blocks: list[_core.Seeding] = []
        self._starts = [0]
        rows = max(blocks.scan().rows, 1)
        for block in blocks:
            n = len(block.rows)
            weights = self._weighed(block, self._starts[-1])
            share = budget * n // rows
            self._blocks.append(
                _core.Seeding(block.rows, weights, centers, cosine, negligible, share, threads)
            )
            self._weights.append(weights)
            self._starts.append(self._starts[-1] + n)

    def _weighed(self, block: Rows, start: int) -> Floats | None:
        """The weights of a block, 0 for the rows that are left out."""
        inside = self._without - start
        inside = inside[(inside >= 0) & (inside < len(block.rows))]
        if len(inside) == 0:
            return block.weights
        weights = np.ones(len(block.rows)) if block.weights is None else block.weights.copy()
        weights[inside] = 0
        return weights

    def mass(self) -> int:
        """Return the mass of all rows."""
        return sum(block.total() for block in self._blocks)

    def find(self, targets: Sequence[int]) -> Indices:
        """Return for each target below the mass the first row at which the mass exceeds it."""
        found = np.empty(len(targets), np.int64)
        masses = [block.total() for block in self._blocks]
        for which, mine, inside in shared_out(masses, targets):
            at = np.empty(len(inside), np.int64)
            self._blocks[which].find(self._weights[which], inside, at)
            found[mine] = self._starts[which] + at
        return found

    def gains(self, candidates: Floats) -> Gains:
        """What each candidate center would change."""
        total: Gains | None = None
        for seeding, weights, block in zip(self._blocks, self._weights, self._read, strict=True):
            lowered, lost = seeding.lower(block.rows, weights, candidates)
            mass = seeding.total()
            of_block = Gains(lowered, [mass - one for one in lost])
            total = of_block if total is None else total.plus(of_block)
        return total or Gains([0] * len(candidates), [0] * len(candidates))

    def choose(self, which: int) -> None:
        """Make a candidate of the last ``gains`` a center."""
        if any(seeding.needs_rows for seeding in self._blocks):
            for seeding, weights, block in zip(
                self._blocks, self._weights, self._read, strict=True
            ):
                seeding.choose(block.rows, weights, which)
            return
        for seeding, kept in zip(self._blocks, self._weights, strict=True):
            seeding.choose(None, kept, which)

    def pick(self, draws: Shares) -> Indices | None:
        """Pick rows as centers, one after the other, until the mass is zero; or None.

        Each row of ``draws`` [picks, m] draws m candidates, by shares of the mass in units of
        2**-53; the first of those that lower the sum most becomes a center. None where the core
        cannot do so at once.
        """
        if len(self._blocks) != 1:
            return None
        picked = np.empty(len(draws), np.int64)
        (block,) = self._read
        done = self._blocks[0].pick(block.rows, self._weights[0], draws, picked)
        return picked[:done]


def shared_out(
    masses: Sequence[int], targets: Sequence[int]
) -> list[tuple[int, list[int], list[int]]]:
    """Which targets each part reaches: its number, their places, and the targets within it."""
    ends = list(accumulate(masses))
    found = []
    for which, end in enumerate(ends):
        before = end - masses[which]
        mine = [i for i, target in enumerate(targets) if before <= target < end]
        if mine:
            found.append((which, mine, [targets[i] - before for i in mine]))
    return found
