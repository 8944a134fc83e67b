"""Choosing the first centers, batch after batch until there are enough.

All methods see a batch as one sequence of rows, whatever its shards, and measure distances in
float64, so a seed gives the same centers for any split of the data and any number of threads.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.config import (
    AFKMC2_INIT,
    KMC2_INIT,
    KMEANS_PLUS_PLUS_INIT,
    RANDOM_INIT,
    Parameters,
)
from shoal.errors import BadInputError
from shoal.executors.base import Executor
from shoal.metric import as_stored, check_magnitude, is_cosine
from shoal.nearest import Nearest
from shoal.shard import nearest
from shoal.state import State, empty_state
from shoal.steps import minibatch
from shoal.steps.random import SEEDING, Stream

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]
#: What a chain with a random stream of its own proposes: rows, and the density of each.
Candidates = Callable[[int, Stream], tuple[Indices, Floats]]

#: A callable may give no rows for this many batches in a row, no more.
MOST_IDLE_ROUNDS = 100
#: Picks of k-means++ between two moments at which a run can be stopped.
PICKS_AT_ONCE = 64
#: Candidates of several chains are measured together, up to this many.
CHAIN_ROWS = 8192
#: Chains tried anew when one ends on a row that is a center already, before a pass over all rows.
CHAIN_TRIES = 10


@dataclass(frozen=True)
class Round:
    """One batch offered to a seeding method."""

    batch: Executor
    inputs: list[Floats]  # the arrays behind the batch, for callables
    whole: bool  # the batch is the whole data set, which random access reaches
    found: Floats  # centers chosen in earlier rounds
    remaining: int
    path: tuple[int, int]  # of the random stream: seed, round
    parameters: Parameters

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return self.batch.scan().rows

    @property
    def cosine(self) -> bool:
        """Whether rows are compared by direction."""
        return is_cosine(self.parameters.distance_metric)

    def stream(self, chain: int = 0) -> Stream:
        """Random numbers of this round; each chain has its own."""
        seed, number = self.path
        return Stream(seed, SEEDING, number, chain)

    def measure(self, rows: Floats, centers: Floats) -> Floats:
        """Distance of each row to its nearest center; 0 for a row without direction."""
        given = self.parameters
        _, distances = nearest(rows, centers, given.distance_metric, given.num_threads)
        return self.likely(np.where(rows.any(axis=1), distances, 0.0) if self.cosine else distances)

    def nearest(self, centers: Floats) -> Nearest:
        """Rows by their distances to the nearest of some centers."""
        data = self.rows * self.found.shape[1] * self.found.itemsize
        return self.batch.nearest(centers, self.negligible, self.parameters.budget(data))

    @property
    def negligible(self) -> float:
        """The distance up to which a row is a center already.

        Under cosine, centers are rounded to length one, so a row is not quite at its own center.
        """
        return float(2 * np.finfo(self.found.dtype).eps) ** 2 if self.cosine else 0.0

    def likely(self, distances: Floats, weights: Floats | None = None) -> Floats:
        """What rows are drawn by: weight times distance, 0 where a center is already."""
        distant = np.where(distances > self.negligible, distances, 0.0)
        return distant if weights is None else distant * weights


def step(
    state: State, batch: Executor, inputs: list[Floats], parameters: Parameters, whole: bool
) -> State:
    """Choose centers from one batch: at most as many as are missing."""
    remaining = parameters.num_clusters - state.num_found
    offered = Round(
        batch,
        inputs,
        whole,
        state.clusters,
        remaining,
        (state.seed, state.seeding_rounds),
        parameters,
    )
    if callable(parameters.initial_clusters):
        chosen = _called(offered, parameters.initial_clusters)
    else:
        chosen = METHODS[parameters.initial_clusters](offered)
    idle = state.idle_rounds + 1 if len(chosen) == 0 else 0
    if idle >= MOST_IDLE_ROUNDS:
        raise BadInputError(
            f"initial_clusters gave no rows for {idle} batches in a row: "
            f"{state.num_found} of {parameters.num_clusters} centers were found"
        )
    stored = as_stored(chosen.astype(state.clusters.dtype), parameters.distance_metric)
    clusters = np.concatenate([state.clusters, stored])
    after = state.replace(
        clusters=clusters,
        clusters_updated=clusters,
        counts=np.zeros(len(clusters)),
        seeding_rounds=state.seeding_rounds + 1,
        idle_rounds=idle,
    )
    return ready(after, parameters) if len(clusters) == parameters.num_clusters else after


def given(parameters: Parameters) -> State:
    """The state of centers that were given: no batch is used up."""
    centers: Floats = np.array(parameters.initial_clusters)
    state = empty_state(centers.shape[1], centers.dtype, parameters.random_seed)
    stored = as_stored(centers, parameters.distance_metric)
    return ready(state.replace(clusters=stored, counts=np.zeros(len(stored))), parameters)


def ready(state: State, parameters: Parameters) -> State:
    """Mark the centers as complete and prepare them for the first step."""
    state = state.replace(initialized=True, clusters_updated=state.clusters)
    return minibatch.start(state, parameters) if parameters.use_mini_batch else state


def random(offered: Round) -> Floats:
    """Draw rows uniformly (in proportion to weight) without replacement."""
    weights = offered.batch.weights()
    available = offered.rows if weights is None else int(np.count_nonzero(weights))
    if available <= offered.remaining:
        return _all_rows(offered)
    chosen = offered.stream().without_replacement(offered.rows, offered.remaining, weights)
    return offered.batch.take(chosen)


def plus_plus(offered: Round) -> Floats:
    """k-means++ (Arthur & Vassilvitskii 2007), greedy over 1 + retries candidates per pick.

    Each pick is drawn in proportion to weight times distance to the nearest center so far; of the
    candidates, the one with the lowest resulting potential wins, the first on equality.
    """
    batch, weights = offered.batch, offered.batch.weights()
    available = offered.rows if weights is None else int(np.count_nonzero(weights))
    if available <= offered.remaining:
        return _all_rows(offered)
    retries = offered.parameters.kmeans_plus_plus_num_retries
    if retries < 0:
        retries = 2 + math.floor(math.log(offered.remaining))
    stream = offered.stream()
    nearest, chosen = _first_center(offered, stream)
    missing = offered.remaining - len(chosen)
    while missing:
        draws = stream.shares(min(missing, PICKS_AT_ONCE), 1 + retries)
        picked = nearest.pick(draws)
        if len(picked):
            chosen.append(batch.take(picked))
        missing -= len(picked)
        if len(picked) < len(draws):
            _say_repeated(missing)
            fill = np.ones(offered.rows) if weights is None else weights
            chosen.append(batch.take(stream.weighted(fill, missing)))
            break
    return np.concatenate(chosen)


def _first_center(offered: Round, stream: Stream) -> tuple[Nearest, list[Floats]]:
    """Distances to the centers so far, after a uniform first pick if there were none."""
    batch, found = offered.batch, offered.found
    if len(found):
        return offered.nearest(found), []
    uniform = offered.nearest(found)
    total = uniform.total()
    if total:
        (share,) = stream.shares(1).tolist()
        first = batch.take(uniform.find([total * share >> 53]))
    else:  # no row has a direction
        weights = batch.weights()
        fill = np.ones(offered.rows) if weights is None else weights
        first = batch.take(stream.weighted(fill, 1))
    return offered.nearest(first), [first]


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
    mass = np.ones(rows) if weights is None else weights
    if len(offered.found):
        first, before = offered.found[:1], []
    else:
        first = batch.take(offered.stream().weighted(mass, 1))
        before = [first]
    far = batch.distances(first) * mass
    total = np.cumsum(far)[-1]
    proposal = mass / np.cumsum(mass)[-1]
    if total > 0:
        proposal = 0.5 * far / total + 0.5 * proposal
    cumulative = np.cumsum(proposal)
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
        mass = np.ones(offered.rows) if weights is None else weights
        chosen.append(offered.batch.take(offered.stream(1).weighted(mass, 1)))
    at_once = max(1, CHAIN_ROWS // offered.parameters.kmc2_chain_length)
    while len(chosen) < chains:
        _some_chains(offered, min(at_once, chains - len(chosen)), candidates, weights, chosen)
    return np.concatenate(chosen)


def _some_chains(
    offered: Round,
    chains: int,
    candidates: Candidates,
    weights: Floats | None,
    chosen: list[Floats],
) -> None:
    """Append to ``chosen`` where the next chains end.

    What they propose does not depend on the centers, so its distance to those that were chosen
    before all of these chains is measured at once.
    """
    first = len(chosen)
    streams = [offered.stream(first + chain + 1) for chain in range(chains)]
    proposed = [candidates(first + chain, stream) for chain, stream in enumerate(streams)]
    rows = offered.batch.take(np.concatenate([indices for indices, _ in proposed]))
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
                mine = offered.batch.take(indices)
                distances = offered.measure(mine, np.concatenate([offered.found, *chosen]))
            mass = distances if weights is None else distances * weights[indices]
            last = run_chain(mass, proposal, stream.uniform(len(indices)))
            if mass[last] > 0:
                chosen.append(mine[last : last + 1])
                break
        else:
            centers = np.concatenate([offered.found, *chosen])
            chosen.append(_by_full_pass(offered, centers, stream))


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


def _by_full_pass(offered: Round, centers: Floats, stream: Stream) -> Floats:
    """Draw a row by its distance: where chains only met rows that are centers already."""
    weights = offered.batch.weights()
    likely = offered.likely(offered.batch.distances(centers), weights)
    if not likely.any():
        _say_repeated(1)
        likely = np.ones(offered.rows) if weights is None else weights
    return offered.batch.take(stream.weighted(likely, 1))


def _all_rows(offered: Round) -> Floats:
    weights = offered.batch.weights()
    if weights is None:
        return offered.batch.take(np.arange(offered.rows))
    return offered.batch.take(np.flatnonzero(weights > 0))


def _say_repeated(number: int) -> None:
    warnings.warn(
        f"the data has fewer distinct rows than clusters: {number} of the centers repeat others",
        UserWarning,
        stacklevel=2,
    )


def _called(offered: Round, choose: Callable[[list[Floats], int], Any]) -> Floats:
    """Rows from the user's own function, checked."""
    dim = len(offered.batch.scan().magnitude)
    answer = choose(offered.inputs, offered.remaining)
    try:
        rows = np.asarray(answer)
    except ValueError as error:
        raise BadInputError(f"initial_clusters returned a ragged array: {error}") from None
    if rows.size == 0:
        return np.empty((0, dim))
    if rows.ndim != 2 or rows.shape[1] != dim or rows.dtype.kind not in "fiu":
        raise BadInputError(
            f"initial_clusters returned an array of shape {rows.shape} and dtype {rows.dtype}; "
            f"it must give numbers of shape (m, {dim}) with 0 <= m <= remaining"
        )
    if len(rows) > offered.remaining:
        raise BadInputError(
            f"initial_clusters returned {len(rows)} rows where {offered.remaining} were missing: "
            "give at most 'remaining' rows"
        )
    dtype = offered.found.dtype
    with np.errstate(over="ignore"):
        stored = rows.astype(dtype)
    if not np.isfinite(stored).all():
        row, column = np.argwhere(~np.isfinite(stored))[0]
        raise BadInputError(
            f"initial_clusters returned {rows[row, column]} in row {row}, column {column}: "
            f"every value must be finite in {dtype}, the dtype of the data"
        )
    check_magnitude(stored, offered.parameters.distance_metric, "initial_clusters() result")
    return stored


METHODS: dict[str, Callable[[Round], Floats]] = {
    RANDOM_INIT: random,
    KMEANS_PLUS_PLUS_INIT: plus_plus,
    KMC2_INIT: kmc2,
    AFKMC2_INIT: afkmc2,
}
