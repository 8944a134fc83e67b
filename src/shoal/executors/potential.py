"""The distances of all rows to the nearest center so far: what further centers are drawn by.

The distances are where the rows are; here are their sums, exact, in units of 2**-1074.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from shoal.executors.shards import Message, Shards
from shoal.shards.potential import Gains, shared_out
from shoal.shards.values import Drawn, joined
from shoal.sources.sparse import dense
from shoal.types import Floats, Shares


class Potential:
    """Rows by their mass: weight times distance to the nearest center so far.

    The distance is 1 where there is no center yet, and 0 for a row without direction (cosine) and
    where it is negligible. The answers are the same for any parts of the data. A pick of one more
    center is two round trips: ``draw``, which also brings the choice before to the shards, and
    ``gains``.

    Parameters
    ----------
    shards, starts
        Where the rows are, and the index of the first row of each, with the number of rows last.
    centers
        [k, d] the centers so far; None: rows are drawn by their weight alone.
    each
        What each shard is told beside: the negligible distance, budget, and rows without mass.
    """

    def __init__(
        self,
        shards: Shards,
        starts: Sequence[int],
        centers: Floats | None,
        each: Sequence[Message],
    ) -> None:
        self._shards = shards
        self._starts = starts
        self._name = name = shards.name()
        self._centers = None if centers is None else [centers]
        self._each = each
        self._offered: tuple[Floats, list[Gains]] | None = None
        self._taken: int | None = None  # of the candidates offered, which shards are yet to hear
        shared = shards.executor.share(centers)
        started = {which: (name, shared, *given) for which, given in enumerate(each)}
        self._masses: list[int] = shards.ask_each("potential", started)
        shards.remember(f"potential {name}", self._again)
        shards.forget(f"gains {name}")

    def mass(self) -> int:
        """Return the mass of all rows."""
        return sum(self._masses)

    def draw_by(self, shares: Shares) -> Drawn:
        """Rows drawn by shares of the mass, which is not 0, in units of 2**-53."""
        mass = self.mass()
        return self.draw([mass * share >> 53 for share in shares.tolist()])

    def draw(self, targets: Sequence[int]) -> Drawn:
        """For each target below the mass, the first row at which the running mass exceeds it."""
        reached = {which: (places, inside) for which, places, inside in self._reached(targets)}
        asked = {
            which: (self._name, self._taken, reached[which][1] if which in reached else [])
            for which in range(len(self._shards))
            if self._taken is not None or which in reached
        }
        found = self._shards.ask_each("draw", asked)
        if self._taken is not None:
            self._settle()
        drawn = [
            one._replace(indices=one.indices + self._starts[which])
            for which, one in zip(asked, found, strict=True)
            if one is not None
        ]
        places = [i for which in asked if which in reached for i in reached[which][0]]
        return joined(drawn).at(np.argsort(places, kind="stable"))

    def gains(self, candidates: Floats) -> list[int]:
        """By how much each candidate center would lower the sum of weight times distance."""
        if self._taken is not None:  # nothing was drawn since
            self.draw_nothing()
        found = self._shards.ask("gains", self._name, self._shards.executor.share(candidates))
        self._offered = candidates, found
        # A shard that is made anew looks at the candidates again, so that one can be taken.
        self._shards.remember(f"gains {self._name}", lambda _: ("gains", self._name, candidates))
        total: Gains = reduce(Gains.plus, found)
        return total.lowered

    def choose(self, which: int) -> None:
        """Make a candidate of the last ``gains`` a center."""
        assert self._offered is not None
        self._taken = which
        self._masses = [gains.masses[which] for gains in self._offered[1]]

    def draw_nothing(self) -> None:
        """Let the shards know of the choice before."""
        self._shards.ask("draw", self._name, self._taken, [])
        self._settle()

    def pick(self, draws: Shares) -> Drawn | None:
        """Pick rows as centers, one after the other, until the mass is zero.

        Each row of ``draws`` [picks, m] draws m candidates, by shares of the mass in units of
        2**-53; the first of those that lower the sum most becomes a center. None: there was no
        mass.
        """
        if len(self._shards) == 1 and self._taken is None:
            [found] = self._shards.ask("pick", self._name, draws)
            if found is not None:
                drawn, self._masses[0] = found
                self._shards.forget(f"gains {self._name}")
                self._add(dense(drawn.rows))
                self._offered = None
                return drawn if len(drawn.indices) else None
        return self.pick_by_turns(draws)

    def pick_by_turns(self, draws: Shares) -> Drawn | None:
        """The same, pick after pick."""
        picked = []
        for shares in draws.tolist():
            mass = self.mass()
            if mass == 0:
                break
            drawn = self.draw([mass * share >> 53 for share in shares])
            gains = self.gains(dense(drawn.rows))
            best = gains.index(max(gains))
            self.choose(best)
            picked.append(drawn.at(slice(best, best + 1)))
        return joined(picked) if picked else None

    def close(self) -> None:
        """Free what shards keep of it."""
        self._shards.forget(f"potential {self._name}")
        self._shards.forget(f"gains {self._name}")
        self._shards.ask("forget", self._name)

    def _reached(self, targets: Sequence[int]) -> list[tuple[int, list[int], list[int]]]:
        if len(self._masses) == 1:
            return [(0, list(range(len(targets))), list(targets))]
        return shared_out(self._masses, targets)

    def _settle(self) -> None:
        """All shards have taken the choice."""
        assert self._offered is not None
        assert self._taken is not None
        self._add(self._offered[0][self._taken : self._taken + 1])
        self._taken = self._offered = None
        self._shards.forget(f"gains {self._name}")

    def _again(self, which: int) -> Message:
        """What a shard that is made anew is told: all centers so far at once."""
        centers = None if self._centers is None else np.concatenate(self._centers)
        return ("potential", self._name, centers, *self._each[which])

    def _add(self, centers: Floats) -> None:
        assert self._centers is not None
        self._centers.append(centers)
