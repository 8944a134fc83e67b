"""Choosing the first centers, batch after batch until there are enough.

All methods see a batch as one sequence of rows, whatever its shards, and measure distances in
float64, so a seed gives the same centers for any split of the data and any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shoal.config import (
    AFKMC2_INIT,
    KMC2_INIT,
    KMEANS_PARALLEL_INIT,
    KMEANS_PLUS_PLUS_INIT,
    RANDOM_INIT,
    Parameters,
)
from shoal.dtypes import is_bfloat16
from shoal.errors import BadInputError
from shoal.metric import as_stored, check_magnitude
from shoal.sources.foreign import to_array
from shoal.sources.sparse import as_given, dense, without_gaps
from shoal.state import State
from shoal.steps.algorithm import chosen as chosen_algorithm
from shoal.steps.chains import afkmc2, kmc2
from shoal.steps.parallel import parallel
from shoal.steps.plus_plus import plus_plus
from shoal.steps.round import Round, say_if_repeated
from shoal.types import Floats

#: A callable may give no rows for this many batches in a row, no more.
MOST_IDLE_ROUNDS = 100


def step(offered: Round) -> State:
    """Choose centers from one batch: at most as many as are missing."""
    state, parameters = offered.state, offered.parameters
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


def from_centers(parameters: Parameters) -> State:
    """The state of centers that were given: no batch is used up."""
    centers = as_stored(np.array(parameters.initial_clusters), parameters.distance_metric)
    counts = np.zeros(len(centers))
    state = State(centers, centers, counts, 0, True, 0, parameters.random_seed)
    return chosen_algorithm(parameters).start(state, parameters)


def ready(state: State, parameters: Parameters) -> State:
    """Mark the centers as complete and prepare them for the first step."""
    state = state.replace(initialized=True, clusters_updated=state.clusters)
    return chosen_algorithm(parameters).start(state, parameters)


def random(offered: Round) -> Floats:
    """Draw rows uniformly (in proportion to weight) without replacement."""
    if offered.too_few:
        return _all_rows(offered)
    random = offered.random()
    if not offered.weighted:
        chosen = random.without_replacement(offered.rows, offered.remaining)
        return dense(offered.data.take(chosen).rows)
    parts: list[Floats] = []
    found = np.empty(0, np.int64)
    while len(found) < offered.remaining:  # rows drawn twice count once, and more are drawn
        drawn = offered.drawn_without(random, offered.remaining - len(found), found)
        _, first = np.unique(drawn.indices, return_index=True)
        drawn = drawn.at(np.sort(first))
        found = np.concatenate([found, drawn.indices])
        parts.append(dense(drawn.rows))
    return np.concatenate(parts)


def _all_rows(offered: Round) -> Floats:
    return dense(offered.data.take(None).rows)


def _called(offered: Round, choose: Callable[[list[Any], int], Any]) -> Floats:
    """Rows from the user's own function, checked."""
    dim = len(offered.data.scan().magnitude)
    answer = choose(list(map(as_given, offered.inputs())), offered.remaining)
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
    KMEANS_PARALLEL_INIT: parallel,
}
