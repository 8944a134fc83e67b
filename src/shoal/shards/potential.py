"""How far rows are from the centers chosen so far, kept where the rows are: what seeding needs.

A ``Nearest`` answers for some rows; those of the parts of a data set join to one for the whole,
with the same answers for any parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shoal import _core
from shoal.sources.sparse import Matrix

Floats = npt.NDArray[np.floating[Any]]
Shares = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]
#: Rows and their weights, read anew at each call, block after block.
Read = Callable[[], Iterable[tuple[Matrix, Floats | None]]]
Take = Callable[[Indices], Floats]


class Nearest(Protocol):
    """Rows and their distances to the nearest center so far; 1 where there is no center yet.

    A row without direction (cosine) is at distance 0. A row is drawn by its mass: weight times
    distance, or 0 where the distance is negligible. Sums are exact, in units of 2**-1074.
    """

    def total(self) -> int:
        """Return the mass of all rows."""

    def find(self, targets: Sequence[int]) -> Indices:
        """Return for each target below the total the first row at which the mass exceeds it."""

    def lower(self, candidates: Floats) -> list[int]:
        """By how much each candidate center would lower the sum of weight times distance."""

    def choose(self, which: int) -> None:
        """Make a candidate of the last ``lower`` a center."""

    def pick(self, draws: Shares) -> Indices:
        """Pick rows as centers, one after the other, until the total is zero.

        Each row of ``draws`` [picks, m] draws m candidates, by shares of the total in units of
        2**-53; the first of those that lower the sum most becomes a center.
        """


class NearestOfBlocks:
    """``Nearest`` of the blocks of a shard.

    Parameters
    ----------
    read
        Returns the blocks.
    take
        Returns rows by their index.
    rows
        How many rows they have together.
    centers
        [k, d] the centers so far; k may be 0.
    cosine, threads
        The metric, and how many threads may be used.
    negligible
        Distances up to this have no mass.
    room
        Bytes that may be kept beside the distances; it changes no answer.
    """

    def __init__(
        self,
        read: Read,
        take: Take,
        rows: int,
        centers: Floats,
        *,
        cosine: bool,
        threads: int,
        negligible: float,
        room: int,
    ) -> None:
        self._read = read
        self._take = take
        self._weights: list[Floats | None] = []
        self._blocks: list[_core.Seeding] = []
        self._starts = [0]
        for block, weights in read():
            share = room * len(block) // max(rows, 1)
            self._blocks.append(
                _core.Seeding(block, weights, centers, cosine, negligible, share, threads)
            )
            self._weights.append(weights)
            self._starts.append(self._starts[-1] + len(block))

    def total(self) -> int:
        """Return the mass of all rows."""
        return sum(block.total() for block in self._blocks)

    def find(self, targets: Sequence[int]) -> Indices:
        """Return for each target below the total the first row at which the mass exceeds it."""

        def find(which: int, inside: Sequence[int]) -> Indices:
            found = np.empty(len(inside), np.int64)
            self._blocks[which].find(self._weights[which], list(inside), found)
            return found

        return find_in_parts([block.total() for block in self._blocks], self._starts, find, targets)

    def lower(self, candidates: Floats) -> list[int]:
        """By how much each candidate center would lower the sum of weight times distance."""
        parts = [
            seeding.lower(rows, weights, candidates)
            for seeding, (rows, weights) in zip(self._blocks, self._read(), strict=True)
        ]
        return [sum(of_parts) for of_parts in zip(*parts, strict=True)]

    def choose(self, which: int) -> None:
        """Make a candidate of the last ``lower`` a center."""
        if any(seeding.needs_rows for seeding in self._blocks):
            for seeding, (rows, weights) in zip(self._blocks, self._read(), strict=True):
                seeding.choose(rows, weights, which)
            return
        for seeding, kept in zip(self._blocks, self._weights, strict=True):
            seeding.choose(None, kept, which)

    def pick(self, draws: Shares) -> Indices:
        """Pick rows as centers, one after the other, until the total is zero."""
        if len(self._blocks) != 1:
            return pick_by_turns(self, self._take, draws)
        picked = np.empty(len(draws), np.int64)
        ((rows, weights),) = self._read()
        return picked[: self._blocks[0].pick(rows, weights, draws, picked)]


class NearestOfParts:
    """``Nearest`` of a data set, from those of its parts."""

    def __init__(self, parts: Sequence[Nearest], take: Take, starts: Sequence[int]) -> None:
        self._parts = parts
        self._take = take
        self._starts = starts  # of the parts among all rows

    def total(self) -> int:
        """Return the mass of all rows."""
        return sum(part.total() for part in self._parts)

    def find(self, targets: Sequence[int]) -> Indices:
        """Return for each target below the total the first row at which the mass exceeds it."""
        totals = [part.total() for part in self._parts]
        return find_in_parts(
            totals, self._starts, lambda which, inside: self._parts[which].find(inside), targets
        )

    def lower(self, candidates: Floats) -> list[int]:
        """By how much each candidate center would lower the sum of weight times distance."""
        parts = [part.lower(candidates) for part in self._parts]
        return [sum(of_parts) for of_parts in zip(*parts, strict=True)]

    def choose(self, which: int) -> None:
        """Make a candidate of the last ``lower`` a center."""
        for part in self._parts:
            part.choose(which)

    def pick(self, draws: Shares) -> Indices:
        """Pick rows as centers, one after the other, until the total is zero."""
        return pick_by_turns(self, self._take, draws)


def pick_by_turns(nearest: Nearest, take: Take, draws: Shares) -> Indices:
    """``Nearest.pick`` in terms of its other methods."""
    picked = []
    for shares in draws.tolist():
        total = nearest.total()
        if total == 0:
            break
        drawn = nearest.find([total * share >> 53 for share in shares])
        gains = nearest.lower(take(drawn))
        best = gains.index(max(gains))
        nearest.choose(best)
        picked.append(drawn[best])
    return np.array(picked, np.int64)


def find_in_parts(
    totals: Sequence[int],
    starts: Sequence[int],
    find: Callable[[int, Sequence[int]], Indices],
    targets: Sequence[int],
) -> Indices:
    """Send each target to the part that the running sum of totals reaches it in."""
    found = np.empty(len(targets), np.int64)
    before = 0
    for which, total in enumerate(totals):
        mine = [i for i, target in enumerate(targets) if before <= target < before + total]
        if mine:
            found[mine] = starts[which] + find(which, [targets[i] - before for i in mine])
        before += total
    return found
