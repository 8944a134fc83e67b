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
from shoal.shard import nearest
from shoal.state import State, empty_state
from shoal.steps import minibatch
from shoal.steps.random import SEEDING, Stream

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.int64]

#: A callable may give no rows for this many batches in a row, no more.
MOST_IDLE_ROUNDS = 100
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

    def likely(self, distances: Floats, weights: Floats | None = None) -> Floats:
        """What rows are drawn by: weight times distance, 0 where a center is already.

        Under cosine, centers are rounded to length one, so a row is not quite at its own center.
        """
        rounding = 2 * np.finfo(self.found.dtype).eps if self.cosine else 0.0
        distant = np.where(distances > rounding**2, distances, 0.0)
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
    nearest, chosen = _first_distances(offered, stream)
    for _ in range(offered.remaining - len(chosen)):
        likely = offered.likely(nearest, weights)
        if not likely.any():
            _say_repeated(offered.remaining - len(chosen))
            fill = np.ones(offered.rows) if weights is None else weights
            return np.concatenate(
                [*chosen, batch.take(stream.weighted(fill, offered.remaining - len(chosen)))]
            )
        candidates = batch.take(stream.weighted(likely, 1 + retries))
        best = 0
        if retries:
            potentials = batch.lower(candidates, nearest)
            best = potentials.index(min(potentials))
        pick = candidates[best : best + 1]
        batch.lower(pick, nearest, update=True)
        chosen.append(pick)
    return np.concatenate(chosen)


def _first_distances(offered: Round, stream: Stream) -> tuple[Floats, list[Floats]]:
    """Distance [n] to the centers so far, after a uniform first pick if there were none."""
    batch = offered.batch
    if len(offered.found):
        nearest = batch.distances(offered.found)
        batch.lower(offered.found[:1], nearest, update=True)  # 0 for rows without direction
        return nearest, []
    weights = batch.weights()
    nearest = np.full(offered.rows, np.inf)
    if offered.cosine:
        batch.lower(batch.take(np.zeros(1, np.int64)), nearest)  # 0 for rows without direction
    eligible = (nearest > 0).astype(np.float64)
    if weights is not None:
        eligible *= weights
    if not eligible.any():
        eligible[:] = 1 if weights is None else weights
    first = batch.take(stream.weighted(eligible, 1))
    batch.lower(first, nearest, update=True)
    return nearest, [first]


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
    far = np.full(rows, np.inf)
    batch.lower(first, far, update=True)
    far *= mass
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
    candidates: Callable[[int, Stream], tuple[Indices, Floats]],
    weights: Floats | None,
    before: list[Floats] | None = None,
) -> Floats:
    """One Markov chain per center, each with a random stream of its own."""
    chosen = list(before or [])
    for chain in range(len(chosen), chains):
        stream = offered.stream(chain + 1)
        if len(offered.found) + len(chosen) == 0:
            mass = np.ones(offered.rows) if weights is None else weights
            chosen.append(offered.batch.take(stream.weighted(mass, 1)))
            continue
        centers = np.concatenate([offered.found, *chosen])
        pick = None
        for _ in range(CHAIN_TRIES):
            indices, proposal = candidates(chain, stream)
            rows = offered.batch.take(indices)
            target = offered.measure(rows, centers)
            if weights is not None:
                target = target * weights[indices]
            end = run_chain(target, proposal, stream.uniform(len(indices)))
            if target[end] > 0:
                pick = rows[end : end + 1]
                break
        chosen.append(_by_full_pass(offered, centers, stream) if pick is None else pick)
    return np.concatenate(chosen)


def run_chain(target: Floats, proposal: Floats, uniform: Floats) -> int:
    """Index on which a Metropolis-Hastings chain over successive candidates ends.

    A candidate y replaces x with probability min(1, target_y proposal_x / (target_x proposal_y)).
    """
    current = 0
    for i in range(1, len(target)):
        if uniform[i] * target[current] * proposal[i] < target[i] * proposal[current]:
            current = i
    return current


def _by_full_pass(offered: Round, centers: Floats, stream: Stream) -> Floats:
    """Draw a row by its distance: where chains only met rows that are centers already."""
    nearest = offered.batch.distances(centers)
    offered.batch.lower(centers[:1], nearest, update=True)
    weights = offered.batch.weights()
    likely = offered.likely(nearest, weights)
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
