"""All rows of a data set, or of a batch, as one sequence of rows, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from itertools import accumulate
from typing import cast

import numpy as np
import numpy.typing as npt

from shoal.errors import BadInputError
from shoal.executors.base import Executor
from shoal.executors.candidates import Candidates
from shoal.executors.potential import Potential
from shoal.executors.shards import Shards
from shoal.metric import is_cosine
from shoal.shards.grids import check_sums, grid_of, is_usable
from shoal.shards.part import Batch, Part, Sample
from shoal.shards.rows import EMPTY_SCAN
from shoal.shards.values import Begun, Drawn, Measure, Runs, Steps, joined
from shoal.sources.sparse import Matrix
from shoal.state import Farthest, Partial, Scan
from shoal.types import Floats, Indices, Shares

#: Products of a value of a row and of a center between two moments at which a run can be stopped.
MOST_WORK = 1 << 27


class Data:
    """What the loop and its steps ask of the rows, each of all shards.

    Parameters
    ----------
    shards
        Where the rows are; they are scanned, and so validated, when this is made.
    unit_rows
        Whether rows are taken at length one.
    batch
        None: all rows; else those of a mini-batch, of which there are ``scan`` and ``assign``, or
        of a sample, which see.
    turn
        Of streams: all rows are those of one batch of each shard, the one of this number.
    within
        Of a sample: what is known of the values of all rows.

    Attributes
    ----------
    read
        Of streams: how many batches of each shard have been read.
    ended
        Whether none of the shards had a batch of that number.
    """

    def __init__(
        self,
        shards: Shards,
        unit_rows: bool,
        batch: Batch | Sample | None = None,
        turn: Sequence[int] = (),
        within: Scan | None = None,
    ) -> None:
        self._shards = shards
        self._batch = batch
        self._turn = turn
        self._before: Floats | None = None
        self.read: tuple[int, ...] = ()
        self.ended = False
        scans = self._scans()
        self._scan, self._starts = scans[0], [0, scans[0].rows]
        if len(scans) > 1:
            self._starts = [0, *accumulate(scan.rows for scan in scans)]
            known = [scan for scan in scans if len(scan.magnitude)]
            _check_agree(scans)
            self._scan = reduce(Scan.merge, known) if known else scans[0]
        if within is not None:  # whatever the split, the same
            of_rows = replace(within, rows=self._scan.rows, positive=self._scan.positive)
            self._scan = replace(of_rows, dropped=0, left_out=())
        if self.usable:
            grid = grid_of(self._scan, unit_rows)
            name = "grid" if batch is None else "grid of the batch"
            message = ("begin", grid) if batch is None else ("begin", grid, batch)
            shards.ask(*message)
            shards.remember(name, lambda _: message)
        self._unit_rows = unit_rows

    def _scans(self) -> list[Scan]:
        """What a look at the rows of each shard finds."""
        shards, batch, turn = self._shards, self._batch, self._turn
        if turn:
            found = shards.ask_each("next", {which: (one,) for which, one in enumerate(turn)})
            shards.remember("next", lambda which: ("next", turn[which]))
            ended = [isinstance(one, int) for one in found]
            self.ended = all(ended)
            both = zip(found, turn, strict=True)
            self.read = tuple(one if isinstance(one, int) else number for one, number in both)
            return [EMPTY_SCAN if isinstance(one, int) else one for one in found]
        scans: list[Scan]
        if batch is not None:
            scans = shards.ask("scan", batch)
            shards.remember("scan of the batch", lambda _: ("scan", batch))
            return scans
        shards.forget("next")
        scans = shards.ask("scan")
        return scans

    @classmethod
    def of(cls, executor: Executor, parts: Sequence[Part]) -> Data:
        """Start shards of all parts."""
        shards = Shards(executor, parts)
        try:
            return cls(shards, is_cosine(parts[0].metric))
        except BaseException:  # no one else knows of them
            shards.close()
            raise

    def close(self) -> None:
        """End the shards."""
        self._shards.close()

    @property
    def usable(self) -> bool:
        """Whether there are rows, of which some have a weight."""
        return is_usable(self._scan)

    def checked(self) -> Data:
        """The same; refused where nothing can be trained on."""
        check_sums(self._scan, self._unit_rows)
        return self

    @contextmanager
    def sample(self, seed: int, fraction: float, room: int | None) -> Iterator[Data]:
        """Some rows as data of their own, which stay where they are.

        Each row is in the sample with probability ``fraction``, by the seed and its index: the
        same rows for any split. ``room``: bytes that copies may take (None: what may be kept
        beside the rows); beyond that, they are read anew in each pass.
        """
        shards = self._shards
        sample = Sample(seed, round(fraction * 2**53))
        share = None if room is None else room // len(shards)
        each = {which: (sample, self._starts[which], share) for which in range(len(shards))}
        shards.ask_each("sample", each)
        shards.remember("sample", lambda which: ("sample", *each[which]))
        yield Data(shards, self._unit_rows, sample, within=self._scan)
        # Where something is raised, the shards end as well.
        for name in ("sample", "scan of the batch", "grid of the batch", "labels of the sample"):
            shards.forget(name)
        shards.ask("sample", None)

    # --- what steps ask --------------------------------------------------------------------

    def scan(self) -> Scan:
        """Size and magnitudes of the rows."""
        return self._scan

    def follow(self, before: Floats | None) -> None:
        """The next pass follows one with these centers, which shards have not seen.

        So it can be told which labels change.
        """
        self._before = before

    def assign(self, centers: Floats) -> Partial:
        """Assign every row to its nearest center."""
        shards = self._shards
        before, self._before = self._before, None
        shared = shards.executor.share(centers)
        partial: Partial = shards.merged("assign", shared, before, self._batch)
        if self._batch is None and not self._turn:
            shards.remember("labels", lambda _: ("assign", centers))
        elif isinstance(self._batch, Sample):
            shards.remember(
                "labels of the sample", lambda _: ("assign", centers, None, self._batch)
            )
        return partial

    def steps(self, centers: Floats, most: int, again: bool, limit: float) -> Steps | None:
        """At most ``most`` full-batch steps in a row, as ``assign`` and means make them.

        They end early where a cluster has no rows, where no label changes (in the first step only
        if it goes on: ``again``), and where the sum of the squared moves is at most ``limit``. None
        where that cannot be had, or where it would be long before anyone could end it.
        """
        work = self._scan.rows * centers.size
        if len(self._shards) > 1 or not self._shards.executor.here or work > MOST_WORK:
            return None
        most = min(most, MOST_WORK // max(work, 1))
        [found] = self._shards.ask("steps", centers, most, again, limit, self._batch)
        return cast(Steps | None, found)

    def runs(self, begun: Begun, centers: Floats, most: int, tolerance: float) -> Runs | None:
        """Whole runs of at most ``most`` steps, and the best of them; ``centers`` is written to.

        Each ends where no label changes, where the sum of the squared moves of the centers is at
        most ``tolerance`` times the mean variance of the columns, or where a cluster has no rows:
        that one, and those behind it, are left to the caller. None where none can be had.
        """
        if len(self._shards) > 1 or not self._shards.executor.here:
            return None
        [found] = self._shards.ask("runs", begun, centers, most, tolerance)
        return cast(Runs | None, found)

    def loss(self, centers: Floats) -> int:
        """The exact loss of the last ``assign``, of these centers, in units of 2**-1074."""
        losses: list[int] = self._shards.ask("loss", centers, self._batch)
        return sum(losses)

    def labels(self) -> npt.NDArray[np.int32]:
        """Labels [n] of the last ``assign``, for faces that have them all: as large as the data."""
        return np.concatenate(self._shards.ask("labels"))

    def farthest(self, centers: Floats, number: int) -> Farthest:
        """The ``number`` rows farthest from the centers of the last ``assign``."""
        some = dict.fromkeys(self._with_rows(), (centers, number, self._batch))
        found = self._shards.ask_each("farthest", some)
        placed = [part.after(self._starts[which]) for which, part in zip(some, found, strict=True)]
        return Farthest.of(placed, number)

    def take(self, indices: Indices | None) -> Drawn:
        """Rows and weights by their index, in the order asked for; None: all with a weight."""
        if indices is None:
            everywhere = dict.fromkeys(self._with_rows(), (None, self._batch))
            found = self._shards.ask_each("take", everywhere)
            return joined(self._placed(list(everywhere), found))
        if len(self._shards) == 1:
            [drawn] = self._shards.ask("take", indices, self._batch)
            return Drawn(indices, drawn.rows, drawn.weights)
        owner = np.searchsorted(self._starts, indices, side="right") - 1
        places = {int(which): np.flatnonzero(owner == which) for which in np.unique(owner)}
        wanted = {
            which: (indices[mine] - self._starts[which], self._batch)
            for which, mine in places.items()
        }
        if not wanted:
            wanted = {self._with_rows()[0]: (indices, self._batch)}
            places = {0: indices}
        found = self._shards.ask_each("take", wanted)
        back = np.argsort(np.concatenate(list(places.values())), kind="stable")
        return joined(self._placed(list(wanted), found)).at(back)

    def some(self, number: int, key: int) -> Matrix:
        """At most ``number`` distinct rows with a weight, drawn by ``key``: whatever the shards."""
        asked = dict.fromkeys(self._with_rows(), (number, key, self._batch))
        found = self._shards.ask_each("some", asked)
        _, first = np.unique(np.concatenate([numbers for numbers, _ in found]), return_index=True)
        return joined([drawn for _, drawn in found]).at(first[:number]).rows

    def measure(self, centers: Floats) -> Measure:
        """Exact sums of weight * distance and of weights, and how many rows there are."""
        found: list[Measure] = self._shards.ask("measure", self._shards.executor.share(centers))
        return reduce(Measure.merge, found)

    def potential(
        self,
        centers: Floats | None,
        negligible: float = 0.0,
        budget: int = 0,
        without: Indices | None = None,
    ) -> Potential:
        """Distances to the nearest of some centers, to choose more from; to be closed.

        Parameters
        ----------
        centers
            [k, d], k may be 0; None: rows are drawn by their weight alone.
        negligible
            Distances up to this have no mass,
        without
            nor have these rows.
        budget
            Bytes that may be kept beside the distances.
        """
        excluded = np.empty(0, np.int64) if without is None else without
        each = []
        for start, end in zip(self._starts[:-1], self._starts[1:], strict=True):
            inside = excluded[(excluded >= start) & (excluded < end)] - start
            each.append((negligible, budget * (end - start) // max(self._scan.rows, 1), inside))
        return Potential(self._shards, self._starts, centers, each)

    def candidates(self, before: Floats, negligible: float = 0.0) -> Candidates:
        """Distances to candidates that are drawn in passes; to be closed.

        Parameters
        ----------
        before
            [k, d] centers from before, which are no candidates; k may be 0.
        negligible
            Distances up to this have no mass.
        """
        each = [(start, negligible) for start in self._starts[:-1]]
        return Candidates(self._shards, before, each)

    def picked(self, first: int, draws: Shares, budget: int) -> Drawn | None:
        """Rows that k-means++ picks: ``first``, then one for each row of ``draws``.

        What ``potential`` says step by step; fewer where the mass is 0. None where that takes more
        than a message, or one over again.
        """
        if len(self._shards) > 1 or not self._shards.executor.here:
            return None
        [found] = self._shards.ask("picked", first, draws, budget)
        return cast(Drawn | None, found)

    def _with_rows(self) -> list[int]:
        """Shards that have rows."""
        return [
            which
            for which in range(len(self._shards))
            if self._starts[which] < self._starts[which + 1]
        ]

    def _placed(self, which: list[int], found: list[Drawn]) -> list[Drawn]:
        """What shards have drawn, with indices of all rows."""
        return [
            drawn._replace(indices=drawn.indices + self._starts[one])
            for one, drawn in zip(which, found, strict=True)
        ]


def _check_agree(scans: list[Scan]) -> None:
    """Refuse shards of unequal columns: streams of workers are the user's."""
    columns = {which: len(scan.magnitude) for which, scan in enumerate(scans)}
    known = [which for which, number in columns.items() if number]
    for which in known[1:]:
        if columns[which] != columns[known[0]]:
            raise BadInputError(
                f"worker {which} has rows of {columns[which]} columns, worker {known[0]} of "
                f"{columns[known[0]]}: all must agree"
            )
