"""Candidates for centers, drawn from all rows in a few passes: the sampling of k-means||.

The distances are where the rows are; candidates go there, and rows that are drawn come back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shoal.executors.shards import Message, Shards
from shoal.shards.candidates import Draw
from shoal.shards.values import Drawn, joined
from shoal.state import Partial
from shoal.types import Floats


class Candidates:
    """Rows by their mass: weight times distance to the nearest candidate so far.

    A round is one pass, ``measure``, and one round trip more, ``drawn``. The answers are the same
    for any parts of the data.

    Parameters
    ----------
    shards
        Where the rows are.
    before
        [k, d] centers from before, which are no candidates; k may be 0.
    each
        What each shard is told beside: the index of its first row, and the negligible distance.
    """

    def __init__(self, shards: Shards, before: Floats, each: Sequence[Message]) -> None:
        self._shards = shards
        self._name = shards.name()
        self._before = before
        self._each = each
        self._known: list[Floats] = []
        self._draw: Draw | None = None

    def measure(self, further: Floats, draw: Draw) -> int:
        """Measure further candidates [m, d], as the rows of ``draw`` are noted; the mass."""
        name, share = self._name, self._shards.executor.share
        before = share(None if self._known else self._before)
        shared = share(further)
        asked = {
            which: (name, draw, shared, before, *given) for which, given in enumerate(self._each)
        }
        masses: list[int] = self._shards.ask_each("candidates", asked)
        self._known.append(further)
        self._draw = draw
        self._shards.remember(f"candidates {name}", self._again)
        return sum(masses)

    def drawn(self, bar: float) -> Drawn | None:
        """The rows that are drawn, in their order; None if there are none."""
        found = self._shards.ask("drawn", self._name, bar)
        some = [drawn for drawn in found if drawn is not None]
        return joined(some) if some else None

    def weigh(self, further: Floats) -> Floats:
        """The weight [m] of the rows nearest to each candidate, of which the last are these."""
        shared = self._shards.executor.share(further)
        partial: Partial = self._shards.merged("weigh", self._name, shared)
        return partial.weights

    def close(self) -> None:
        """Free what shards keep of it."""
        self._shards.forget(f"candidates {self._name}")
        self._shards.ask("forget", self._name)

    def _again(self, which: int) -> Message:
        """What a shard that is made anew is told: all candidates so far at once."""
        known = np.concatenate(self._known)
        return ("candidates", self._name, self._draw, known, self._before, *self._each[which])
