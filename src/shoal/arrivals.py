"""Batches of asynchronous training: each worker has its own rows and its own order of them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from shoal.batches import Batch, check_columns
from shoal.config import ASYNCHRONOUS, RunConfig
from shoal.errors import BadInputError
from shoal.executors.shards import Shards
from shoal.executors.updates import Arrived, Updates
from shoal.own_streams import OwnStreams
from shoal.shards.part import Batch as Places
from shoal.shards.part import Part
from shoal.shards.tally import Tally
from shoal.sources.open import Source
from shoal.sources.paged import PagedSource
from shoal.state import State
from shoal.task import Task

logger = logging.getLogger("shoal")

#: Staleness that is allowed where none is given, for each worker: one may be so much slower.
STALENESS = 4
#: Seeds of workers are so far apart: those of users are below.
SEEDS = 2**128


def check_asynchronous(source: Source, task: Task) -> None:
    """Refuse what cannot be trained on by workers at a pace of their own, if that is asked for."""
    if not task.run.asynchronous:
        return
    task.parameters.check_asynchronous()
    if not source.spreads:
        raise BadInputError(
            f"{ASYNCHRONOUS} needs data that every worker reads a part of, and {source.name} is a "
            "stream: give arrays, files, or a function of (worker, num_workers), which gives each "
            "worker a stream of its own"
        )


class Plan(Protocol):
    """Which batch each worker takes next, and where it has come to."""

    name: str  # of the data
    busy: list[int]  # workers that have anything to do

    def batches(self, which: int) -> Iterator[Places | int]:
        """Those of a worker, from where it goes on."""

    def take(self, arrived: Arrived, dropped: Tally) -> bool:
        """A batch has come. Whether its worker has one more."""

    def batch(self, arrived: Arrived) -> Batch:
        """What was found, and the position behind it."""

    def end(self) -> None:
        """No worker has more."""

    def explain(self) -> None:
        """Raise a better error for rows that were refused, if there is one."""


class Arrivals:
    """What the workers find, batch by batch, as it comes.

    Parameters
    ----------
    shards
        The workers.
    plan
        What each does.
    run
        How the run behaves.
    """

    def __init__(self, shards: Shards, plan: Plan, run: RunConfig) -> None:
        self._shards = shards
        self._plan = plan
        most = run.max_staleness
        self._most = STALENESS * len(plan.busy) if most is None else most
        self._newest: State | None = None

    def move(self, state: State) -> None:
        """Workers go on from this state."""
        self._newest = state

    def batches(self, state: State, dropped: Tally) -> Iterator[Batch]:
        """Updates to apply; before the next one is asked for, ``move`` has told the state."""
        plan = self._plan
        updates = Updates(self._shards, {one: plan.batches(one) for one in plan.busy}, self._most)
        self._newest = state
        dropped.begin()
        while not updates.over:
            newest = self._newest
            updates.hand_out(newest.clusters, newest.global_step)
            try:
                arrived = updates.next(newest.clusters, newest.global_step)
            except BadInputError:
                plan.explain()
                raise
            if not plan.take(arrived, dropped):
                updates.retire(arrived.which)
            if arrived.found.partial is not None:
                check_columns(state, len(arrived.found.scan.magnitude), plan.name)
                yield plan.batch(arrived)
        plan.end()


class RowPlan:
    """Each worker goes over the rows of its part, in an order of its own, again and again.

    Parameters
    ----------
    source
        The data.
    parts
        Of it, one for each worker.
    size
        Rows of a batch of one worker.
    state
        Where to go on.
    whole
        Raises the error for data that nothing can be trained on.
    """

    def __init__(
        self,
        source: PagedSource,
        parts: Sequence[Part],
        size: int,
        state: State,
        whole: Callable[[], object],
    ) -> None:
        self.name = source.name
        self._source = source
        self._size = size
        self._seed = state.seed if source.seed is None else source.seed
        self._whole = whole
        self._rows = [_rows_of(part) for part in parts]
        self.busy = [which for which, rows in enumerate(self._rows) if rows]
        self._positions = self._known(state)
        self._idle = [0] * len(parts)  # rows on end of which none could be used

    def _known(self, state: State) -> list[tuple[int, int]]:
        """Epoch and row of each worker at the beginning."""
        known = state.workers or ((state.epoch, state.row),)
        if len(known) == len(self._rows):
            fits = all(row < max(rows, 1) for (_, row), rows in zip(known, self._rows, strict=True))
            if fits:
                return list(known)
        if any(row for _, row in known):
            logger.warning(
                "training had come to row %d of epoch %d, by %d workers; of other workers or other "
                "rows each goes on at the beginning of that epoch",
                state.row,
                state.epoch,
                len(known),
            )
        return [(state.epoch, 0)] * len(self._rows)

    def batches(self, which: int) -> Iterator[Places | int]:
        """Those of a worker, epoch after epoch."""
        (epoch, row), rows = self._positions[which], self._rows[which]
        while True:
            for start in range(row, rows, self._size):
                last = min(start + self._size, rows)
                seed = self._seed + which * SEEDS
                yield Places(seed, epoch, start, last, self._size, True)
            epoch, row = epoch + 1, 0

    def take(self, arrived: Arrived, dropped: Tally) -> bool:
        """A batch has come: a worker goes on as long as any of its rows has a weight."""
        which, places = arrived.which, arrived.batch
        assert isinstance(places, Places)
        if places.first == 0 and which == self.busy[0]:
            dropped.begin()
        dropped.add(arrived.found.scan)
        rows = self._rows[which]
        ended = places.last == rows
        self._positions[which] = (places.epoch + 1, 0) if ended else (places.epoch, places.last)
        if arrived.found.partial is not None:
            self._idle[which] = 0
            return True
        self._idle[which] += places.last - places.first
        if self._idle[which] < 2 * rows:
            return True
        logger.info("worker %d has no rows with a weight: it ends", which)
        return False

    def batch(self, arrived: Arrived) -> Batch:
        """What was found, and the position behind it: how many rows of all were seen."""
        positions, total = self._positions, sum(self._rows)
        seen = sum(
            epoch * rows + row for (epoch, row), rows in zip(positions, self._rows, strict=True)
        )
        workers = tuple(positions) if len(positions) > 1 else ()
        return Batch(arrived, list, divmod(seen, total), of_rows=total, workers=workers)

    def end(self) -> None:
        """No worker has rows to train on."""
        self._whole()

    def explain(self) -> None:
        """Say which row of which array it is."""
        if self._source.resident:
            self._whole()


class StreamPlan:
    """Each worker reads a stream of its own, once.

    Parameters
    ----------
    streams
        Those of all.
    state
        Where to go on.
    """

    def __init__(self, streams: OwnStreams, state: State) -> None:
        self.name = streams.name
        self.busy = list(range(streams.number))
        self._streams = streams
        self._done = streams.done(state)
        self._read = list(self._done)

    def batches(self, which: int) -> Iterator[Places | int]:
        """Their numbers."""
        return itertools.count(self._done[which] + 1)

    def take(self, arrived: Arrived, dropped: Tally) -> bool:
        """A batch has come, or there was none: then the worker is at its end."""
        which, found = arrived.which, arrived.found
        dropped.add(found.scan)
        if found.batches is not None:
            self._read[which] = found.batches
            return False
        self._streams.agree([which])
        self._streams.saw(found.scan.rows)
        self._read[which] += 1
        return True

    def batch(self, arrived: Arrived) -> Batch:
        """What was found, and the position behind it."""
        return Batch(arrived, list, turns=tuple(self._read))

    def end(self) -> None:
        """All streams have ended."""
        self._streams.end(self._read, self._done)

    def explain(self) -> None:
        """There is nothing to add."""


def _rows_of(part: Part) -> int:
    assert part.source is not None
    assert part.source.any_order
    return part.source.given
