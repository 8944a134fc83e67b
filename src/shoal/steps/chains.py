"""Seeding by Markov chains: k-MC² and AFK-MC². Each chain has a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.sources.sparse import Matrix, dense
from shoal.steps.random import Stream
from shoal.steps.round import Round

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]
#: What a chain with a random stream of its own proposes: rows, and the density of each.
Candidates = Callable[[int, Stream], tuple[Indices, Floats]]

#: Candidates of several chains are measured together, up to this many.
CHAIN_ROWS = 8192
#: Chains tried when one ends on a row that is a center already, before the one pass over all rows.
CHAIN_TRIES = 10


def kmc2(offered: Round) -> Floats:
    """k-MC² (Bachem et al. 2016, "Approximate k-means++ in sublinear time")."""
    length = offered.parameters.kmc2_chain_length
    rows = offered.rows
    weights = offered.batch.weights()
    chains = _number_of_chains(offered)

    def candidates(chain: int, stream: Stream) -> tuple[Indices, Floats]:
        if offered.whole:
            indices = stream.integers(rows, length)
        else:
            start = 0 if rows < length else chain * length
            indices = np.arange(start, min(start + length, rows))
        return indices, np.ones(len(indices))

    return _by_chains(offered, chains, candidates, weights)


def afkmc2(offered: Round) -> Floats:
    """AFK-MC² (Bachem et al. 2016b, "Fast and provably good seedings for k-means").

    Proposals follow half the distance to the first center, half the uniform distribution.
    """
    batch, rows = offered.batch, offered.rows
    length = offered.parameters.kmc2_chain_length
    weights = batch.weights()
    if len(offered.found):
        first, before = offered.found[:1], []
    else:
        first = batch.take(offered.stream().rows(rows, 1, weights))
        before = [first]
        offered.tell(1)
    proposal = batch.distances(first)  # in place from here: there may be many rows
    if weights is not None:
        proposal *= weights
    cumulative = np.cumsum(proposal)
    uniform = np.float64(1 / rows) if weights is None else weights / np.cumsum(weights)[-1]
    if cumulative[-1] > 0:
        proposal /= 2 * cumulative[-1]
        proposal += 0.5 * uniform
    else:
        proposal[:] = uniform
    np.cumsum(proposal, out=cumulative)
    chains = _number_of_chains(offered)

    def candidates(_chain: int, stream: Stream) -> tuple[Indices, Floats]:
        indices = stream.by_cumulative(cumulative, length)
        return indices, proposal[indices]

    return _by_chains(offered, chains, candidates, weights, before)


def _number_of_chains(offered: Round) -> int:
    if offered.whole:
        return offered.remaining
    groups = offered.rows // offered.parameters.kmc2_chain_length
    return max(1, min(offered.remaining, groups))


def _by_chains(
    offered: Round,
    chains: int,
    candidates: Candidates,
    weights: Floats | None,
    before: list[Floats] | None = None,
) -> Floats:
    """One Markov chain per center, each with a random stream of its own."""
    chosen = list(before or [])
    if len(offered.found) + len(chosen) == 0:
        chosen.append(offered.batch.take(offered.stream(1).rows(offered.rows, 1, weights)))
    at_once = max(1, CHAIN_ROWS // offered.parameters.kmc2_chain_length)
    left = _Left(offered, weights)
    while len(chosen) < chains and not left.none:
        offered.tell(len(chosen))
        _some_chains(offered, min(at_once, chains - len(chosen)), candidates, left, chosen)
    if left.none:  # every row is a center already
        stream, missing = offered.stream(len(chosen) + 1), chains - len(chosen)
        chosen.append(offered.batch.take(stream.rows(offered.rows, missing, weights)))
    return np.concatenate(chosen)


def _some_chains(
    offered: Round,
    chains: int,
    candidates: Candidates,
    left: _Left,
    chosen: list[Floats],
) -> None:
    """Append to ``chosen`` where the next chains end, until no row is ``left``.

    What they propose does not depend on the centers, so its distance to those that were chosen
    before all of these chains is measured at once.
    """
    first = len(chosen)
    streams = [offered.stream(first + chain + 1) for chain in range(chains)]
    proposed = [candidates(first + chain, stream) for chain, stream in enumerate(streams)]
    rows = offered.batch.sample(np.concatenate([indices for indices, _ in proposed]))
    target = offered.measure(rows, np.concatenate([offered.found, *chosen]))
    end = 0
    for chain, stream in enumerate(streams):
        indices, proposal = proposed[chain]
        start, end = end, end + len(indices)
        mine, distances = rows[start:end], target[start:end]
        if len(chosen) > first:
            later = offered.measure(mine, np.concatenate(chosen[first:]))
            distances = np.minimum(distances, later)
        for attempt in range(CHAIN_TRIES):
            if attempt:  # it met only rows that are centers already
                indices, proposal = candidates(first + chain, stream)
                mine = offered.batch.sample(indices)
                distances = offered.measure(mine, np.concatenate([offered.found, *chosen]))
            mass = distances if left.weights is None else distances * left.weights[indices]
            last = run_chain(mass, proposal, stream.uniform(len(indices)))
            if mass[last] > 0:
                chosen.append(dense(mine[last : last + 1]))
                break
        else:
            drawn = left.draw(chosen, stream)
            if drawn is None:
                return
            chosen.append(drawn)


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

    They are few then. One pass finds them; what is drawn later needs no other.
    """

    def __init__(self, offered: Round, weights: Floats | None) -> None:
        self._offered = offered
        self.weights = weights  # of all rows
        self.none = False  # every row is a center
        self._rows: Matrix | None = None
        self._mass: Floats = np.empty(0)  # of these: what they are drawn by
        self._weights: Floats | float = 1.0
        self._known = 0  # how many of the chosen centers that knows of

    def draw(self, chosen: list[Floats], stream: Stream) -> Floats | None:
        """A row, in proportion to weight times distance; None where none is left."""
        if self._rows is None:
            self._look(np.concatenate([self._offered.found, *chosen]))
        elif len(chosen) > self._known:
            later = self._offered.measure(self._rows, np.concatenate(chosen[self._known :]))
            later *= self._weights
            self._mass = np.minimum(self._mass, later)
        self._known = len(chosen)
        self.none = not self._mass.any()
        if self._rows is None or self.none:
            return None
        drawn = stream.weighted(self._mass, 1)
        return dense(self._rows[drawn])

    def _look(self, centers: Floats) -> None:
        offered = self._offered
        mass = offered.likely(offered.batch.distances(centers), self.weights)
        where = np.flatnonzero(mass)
        if len(where):
            self._rows, self._mass = offered.batch.sample(where), mass[where]
            self._weights = 1.0 if self.weights is None else self.weights[where]
