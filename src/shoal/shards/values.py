"""What shards answer with, beside the values of training (state.py)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from shoal.sources.sparse import Matrix, stacked
from shoal.state import SAID_ROWS, Partial, Scan
from shoal.types import Floats, Indices, Ints, Labels, Shares


class Measure(NamedTuple):
    """How far rows are from their centers: exact sums, in units of 2**-1074."""

    loss: int  # of weight * distance
    weight: int
    rows: int
    dropped: int = 0  # rows that were left out
    left_out: tuple[str, ...] = ()  # the first of them

    def merge(self, other: Measure) -> Measure:
        """Return the measure of both parts."""
        return Measure(
            self.loss + other.loss,
            self.weight + other.weight,
            self.rows + other.rows,
            self.dropped + other.dropped,
            (*self.left_out, *other.left_out)[:SAID_ROWS],
        )


class Steps(NamedTuple):
    """Full-batch steps that were made in a row, without a look between them."""

    centers: Floats  # [k, d], behind the last step
    steps: int
    shift: float  # sum of the squared moves of the centers in the last step
    empty: bool  # a cluster has no rows: a further pass was made, and its step is the caller's
    settled: bool  # the last pass was with these centers: no label changed, or they hardly moved
    partial: Partial  # of the last pass


class Begun(NamedTuple):
    """How runs choose their first centers by k-means++: all that is random about them."""

    firsts: Ints  # [runs], rows
    draws: Shares  # [runs * (k - 1), m], of m candidates for each further center


class Runs(NamedTuple):
    """Whole full-batch runs that were made in a row, and the best of them."""

    done: int  # how many: the next one takes more than this
    centers: Floats  # [k, d]
    labels: Labels  # [n]
    inertia: float
    steps: int
    partial: Partial  # of these labels


class Update(NamedTuple):
    """What one shard found of a mini-batch of its own rows."""

    scan: Scan
    partial: Partial | None  # None: no row has a weight
    loss: float  # at the centers that it was assigned with
    batches: int | None = None  # of the stream, where there is none of the number asked for


class Drawn(NamedTuple):
    """Some rows."""

    indices: Indices  # [m], of the rows in the data set, or in the shard that answers
    rows: Matrix  # [m, d]
    weights: Floats | None  # [m]

    def at(self, places: Any) -> Drawn:
        """Some of them, in another order."""
        weights = None if self.weights is None else self.weights[places]
        return Drawn(self.indices[places], self.rows[places], weights)


def joined(parts: list[Drawn]) -> Drawn:
    """Rows one after the other."""
    if len(parts) == 1:
        return parts[0]
    weights = None
    if any(part.weights is not None for part in parts):
        weights = np.concatenate(
            [np.ones(len(part.indices)) if part.weights is None else part.weights for part in parts]
        )
    indices = np.concatenate([part.indices for part in parts])
    return Drawn(indices, stacked([part.rows for part in parts]), weights)
