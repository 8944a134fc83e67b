"""Rows drawn to be candidates for centers, many in a pass: what k-means|| asks of rows.

A pass measures the candidates of the round before and notes the rows that the next draw may reach,
so a round is one reading of the rows. How many are noted does not grow with the rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shoal import _core
from shoal.metric import is_cosine
from shoal.shards.kernels import as_loss, nearest
from shoal.shards.rows import Blocks
from shoal.shards.values import Drawn, joined
from shoal.sources.rows import Rows
from shoal.state import Grid, Partial, exact_sum
from shoal.steps.random import Random
from shoal.types import Floats, Labels

#: How many times as many rows are measured between two moments at which a run can be stopped.
PIECES_MEASURED = 8


class Draw(NamedTuple):
    """A round in which each row is drawn by itself, by a random number of its own."""

    seed: int
    path: tuple[int, ...]  # of the random numbers: that of a row is the one at its index
    number: float  # of rows to be expected

    def bar(self, mass: int) -> float:
        """What a row's mass must exceed, times its random number in [0, 1), to be drawn.

        ``mass`` of all rows, in units of 2**-1074; of less than all, no row that is drawn is lost.
        """
        return as_loss(mass) / self.number


class CandidatesOfBlocks:
    """Rows and their distances to the nearest candidate so far, and which it is.

    A row draws by its mass: weight times distance, or 0 where that is negligible. A row without
    direction (cosine) has none, and is none's.

    Parameters
    ----------
    blocks
        The rows.
    first
        Index of the first of them in the data set.
    metric, threads
        The distance, and how many threads may be used.
    negligible
        Distances up to this have no mass.
    at_once
        Rows that are looked at together.
    """

    def __init__(
        self,
        blocks: Blocks,
        first: int,
        *,
        metric: str,
        threads: int,
        negligible: float,
        at_once: int,
    ) -> None:
        self._read = blocks
        self._first = first
        self._metric = metric
        self._threads = threads
        self._negligible = negligible
        self._at_once = at_once
        self._distances: list[Floats] = []
        self._labels: list[Labels] = []  # -1: a center from before is nearest
        self._known = 0  # candidates so far
        self._noted: _Noted | None = None

    def measure(self, before: Floats | None, candidates: Floats, draw: Draw) -> int:
        """Measure further candidates [m, d], note what ``draw`` may reach; returns the mass.

        ``before``: centers from before, which are no candidates, in the first pass.
        """
        self._noted = noted = _Noted(draw, self._at_once)
        start = self._first
        for position, block in enumerate(self._read):
            distances, _ = self._brought(position, block, before, candidates)
            for at in range(0, len(block.rows), self._at_once):
                piece = slice(at, at + self._at_once)
                mass = np.where(distances[piece] > self._negligible, distances[piece], 0.0)
                if block.weights is not None:
                    mass *= block.weights[piece]
                noted.look(block, at, mass, start + at)
            start += len(block.rows)
        self._known += len(candidates)
        return noted.mass

    def drawn(self, bar: float) -> Drawn | None:
        """The rows that are drawn, by their index in the data set; None if there are none."""
        assert self._noted is not None
        return self._noted.above(bar)

    def weigh(self, candidates: Floats, grid: Grid) -> Partial:
        """Measure the last candidates, and add up the weight of the rows nearest to each of all."""
        narrow = Grid(np.ascontiguousarray(grid.quanta[:, -2:]), grid.bits, grid.levels)
        number = self._known + len(candidates)
        sums = np.zeros((grid.levels, number, 2), np.int64)
        rows = 0
        for position, block in enumerate(self._read):
            _, labels = self._brought(position, block, None, candidates)
            ours = labels >= 0
            weights = None if block.weights is None else block.weights[ours]
            nothing = np.zeros((np.count_nonzero(ours), 1), np.float32)  # weights alone count
            _core.add_sums(
                nothing, weights, labels[ours], False, narrow, number, self._threads, sums
            )
            rows += len(block.rows)
        return Partial(sums, np.zeros((2, 2), np.int64), narrow, rows, 0)

    def _brought(
        self, position: int, block: Rows, before: Floats | None, candidates: Floats
    ) -> tuple[Floats, Labels]:
        """Distances and labels of a block, brought up to date."""
        if position == len(self._distances):
            self._distances.append(np.full(len(block.rows), np.inf))
            self._labels.append(np.full(len(block.rows), -1, np.int32))
            if is_cosine(self._metric):
                self._distances[position][~block.rows.any(axis=1)] = 0.0
        distances, labels = self._distances[position], self._labels[position]
        step = PIECES_MEASURED * self._at_once
        for centers, number in ((before, None), (candidates, self._known)):
            if centers is None or len(centers) == 0:
                continue
            for at in range(0, len(block.rows), step):
                some = slice(at, at + step)
                mine, measured = nearest(block.rows[some], centers, self._metric, self._threads)
                nearer = measured < distances[some]
                distances[some][nearer] = measured[nearer]
                labels[some][nearer] = -1 if number is None else mine[nearer] + number
        return distances, labels


class _Noted:
    """Rows that a draw may reach, as far as is known of the mass of all."""

    def __init__(self, draw: Draw, room: int) -> None:
        self._draw = draw
        self._room = room
        self._parts: list[tuple[Floats, Floats, Drawn]] = []  # mass and random number of each row
        self._rows = self._left = 0  # now, and when those were left out that are out of reach
        self.mass = 0  # of the rows that were looked at

    def look(self, block: Rows, at: int, mass: Floats, index: int) -> None:
        """Note some rows of a block from ``at`` on, whose first has this index in the data set."""
        self.mass += exact_sum(mass)
        if self.mass == 0:
            return
        bar = self._draw.bar(self.mass)
        random = Random(self._draw.seed, *self._draw.path).after(index)
        shares = random.uniform(len(mass))
        reached = np.flatnonzero(shares * bar < mass)
        if len(reached) == 0:
            return
        weights = None if block.weights is None else block.weights[at + reached]
        rows = Drawn(index + reached, block.rows[at + reached], weights)
        self._parts.append((mass[reached], shares[reached], rows))
        self._rows += len(reached)
        if self._rows > 2 * self._left + self._room:  # so it grows with the draw, not the rows
            self._leave(bar)

    def above(self, bar: float) -> Drawn | None:
        """What is drawn of it."""
        self._leave(bar)
        return self._parts[0][2] if self._parts else None

    def _leave(self, bar: float) -> None:
        """Leave out what is not above the bar."""
        if self._parts:
            masses, shares, rows = zip(*self._parts, strict=True)
            mass, share = np.concatenate(masses), np.concatenate(shares)
            above = np.flatnonzero(share * bar < mass)
            noted = mass[above], share[above], joined(list(rows)).at(above)
            self._parts = [noted] if len(above) else []
            self._rows = self._left = len(above)
