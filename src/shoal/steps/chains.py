"""Seeding by Markov chains: k-MC² and AFK-MC². Each chain has random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from shoal.executors.potential import Potential
from shoal.shards.values import Drawn, joined
from shoal.sources.sparse import dense
from shoal.state import exact_to_float
from shoal.steps.random import Random
from shoal.steps.round import Round
from shoal.types import Floats, Indices, Shares

#: Half of what shares are units of.
HALF = np.uint64(1 << 52)
#: Candidates of several chains are measured together, up to this many.
CHAIN_ROWS = 8192
#: Chains tried when one ends on a row that is a center already, before the one pass over all rows.
CHAIN_TRIES = 10


class Proposed(NamedTuple):
    """Candidates of some chains, one chain behind the other."""

    drawn: Drawn
    density: Floats  # [m] of each, up to a factor
    ends: list[int]  # of the chains


#: What chains propose, by their numbers, each with random numbers of its own.
Propose = Callable[[Sequence[int], Sequence[Random]], Proposed]


def kmc2(offered: Round) -> Floats:
    """k-MC² (Bachem et al. 2016, "Approximate k-means++ in sublinear time")."""
    length = offered.parameters.kmc2_chain_length
    rows = offered.rows

    def of_chain(chain: int, random: Random) -> Indices:
        if offered.whole:
            return random.integers(rows, length)
        start = 0 if rows < length else chain * length
        return np.arange(start, min(start + length, rows))

    def propose(chains: Sequence[int], randoms: Sequence[Random]) -> Proposed:
        parts = list(map(of_chain, chains, randoms))
        drawn = offered.data.take(np.concatenate(parts))
        ends = np.cumsum([len(part) for part in parts]).tolist()
        return Proposed(drawn, np.ones(len(drawn.indices)), ends)

    return _by_chains(offered, propose, [])


def afkmc2(offered: Round) -> Floats:
    """AFK-MC² (Bachem et al. 2016b, "Fast and provably good seedings for k-means").

    Proposals follow half the distance to the first center, half the uniform distribution.
    """
    data, length = offered.data, offered.parameters.kmc2_chain_length
    if len(offered.found):
        first, before = offered.found[:1], []
    else:
        first = dense(offered.drawn(offered.random(), 1).rows)
        before = [first]
        offered.tell(1)
    far = offered.potential(first)
    even = data.potential(None) if offered.weighted else None
    far_mass, all_mass = exact_to_float(far.mass()), float(offered.rows)
    if even is not None:
        all_mass = exact_to_float(even.mass())

    def evenly(shares: Shares) -> Drawn:
        if even is not None:
            return even.draw_by(shares)
        return data.take(np.array([offered.rows * share >> 53 for share in shares.tolist()]))

    def propose(_chains: Sequence[int], randoms: Sequence[Random]) -> Proposed:
        sides, shares = zip(*(random.shares(2, length) for random in randoms), strict=True)
        side, share = np.concatenate(sides), np.concatenate(shares)
        by_distance = (side < HALF) & (far_mass > 0)
        one, other = np.flatnonzero(by_distance), np.flatnonzero(~by_distance)
        parts = [far.draw_by(share[one])] if len(one) else []
        parts += [evenly(share[other])] if len(other) else []
        drawn = joined(parts).at(np.argsort(np.concatenate([one, other]), kind="stable"))
        density = np.full(len(share), 1 / all_mass)
        if far_mass > 0:
            density += offered.measure(drawn.rows, first) / far_mass
        if drawn.weights is not None:
            density *= drawn.weights
        return Proposed(drawn, density, [length * (i + 1) for i in range(len(randoms))])

    chosen = _by_chains(offered, propose, before)
    far.close()
    if even is not None:
        even.close()
    return chosen


def _number_of_chains(offered: Round) -> int:
    if offered.whole:
        return offered.remaining
    groups = offered.rows // offered.parameters.kmc2_chain_length
    return max(1, min(offered.remaining, groups))


def _by_chains(offered: Round, propose: Propose, before: list[Floats]) -> Floats:
    """One Markov chain per center, each with random numbers of its own."""
    chosen = list(before)
    chains = _number_of_chains(offered)
    if len(offered.found) + len(chosen) == 0:
        chosen.append(dense(offered.drawn(offered.random(1), 1).rows))
    at_once = max(1, CHAIN_ROWS // offered.parameters.kmc2_chain_length)
    left = _Left(offered)
    while len(chosen) < chains and not left.none:
        offered.tell(len(chosen))
        _some_chains(offered, min(at_once, chains - len(chosen)), propose, left, chosen)
    left.close()
    if left.none:  # every row is a center already
        random, missing = offered.random(len(chosen) + 1), chains - len(chosen)
        chosen.append(dense(offered.drawn(random, missing).rows))
    return np.concatenate(chosen)


def _some_chains(
    offered: Round, chains: int, propose: Propose, left: _Left, chosen: list[Floats]
) -> None:
    """Append to ``chosen`` where the next chains end, until no row is ``left``.

    What they propose does not depend on the centers, so its distance to those that were chosen
    before all of these chains is measured at once.
    """
    first = len(chosen)
    numbers = range(first, first + chains)
    randoms = [offered.random(number + 1) for number in numbers]
    drawn, density, ends = propose(numbers, randoms)
    target = offered.measure(drawn.rows, np.concatenate([offered.found, *chosen]))
    end = 0
    for chain, random in enumerate(randoms):
        start, end = end, ends[chain]
        mine, proposal = drawn.at(slice(start, end)), density[start:end]
        distances = target[start:end]
        if len(chosen) > first:
            later = offered.measure(mine.rows, np.concatenate(chosen[first:]))
            distances = np.minimum(distances, later)
        for attempt in range(CHAIN_TRIES):
            if attempt:  # it met only rows that are centers already
                mine, proposal, _ = propose([first + chain], [random])
                distances = offered.measure(mine.rows, np.concatenate([offered.found, *chosen]))
            mass = distances if mine.weights is None else distances * mine.weights
            last = run_chain(mass, proposal, random.uniform(len(mass)))
            if mass[last] > 0:
                chosen.append(dense(mine.rows[last : last + 1]))
                break
        else:
            row = left.draw(chosen, random)
            if row is None:
                return
            chosen.append(row)


def run_chain(target: Floats, proposal: Floats, uniform: Floats) -> int:
    """Index on which a Metropolis-Hastings chain over successive candidates ends.

    A candidate y replaces x with probability min(1, target_y proposal_x / (target_x proposal_y)).
    """
    current = 0
    likely, proposed = target.tolist(), proposal.tolist()  # lists are faster, item by item
    for i, share in enumerate(uniform.tolist()):
        if i and share * likely[current] * proposed[i] < likely[i] * proposed[current]:
            current = i
    return current


class _Left:
    """The rows that are no centers yet, for chains that only met rows that are.

    One pass finds them; what is drawn later needs no other.
    """

    def __init__(self, offered: Round) -> None:
        self._offered = offered
        self.none = False  # every row is a center
        self._potential: Potential | None = None
        self._known = 0  # how many of the chosen centers that knows of

    def draw(self, chosen: list[Floats], random: Random) -> Floats | None:
        """A row, in proportion to weight times distance; None where none is left."""
        if self._potential is None:
            self._potential = self._offered.potential(
                np.concatenate([self._offered.found, *chosen])
            )
        elif len(chosen) > self._known:
            for center in np.concatenate(chosen[self._known :]):
                self._potential.gains(center[None])
                self._potential.choose(0)
        self._known = len(chosen)
        self.none = self._potential.mass() == 0
        return None if self.none else dense(self._potential.draw_by(random.shares(1)).rows)

    def close(self) -> None:
        """Free what was found."""
        if self._potential is not None:
            self._potential.close()
