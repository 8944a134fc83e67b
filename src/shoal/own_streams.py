"""Streams that workers read, each its own: a mini-batch takes one batch of every worker."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.executors.data import Data
from shoal.executors.shards import Shards
from shoal.shards.tally import Tally
from shoal.sources.sparse import Matrix
from shoal.sources.stream import StreamSource
from shoal.state import State

logger = logging.getLogger("shoal")


class OwnStreams:
    """The streams of the workers, read together, batch by batch.

    Parameters
    ----------
    source
        All of them, as the user gave them.
    shards
        The workers, each of which has its own.
    """

    def __init__(self, source: StreamSource, shards: Shards) -> None:
        self.name = source.name
        self._source = source
        self._shards = shards
        self._unnamed = set(range(len(shards)))  # whose columns are not known to be those of all
        self._names: tuple[int, Any] | None = None
        self._seen = False  # any batch with rows

    @property
    def number(self) -> int:
        """How many workers there are."""
        return len(self._shards)

    def done(self, state: State) -> tuple[int, ...]:
        """How many batches of each are trained on already, by a run that goes on."""
        known = state.turns
        if len(known) == self.number:
            return known
        if any(known) or state.batches:
            logger.warning(
                "training had come to batch %d of %d workers, each with a stream of its own; now "
                "there are %d, which have others: each begins at its first batch",
                max((*known, state.batches)),
                max(len(known), 1),
                self.number,
            )
        return (0,) * self.number

    def batches(self, done: tuple[int, ...], unit_rows: bool, dropped: Tally) -> Iterator[Data]:
        """One batch of every worker, again and again, until none has one more; not all usable."""
        barren, turn = 0, done
        dropped.begin()
        while True:
            data = Data(self._shards, unit_rows, turn=[number + 1 for number in turn])
            self.agree(range(self.number))
            if data.ended:
                self.end(data.read, done)
                return
            turn = data.read
            self.saw(data.scan().rows)
            dropped.add(data.scan())
            barren = 0 if data.usable else barren + 1
            self._source.check_some(barren)
            yield data

    def saw(self, rows: int) -> None:
        """So many rows have come."""
        self._seen = self._seen or rows > 0

    def end(self, read: Iterable[int], done: Iterable[int]) -> None:
        """All have ended, and have had so many batches: see whether that is what was asked for."""
        if not (self._seen or any(done)):
            raise BadInputError(f"{self._source.name} has no rows: give at least one")
        for which, (there, before) in enumerate(zip(read, done, strict=True)):
            if there < before:
                logger.warning(
                    "worker %d has %d batches, fewer than the %d that were trained on when the "
                    "run was interrupted: there is nothing to go on with",
                    which,
                    there,
                    before,
                )

    def agree(self, which: Iterable[int]) -> None:
        """Learn the names of the columns of some workers; refuse others than those known."""
        asked = self._unnamed & set(which)
        if not asked:
            return
        found = self._shards.ask_each("described", dict.fromkeys(sorted(asked), ()))
        for one, (names, endless) in zip(sorted(asked), found, strict=True):
            if names is None:
                continue  # it has had no batch
            self._unnamed.discard(one)
            self._source.endless = self._source.endless or endless
            if self._names is None:
                self._names = one, names
                self._source.columns = self._source.columns or names
            elif names != self._names[1]:
                raise BadInputError(
                    f"worker {one} has the columns {names!r:.200}, worker {self._names[0]} has "
                    f"{self._names[1]!r:.200}: all must have the same, in the same order, or name "
                    "them in feature_columns"
                )


def rows_of(data: Data) -> list[Matrix]:
    """All rows of a batch, brought to this process, for whoever chooses centers by them."""
    return [data.take(np.arange(data.scan().rows)).rows]
