"""Shards that train at a pace of their own: what each finds is applied once, as it comes.

An update is made with the centers of some step, and applied some steps later: its *staleness*, the
steps between, is bounded. Which update may come next is decided here; an update that would make
another one too old waits until that one is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shoal.executors.shards import Shards
from shoal.shards.part import Batch
from shoal.shards.values import Update
from shoal.types import Floats


class Arrived(NamedTuple):
    """What a shard found, to be applied now."""

    which: int  # the shard, by its place among all
    batch: Batch | int
    found: Update
    staleness: int  # steps applied since the centers that it was assigned with


@dataclass
class _Asked:
    which: int
    batch: Batch | int  # of a stream: its number
    step: int  # whose centers it is assigned with
    answer: Any
    found: Update | None = None  # once it is there


class Updates:
    """Mini-batches under way, one of each shard at most.

    Parameters
    ----------
    shards
        Where the rows are.
    batches
        Of each shard, by its place among all: of its own rows, without end.
    max_staleness
        The most steps that may be applied between the one whose centers an update was made with
        and its own.
    """

    def __init__(
        self, shards: Shards, batches: Mapping[int, Iterator[Batch | int]], max_staleness: int
    ) -> None:
        self._shards = shards
        self._batches = batches
        self._most = max_staleness
        self._idle = deque(batches)
        self._asked: list[_Asked] = []  # by their steps: the first is due first
        self._there: list[_Asked] = []  # ... of which these have come, in that order

    def retire(self, which: int) -> None:
        """Ask a shard for nothing more, whose batch has just been given out."""
        self._idle.remove(which)

    @property
    def over(self) -> bool:
        """Whether no shard is left."""
        return not self._idle and not self._asked

    def hand_out(self, centers: Floats, step: int) -> None:
        """Give the newest centers to shards that have nothing to do."""
        shared = None
        while self._idle and len(self._asked) <= self._most:
            if shared is None:
                shared = self._shards.executor.share(centers)
            which = self._idle.popleft()
            batch = next(self._batches[which])
            answer = self._shards.submit(which, "update", shared, batch)
            self._asked.append(_Asked(which, batch, step, answer))

    def next(self, centers: Floats, step: int) -> Arrived:
        """Wait for an update that may be applied behind ``step``, and give it out, once."""
        while True:
            for asked in self._there:
                if asked.found is not None and self._may_be_next(asked, step):
                    self._there.remove(asked)
                    self._asked.remove(asked)
                    self._idle.append(asked.which)
                    return Arrived(asked.which, asked.batch, asked.found, step - asked.step)
            self._wait(centers, step)

    def _may_be_next(self, one: _Asked, step: int) -> bool:
        """Whether the others can all be applied in time behind it."""
        rest = [asked for asked in self._asked if asked is not one]
        return all(step + 1 + place <= asked.step + self._most for place, asked in enumerate(rest))

    def _wait(self, centers: Floats, step: int) -> None:
        """Wait for one more; of a shard that is lost, the newest centers go to a new one."""
        waiting = [asked for asked in self._asked if asked.found is None]
        place, found = self._shards.first([(asked.which, asked.answer) for asked in waiting])
        asked = waiting[place]
        if found is not None:
            asked.found = found
            self._there.append(asked)
            return
        asked.step = step
        asked.answer = self._shards.submit(asked.which, "update", centers, asked.batch)
        self._asked.remove(asked)
        self._asked.append(asked)
