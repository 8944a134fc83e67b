"""Choosing the first centers, batch after batch until there are enough.

All methods see a batch as one sequence of rows, whatever its shards, and measure distances in
float64, so a seed gives the same centers for any split of the data and any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
from shoal.dtypes import is_bfloat16
from shoal.errors import BadInputError
from shoal.executors.base import Executor
from shoal.metric import as_stored, check_magnitude
from shoal.shards.potential import Nearest
from shoal.sources.sparse import Matrix, as_given, without_gaps
from shoal.sources.tensors import to_array
from shoal.state import State
from shoal.steps import minibatch
from shoal.steps.chains import afkmc2, kmc2
from shoal.steps.random import Stream
from shoal.steps.round import Round, say_if_repeated

Floats = npt.NDArray[np.floating[Any]]

#: A callable may give no rows for this many batches in a row, no more.
MOST_IDLE_ROUNDS = 100
#: Picks of k-means++ between two moments at which a run can be stopped and its progress is told,
#: and how many values of rows they may pass over together, if there are several.
PICKS_AT_ONCE = 64
PICKED_VALUES = 1 << 24


def step(
    state: State,
    batch: Executor,
    inputs: list[Matrix],
    parameters: Parameters,
    whole: bool,
    told: Callable[[int], None] | None = None,
) -> State:
    """Choose centers from one batch: at most as many as are missing.

    ``told`` hears how many centers there are, while they are chosen.
    """
    remaining = parameters.num_clusters - state.num_found
    offered = Round(
        batch,
        inputs,
        whole,
        state.clusters,
        remaining,
        (state.seed, state.seeding_rounds),
        parameters,
        told,
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
    if len(clusters) < parameters.num_clusters:
        offered.tell(len(stored))
        return after
    if not callable(parameters.initial_clusters):
        say_if_repeated(offered, clusters)
    return ready(after, parameters)


def given(parameters: Parameters) -> State:
    """The state of centers that were given: no batch is used up."""
    centers = as_stored(np.array(parameters.initial_clusters), parameters.distance_metric)
    counts = np.zeros(len(centers))
    return ready(State(centers, centers, counts, 0, False, 0, parameters.random_seed), parameters)


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
    values = offered.rows * offered.found.shape[1]
    at_once = max(1, min(PICKS_AT_ONCE, PICKED_VALUES // values))
    while missing:
        offered.tell(offered.remaining - missing)
        draws = stream.shares(min(missing, at_once), 1 + retries)
        picked = nearest.pick(draws)
        if len(picked):
            chosen.append(batch.take(picked))
        missing -= len(picked)
        if len(picked) < len(draws):  # every row is a center already
            chosen.append(batch.take(stream.rows(offered.rows, missing, weights)))
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
        first = batch.take(stream.rows(offered.rows, 1, batch.weights()))
    offered.tell(1)
    return offered.nearest(first), [first]


def _all_rows(offered: Round) -> Floats:
    weights = offered.batch.weights()
    if weights is None:
        return offered.batch.take(np.arange(offered.rows))
    return offered.batch.take(np.flatnonzero(weights > 0))


def _called(offered: Round, choose: Callable[[list[Any], int], Any]) -> Floats:
    """Rows from the user's own function, checked."""
    dim = len(offered.batch.scan().magnitude)
    answer = choose(list(map(as_given, offered.inputs)), offered.remaining)
    given = to_array(without_gaps(answer), "initial_clusters() result")
    try:
        rows = np.asarray(given)
    except ValueError as error:
        raise BadInputError(f"initial_clusters returned a ragged array: {error}") from None
    if rows.size == 0:
        return np.empty((0, dim))
    real = rows.dtype.kind in "fiub" or is_bfloat16(rows.dtype)
    if rows.ndim != 2 or rows.shape[1] != dim or not real:
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
