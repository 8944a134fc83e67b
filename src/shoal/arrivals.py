"""Batches of asynchronous training: each worker has its own rows and its own order of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from shoal.batches import Batch, check_columns
from shoal.config import ASYNCHRONOUS, RunConfig
from shoal.errors import BadInputError
from shoal.executors.shards import Shards
from shoal.executors.updates import Updates
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
    if not source.any_order:
        raise BadInputError(
            f"{ASYNCHRONOUS} needs data that every worker reads a part of, and {source.name} is a "
            "stream: give arrays or files"
        )


class Arrivals:
    """What the workers find, batch by batch, as it comes.

    Parameters
    ----------
    shards
        The workers.
    source
        The data, of which each has a part.
    size
        Rows of a batch of one worker.
    run
        How the run behaves.
    """

    def __init__(self, shards: Shards, source: PagedSource, size: int, run: RunConfig) -> None:
        self._shards = shards
        self._source = source
        self._size = size
        self._rows = [_rows_of(part) for part in shards.parts]
        self._busy = [which for which, rows in enumerate(self._rows) if rows]
        most = run.max_staleness
        self._most = STALENESS * len(self._busy) if most is None else most
        self._newest: State | None = None

    def move(self, state: State) -> None:
        """Workers go on from this state."""
        self._newest = state

    def batches(
        self, state: State, dropped: Tally, explain: Callable[[], object]
    ) -> Iterator[Batch]:
        """Updates to apply; before the next one is asked for, ``move`` has told the state.

        ``explain`` raises the error for data that nothing can be trained on.
        """
        positions = self._positions(state)
        plans = {which: self._places(which, positions[which], state) for which in self._busy}
        updates = Updates(self._shards, plans, self._most)
        self._newest = state
        idle = [0] * len(self._rows)  # rows on end of which none could be used
        total = sum(self._rows)
        dropped.begin()
        while not updates.over:
            newest = self._newest
            updates.hand_out(newest.clusters, newest.global_step)
            try:
                arrived = updates.next(newest.clusters, newest.global_step)
            except BadInputError:
                if self._source.resident:
                    explain()  # says which row of which array it is
                raise
            which, places = arrived.which, arrived.batch
            if places.first == 0 and which == self._busy[0]:
                dropped.begin()
            dropped.add(arrived.found.scan)
            ended = places.last == self._rows[which]
            positions[which] = (places.epoch + 1, 0) if ended else (places.epoch, places.last)
            if arrived.found.partial is None:
                idle[which] += places.last - places.first
                if idle[which] >= 2 * self._rows[which]:
                    logger.info("worker %d has no rows with a weight: it ends", which)
                    updates.retire(which)
                continue
            idle[which] = 0
            check_columns(state, len(arrived.found.scan.magnitude), self._source.name)
            seen = sum(
                epoch * rows + row for (epoch, row), rows in zip(positions, self._rows, strict=True)
            )
            yield Batch(
                arrived,
                list,
                divmod(seen, total),
                of_rows=total,
                workers=tuple(positions) if len(positions) > 1 else (),
            )
        explain()

    def _positions(self, state: State) -> list[tuple[int, int]]:
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

    def _places(self, which: int, position: tuple[int, int], state: State) -> Iterator[Places]:
        """The batches of a worker, epoch after epoch."""
        seed = state.seed if self._source.seed is None else self._source.seed
        (epoch, row), rows = position, self._rows[which]
        while True:
            for start in range(row, rows, self._size):
                last = min(start + self._size, rows)
                yield Places(seed + which * SEEDS, epoch, start, last, self._size, True)
            epoch, row = epoch + 1, 0


def _rows_of(part: Part) -> int:
    assert part.source is not None
    assert part.source.any_order
    return part.source.given
