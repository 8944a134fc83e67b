"""A part of a data set where it lives: what can be asked of it, and nothing else.

No message and no answer has the size of the data.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from shoal.metric import is_cosine
from shoal.shards.answers import Answered, Reading, Sink
from shoal.shards.candidates import CandidatesOfBlocks, Draw
from shoal.shards.grids import check_sums, grid_of, is_usable
from shoal.shards.kernels import as_loss, loss_of
from shoal.shards.part import Batch, Part, Sample
from shoal.shards.passes import Passes
from shoal.shards.potential import Gains, PotentialOfBlocks
from shoal.shards.rows import EMPTY_SCAN
from shoal.shards.sampled import Sampled
from shoal.shards.turns import Turns
from shoal.shards.values import Begun, Drawn, Measure, Runs, Steps, Update
from shoal.shards.workspace import Workspace
from shoal.sources.paged import PagedSource
from shoal.sources.rows import Rows
from shoal.state import Farthest, Grid, Partial, Scan
from shoal.steps.order import Order
from shoal.types import Floats, Indices, Labels, Shares


class Shard:
    """The rows of a ``Part``: read, validated, assigned and drawn from where they are."""

    def __init__(self, part: Part) -> None:
        self._workspace = part.workspace or Workspace()
        self._hold(part)
        self._batch: tuple[Batch, Passes] | None = None
        self._sample: Passes | None = None
        self._epoch: _Epoch | None = None
        self._turns: Turns | None = None  # of a stream
        self._potentials: dict[int, PotentialOfBlocks] = {}
        self._candidates: dict[int, CandidatesOfBlocks] = {}
        self._reading: Reading | None = None

    def _hold(self, part: Part) -> None:
        self._part = part
        once = part.source is None
        self._whole = Passes(part.blocks(), part, self._workspace if once else None)

    def close(self) -> None:
        """End what is being read, here and not where garbage is collected."""
        if self._epoch is not None:
            self._epoch.close()

    # --- training --------------------------------------------------------------------------

    def sample(self, sample: Sample | None, first: int = 0, room: int | None = None) -> None:
        """Make a sample of the rows, of which passes can be made; None: let go of it.

        ``first`` is the index in the data set of the first row here, ``room`` the bytes that may be
        kept for it (None: beside the rows).
        """
        if sample is None:
            self._sample = None
            return
        room = self._part.budget if room is None else room
        blocks = Sampled(self._whole.blocks, sample, first, room)
        self._sample = Passes(blocks, self._part._replace(budget=room - blocks.nbytes))

    def scan(self, batch: Batch | Sample | None = None) -> Scan:
        """Size and magnitudes of the rows, which are validated; or of a mini-batch or sample."""
        if batch is None and self._part.keep:  # there will be passes
            self._hold(self._part.kept())
        if batch is None and self._turns is not None:
            self._turns = None
            self._hold(self._part)
        return self._passes(batch).scan()

    def next(self, number: int) -> Scan | int:
        """Take the batch of this number of a stream, the first is 1, for all rows from now on.

        Returns its scan; where there are not so many batches, how many there are, and no rows are
        taken.
        """
        source = self._part.source
        assert source is not None
        assert not source.any_order
        if self._turns is None:
            self._turns = Turns(source)
        found = self._turns.at(number)
        part = self._part.of(found or [])
        self._whole = Passes(part.blocks(), part, self._workspace)
        return self._turns.number if found is None else self._whole.scan()

    def described(self) -> tuple[tuple[Any, ...] | None, str | None]:
        """Of a stream, as far as it was read: names of its columns; what says it never ends."""
        source = self._part.source
        assert source is not None
        assert not source.any_order
        return source.columns, source.endless

    def begin(self, grid: Grid, batch: Batch | Sample | None = None) -> None:
        """Add rows on this grid from now on: that of all shards."""
        self._passes(batch).begin(grid)

    def assign(
        self, centers: Floats, before: Floats | None = None, batch: Batch | Sample | None = None
    ) -> Partial:
        """Assign the rows and add them up.

        How many labels change is told from the pass before; where there was none, ``before`` are
        the centers of which it would have been.
        """
        passes = self._passes(batch)
        if before is not None and not passes.have_labels:
            passes.assign(before)
        return passes.assign(centers)

    def steps(
        self, centers: Floats, most: int, again: bool, limit: float, batch: Sample | None = None
    ) -> Steps | None:
        """Several passes over all rows in a row, centers moved after each; see ``Passes``."""
        return self._passes(batch).steps(centers, most, again, limit)

    def runs(self, begun: Begun, centers: Floats, most: int, tolerance: float) -> Runs | None:
        """Whole runs over all rows in a row, and the best of them; see ``Passes``."""
        return self._whole.runs(begun, centers, most, tolerance)

    def merge(self, one: Partial, other: Partial) -> Partial:
        """Merge the partials of two shards."""
        return one.merge(other)

    def update(self, centers: Floats, batch: Batch | int) -> Update:
        """Look at a mini-batch, assign it and add it up, on a grid of its own; and its loss.

        ``batch``: of a stream, its number.
        """
        part = self._part
        if isinstance(batch, int):
            if isinstance(there := self.next(batch), int):
                return Update(EMPTY_SCAN, None, 0.0, there)
            passes = self._whole
        else:
            passes = self._passes(batch)
        unit_rows, scan = is_cosine(part.metric), passes.scan()
        if not is_usable(scan):
            return Update(scan, None, 0.0)
        check_sums(scan, unit_rows)
        passes.begin(grid_of(scan, unit_rows))
        if scan.double:
            centers = centers.astype(np.float64)
        partial = passes.assign(centers)
        loss = loss_of(partial, centers, part.metric, part.threads)
        return Update(scan, partial, as_loss(passes.loss(centers)) if loss is None else loss)

    def loss(self, centers: Floats, batch: Batch | Sample | None = None) -> int:
        """The exact loss of the last pass, made with ``centers``, in units of 2**-1074."""
        return self._passes(batch).loss(centers)

    def labels(self) -> Labels:
        """Labels [n] of the last pass over all rows: for whoever holds the rows as well."""
        return self._whole.labels()

    def farthest(self, centers: Floats, number: int, batch: Sample | None = None) -> Farthest:
        """The ``number`` rows farthest from ``centers``, with which the last pass was made."""
        return self._passes(batch).farthest(centers, number)

    def _passes(self, batch: Batch | Sample | None) -> Passes:
        if batch is None:
            return self._whole
        if isinstance(batch, Sample):
            assert self._sample is not None
            return self._sample
        known = None if self._batch is None else self._batch[0]
        if self._batch is None or (known is not batch and known != batch):
            part = self._part.of(self._rows_of(batch))
            self._batch = batch, Passes(part.blocks(), part, self._workspace)
        return self._batch[1]

    def _rows_of(self, batch: Batch) -> Sequence[Rows]:
        if self._epoch is None or not self._epoch.goes_on(batch):
            if self._epoch is not None:
                self._epoch.close()
                if self._part.keep:  # what is read once is not kept
                    self._hold(self._part.kept())
            source = self._part.source
            assert source is not None
            assert source.any_order
            self._epoch = _Epoch(source.alone() if batch.alone else source, batch)
        return self._epoch.next(batch)

    # --- rows and distances ----------------------------------------------------------------

    def take(self, indices: Indices | None, batch: Sample | None = None) -> Drawn:
        """Rows (and weights) by their index, in the order asked for; None: all with a weight."""
        return self._passes(batch).take(indices)

    def some(self, number: int, key: int, batch: Batch | None = None) -> tuple[Shares, Drawn]:
        """At most ``number`` distinct rows with a weight: those whose numbers are lowest.

        The numbers are random by ``key``, and depend on nothing but what rows hold.
        """
        return self._passes(batch).some(number, key)

    def measure(self, centers: Floats) -> Measure:
        """Exact sums of weight * distance and of weights, and how many rows there are."""
        return self._whole.measure(centers)

    # --- what trained centers say ----------------------------------------------------------

    def predict(
        self, centers: Floats, outputs: tuple[str, ...], size: int, number: int
    ) -> Answered | None:
        """Outputs for a piece of at most ``size`` rows, by its number; None behind the last.

        Pieces are asked for one after the other, so that rows are read once.
        """
        asked = (centers.shape, outputs, size)
        if self._reading is None or (self._reading.asked, self._reading.number) != (asked, number):
            self._reading = self._new_reading(asked)
            while self._reading.number < number:
                self._reading.skip()
        return self._reading.next(centers)

    def write(
        self, centers: Floats, outputs: tuple[str, ...], size: int, sink: Sink, number: int
    ) -> Scan:
        """Write outputs for all rows into a file of this shard's own; returns what rows were."""
        reading = self._new_reading((centers.shape, outputs, size))
        total: Scan | None = None
        with sink.open(number) as file:
            while (found := reading.next(centers)) is not None:
                file.write(found.outputs)
                total = found.scan if total is None else total.merge(found.scan)
        return EMPTY_SCAN if total is None else total

    def _new_reading(self, asked: tuple[Any, ...]) -> Reading:
        source = self._part.source
        first = 0 if source is None else source.first
        return Reading(self._part, self._whole.blocks, first, asked)

    # --- choosing centers ------------------------------------------------------------------

    def potential(
        self, name: int, centers: Floats | None, negligible: float, budget: int, without: Indices
    ) -> int:
        """Keep distances to the nearest of some centers [k, d], k may be 0; returns the mass.

        Without centers, rows have the mass of their weight alone. ``name`` tells several apart.
        Distances up to ``negligible`` have no mass, nor have the rows ``without``; ``budget`` bytes
        may be kept beside them.
        """
        self._potentials[name] = self._whole.potential(centers, negligible, budget, without)
        return self._potentials[name].mass()

    def draw(self, name: int, taken: int | None, targets: Sequence[int]) -> Drawn | None:
        """The rows that targets below the mass reach; None without targets.

        ``taken``: first, this candidate of the last ``gains`` becomes a center.
        """
        potential = self._potentials[name]
        if taken is not None:
            potential.choose(taken)
        return self._whole.take(potential.find(targets)) if len(targets) else None

    def gains(self, name: int, candidates: Floats) -> Gains:
        """What each candidate center would change."""
        return self._potentials[name].gains(candidates)

    def pick(self, name: int, draws: Shares) -> tuple[Drawn, int] | None:
        """Draw, compare and take again and again, at once; None where that cannot be done.

        Returns the rows that became centers, and the mass that is left.
        """
        potential = self._potentials[name]
        picked = potential.pick(draws)
        return None if picked is None else (self._whole.take(picked), potential.mass())

    def candidates(
        self,
        name: int,
        draw: Draw,
        further: Floats,
        before: Floats | None,
        first: int,
        negligible: float,
    ) -> int:
        """Measure ``further`` candidates [m, d], and note what ``draw`` may reach; the mass.

        ``before`` [k, d], k may be 0: begin anew, with these centers, which are no candidates.
        ``first`` is the index of the first row here in the data set.
        """
        if before is not None:
            self._candidates[name] = self._whole.candidates(first, negligible)
        return self._candidates[name].measure(before, further, draw)

    def drawn(self, name: int, bar: float) -> Drawn | None:
        """The rows that the last draw reaches, by their index in the data set; None: none."""
        return self._candidates[name].drawn(bar)

    def weigh(self, name: int, further: Floats) -> Partial:
        """The weight of the rows nearest to each candidate, of which the last are ``further``."""
        return self._whole.weigh(self._candidates[name], further)

    def picked(self, first: int, draws: Shares, budget: int) -> Drawn | None:
        """The row ``first`` and those that are picked from there, at once; see ``Passes``."""
        return self._whole.picked(first, draws, budget)

    def forget(self, name: int) -> None:
        """Keep these distances no longer."""
        self._potentials.pop(name, None)
        self._candidates.pop(name, None)


class _Epoch:
    """Mini-batches of a share of a source, one after the other."""

    def __init__(self, source: PagedSource, batch: Batch) -> None:
        self._of = _epoch_of(batch)
        self._next = batch.first
        self._rows = source.rows
        order = Order(batch.seed, batch.epoch, source.rows or 0, source.dim or 1)
        self._batches = source.epoch(order, batch.size, batch.first)

    def goes_on(self, batch: Batch) -> bool:
        """Whether ``batch`` is the next one."""
        return self._of == _epoch_of(batch) and self._next == batch.first

    def close(self) -> None:
        """End the reading."""
        if isinstance(self._batches, Generator):
            self._batches.close()

    def next(self, batch: Batch) -> list[Rows]:
        """Rows of the next one that are in the share."""
        self._next = batch.last
        found = next(self._batches)
        if batch.last == self._rows:  # the end of the reading is here, not where it is let go
            next(self._batches, None)
        return found


def _epoch_of(batch: Batch) -> tuple[Any, ...]:
    return batch.seed, batch.epoch, batch.size, batch.alone
