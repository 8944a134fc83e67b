"""Values of training: what a step takes and gives. Imports nothing but NumPy.

``Partial`` is what a pass over some rows yields; partials of the parts of a data set merge, in any
order, to the bits of the whole. ``State`` is everything a run needs to continue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shoal.types import Floats, Ints

#: Rows that are named where some are left out.
SAID_ROWS = 5
#: Exact sums of float64 are integers in units of this: 2**-1074, the smallest float64.
LOSS_UNIT = 1 << 1074


def exact_to_float(total: int) -> float:
    """Round an exact sum (an integer in units of 2**-1074) once, to float64."""
    return total / LOSS_UNIT


def exact_sum(values: npt.NDArray[Any]) -> int:
    """Add finite values exactly, in units of 2**-1074."""
    fractions, exponents = np.frexp(np.asarray(values, np.float64))
    whole = np.ldexp(fractions, 53).astype(np.int64)
    total = 0
    for exponent in np.unique(exponents).tolist():
        these = whole[exponents == exponent]
        # In halves of 27 bits, so that no sum of fewer than 2**36 leaves int64.
        high, low = these >> 27, these & (2**27 - 1)
        total += ((int(high.sum()) << 27) + int(low.sum())) << (exponent + 1074) >> 53
    return total


@dataclass(frozen=True)
class Scan:
    """What one look at some rows found; scans of parts merge."""

    rows: int
    magnitude: Floats  # [d] float64, the largest |x| of each column, of rows that have a weight
    heaviest: float  # the largest weight, 1 without weights
    weighted: bool
    double: bool  # some rows are float64, or whole numbers that need it
    positive: int = 0  # rows that have a weight
    dropped: int = 0  # rows that were left out
    left_out: tuple[str, ...] = ()  # the first of them
    smallest: Floats | None = None  # [d], the smallest |x| above 0, inf where there is none
    lightest: float = 1.0  # the smallest weight above 0, inf where there is none

    @property
    def dtype(self) -> npt.DTypeLike:
        """The dtype of centers: float64 where some rows need it, else float32."""
        return np.float64 if self.double else np.float32

    def covers(self, part: Scan) -> bool:
        """Whether rows scanned as ``part`` can be among those scanned here."""
        return (
            len(part.magnitude) == len(self.magnitude)
            and not np.any(part.magnitude > self.magnitude)
            and not np.any(part.least < self.least)
            and self.lightest <= part.lightest
            and part.heaviest <= self.heaviest
            and part.weighted <= self.weighted
            and part.double <= self.double
        )

    def merge(self, other: Scan) -> Scan:
        """Return the scan of both parts."""
        return Scan(
            self.rows + other.rows,
            np.maximum(self.magnitude, other.magnitude),
            max(self.heaviest, other.heaviest),
            self.weighted or other.weighted,
            self.double or other.double,
            self.positive + other.positive,
            self.dropped + other.dropped,
            (*self.left_out, *other.left_out)[:SAID_ROWS],
            np.minimum(self.least, other.least),
            min(self.lightest, other.lightest),
        )

    @property
    def least(self) -> Floats:
        """[d], the smallest magnitudes above 0; those known only by the largest count as these."""
        return self.magnitude if self.smallest is None else self.smallest


@dataclass(frozen=True)
class Grid:
    """The fixed-point grid on which rows are added: one power of two per column.

    Values below ``2**bits`` quanta are rounded to whole quanta and added as int64, which cannot
    overflow for the rows that were scanned. What rounding takes goes to a second level of quanta
    2**bits finer, and so on, as many as the smallest value needs to the last digit: sums are exact,
    whatever the range within a column. Sums of integers have no order, so no split of the data
    changes a bit.

    ``rounds``: rows that were float32 or narrower and are taken at length one are rounded to the
    first level, which is as fine as they are; not where a column is very uneven.
    """

    quanta: Floats  # [4, d + 1] float64: of values, of squares, 1 / both; the weight comes last
    bits: int
    levels: int
    rounds: bool = True

    def same(self, other: Grid) -> bool:
        """Whether both are one grid; another process has a copy."""
        return self is other or (
            (self.bits, self.levels, self.rounds) == (other.bits, other.levels, other.rounds)
            and np.array_equal(self.quanta, other.quanta)
        )


@dataclass(frozen=True)
class Partial:
    """The result of assigning some rows: all that training needs of them.

    Sums and squares are the executor's, and hold until it assigns again: what outlives a step is
    computed from them, never they themselves.
    """

    sums: Ints  # [levels, k, d + 1] in quanta of the grid; the last column is the weight
    squares: Ints  # [2, d + 1]: weighted squares of all rows; the weight of those of no direction
    grid: Grid
    rows: int
    changes: int  # labels that differ from the pass before
    weights: Floats = field(init=False)  # [k] float64, of the sums

    def __post_init__(self) -> None:
        weights = self.sums[-1, :, -1].astype(np.float64)
        for of_level in self.sums[-2::-1, :, -1] if len(self.sums) > 1 else ():
            weights = weights * 2.0**-self.grid.bits + of_level
        object.__setattr__(self, "weights", weights * self.grid.quanta[0, -1])

    def kept(self) -> Partial:
        """The same, with sums of its own."""
        copy = object.__new__(Partial)
        object.__setattr__(copy, "__dict__", vars(self) | {"sums": self.sums.copy()})
        return copy

    def merge(self, other: Partial) -> Partial:
        """Return the partial of both parts: associative and commutative, to the bit."""
        return Partial(
            self.sums + other.sums,
            self.squares + other.squares,
            self.grid,
            self.rows + other.rows,
            self.changes + other.changes,
        )


@dataclass(frozen=True)
class Farthest:
    """Rows by weight times distance to their center: most first, the lowest index on equality."""

    rows: Ints  # [m] indices
    distances: Floats  # [m] float64, times their weights
    labels: npt.NDArray[np.int32]  # [m]
    counts: Ints  # [k] rows that have a weight

    @classmethod
    def of(cls, parts: list[Farthest], number: int) -> Farthest:
        """The ``number`` farthest of all parts, which follow each other."""
        joined = cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.distances for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.sum([part.counts for part in parts], axis=0),
        )
        return joined.first(number)

    def after(self, start: int) -> Farthest:
        """The same rows behind ``start`` others."""
        return replace(self, rows=self.rows + start)

    def first(self, number: int) -> Farthest:
        """The ``number`` farthest."""
        kept = np.arange(len(self.rows))
        if len(kept) > number:  # ... and those as far as the last, before they are sorted
            least = np.partition(self.distances, -number)[-number]
            kept = np.flatnonzero(self.distances >= least)
        kept = kept[np.argsort(-self.distances[kept], kind="stable")][:number]
        return Farthest(self.rows[kept], self.distances[kept], self.labels[kept], self.counts)


#: Parts of a state that a run that goes on remembers.
OF_A_RUN = ("batches", "turns", "unfinished", "clusters_before")


class Unfinished(NamedTuple):
    """What a run that is not over remembers, to end where it would have ended."""

    first_epoch: int
    loss: float | None = None  # of the last step
    smoothed: float | None = None  # loss per row
    lowest: float = float("inf")  # that the smoothed loss has reached
    without_improvement: int = 0  # steps since


@dataclass(frozen=True)
class State:
    """Everything a run needs to continue; arrays are read-only.

    ``clusters`` assigns rows and is what users read; ``clusters_updated`` is being trained. Both
    hold the centers chosen so far while ``initialized`` is false.

    Examples
    --------
    >>> import shoal
    >>> x = [[0.0], [1.0], [10.0], [11.0]]
    >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
    >>> model.state.global_step > 0, model.state.clusters.shape
    (True, (2, 1))
    """

    clusters: Floats  # [k, d]
    clusters_updated: Floats  # [k, d]
    counts: Floats  # [k] float64, weight behind each center in this period
    update_in_steps: int  # mini-batch steps left before clusters := clusters_updated
    initialized: bool
    global_step: int
    seed: int
    seeding_rounds: int = 0  # batches used for seeding: with the seed, the generator's state
    idle_rounds: int = 0  # ... of which the last gave no center
    epoch: int = 0  # the position in the source: which shuffle, and which row of it
    row: int = 0
    batches: int = 0  # read by a run that is not over, of a stream that can be read again
    unfinished: Unfinished | None = None  # of a run that is not over
    workers: tuple[tuple[int, int], ...] = ()  # epoch and row of each, in asynchronous training
    turns: tuple[int, ...] = ()  # batches that each worker has read of its own stream, likewise
    sample_steps_left: int = 0  # of full batches that start on a sample, before the first step
    clusters_before: Floats | None = None  # [k, d]: what the last full-batch pass assigned with

    def __post_init__(self) -> None:
        _make_read_only(vars(self).values())

    def __setstate__(self, fields: dict[str, Any]) -> None:  # of a copy, too
        vars(self).update(fields)
        _make_read_only(fields.values())

    @property
    def num_found(self) -> int:
        """Centers chosen so far."""
        return len(self.clusters)

    def variables(self) -> dict[str, Any]:
        """Its parts, but for what a run that goes on remembers."""
        return {name: value for name, value in vars(self).items() if name not in OF_A_RUN}

    def widened(self, double: bool) -> State:
        """The same; ``double``: with float64 centers, as float64 rows have."""
        if not double or self.clusters.dtype == np.float64:
            return self
        return self.replace(
            clusters=self.clusters.astype(np.float64),
            clusters_updated=self.clusters_updated.astype(np.float64),
        )

    def replace(self, **changes: Any) -> State:
        """Return a copy with some fields changed."""
        # As dataclasses.replace does it, at a fifth of its cost: each step does it.
        fields = vars(self) | changes
        if len(fields) > len(vars(self)):
            raise TypeError(f"State has no {', '.join(changes.keys() - vars(self).keys())}")
        _make_read_only(changes.values())
        copy = object.__new__(State)
        object.__setattr__(copy, "__dict__", fields)
        return copy


def _make_read_only(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, np.ndarray):
            value.setflags(write=False)


def empty_state(dim: int, dtype: npt.DTypeLike, seed: int) -> State:
    """Return the state before seeding: no centers yet."""
    none = np.empty((0, dim), dtype)
    return State(none, none.copy(), np.zeros(0), 0, False, 0, seed)
