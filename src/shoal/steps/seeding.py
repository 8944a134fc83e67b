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
from shoal.executors.data import Data
from shoal.executors.potential import Potential
from shoal.metric import as_stored, check_magnitude
from shoal.shards.values import Drawn, joined
from shoal.sources.foreign import to_array
from shoal.sources.sparse import as_given, dense, without_gaps
from shoal.state import State, empty_state
from shoal.steps.algorithm import chosen as chosen_algorithm
from shoal.steps.chains import afkmc2, kmc2
from shoal.steps.random import Random
from shoal.steps.round import Round, say_if_repeated
from shoal.types import Floats

#: A callable may give no rows for this many batches in a row, no more.
MOST_IDLE_ROUNDS = 100
#: Picks of k-means++ between two moments at which a run can be stopped and its progress is told,
#: and how many values of rows they may pass over together, if there are several.
PICKS_AT_ONCE = 64
PICKED_VALUES = 1 << 24


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
    return ready(State(centers, centers, counts, 0, False, 0, parameters.random_seed), parameters)


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


def plus_plus(offered: Round) -> Floats:
    """k-means++ (Arthur & Vassilvitskii 2007), greedy over 1 + retries candidates per pick.

    Each pick is drawn in proportion to weight times distance to the nearest center so far; of the
    candidates, the one with the lowest resulting potential wins, the first on equality.
    """
    return dense(_picked(offered).rows)


def picked(data: Data, parameters: Parameters, seed: int) -> npt.NDArray[np.int64]:
    """Indices of the rows that k-means++ chooses, with the seed of a state, as first centers."""
    none = empty_state(len(data.scan().magnitude), np.float64, seed)
    return _picked(Round(data, none, parameters)).indices


def _picked(offered: Round) -> Drawn:
    if offered.too_few:
        return offered.data.take(None)
    retries = offered.parameters.kmeans_plus_plus_num_retries
    if retries < 0:
        retries = 2 + math.floor(math.log(offered.remaining))
    random = offered.random()
    potential, chosen = _first_center(offered, random)
    missing = offered.remaining - len(chosen)
    values = offered.rows * offered.found.shape[1]
    at_once = max(1, min(PICKS_AT_ONCE, PICKED_VALUES // values))
    while missing:
        offered.tell(offered.remaining - missing)
        draws = random.shares(min(missing, at_once), 1 + retries)
        rows = potential.pick(draws)
        done = 0 if rows is None else len(rows.indices)
        if rows is not None:
            chosen.append(rows)
        missing -= done
        if done < len(draws):  # every row is a center already
            chosen.append(offered.drawn(random, missing))
            break
    potential.close()
    return joined(chosen)


def _first_center(offered: Round, random: Random) -> tuple[Potential, list[Drawn]]:
    """Distances to the centers so far, after a uniform first pick if there were none."""
    found = offered.found
    if len(found):
        return offered.potential(found), []
    if not offered.weighted and not offered.cosine:  # rows have the same mass: the same row
        index = offered.rows * int(random.shares(1)[0]) >> 53
        first = offered.data.take(np.array([index]))
        return offered.potential(dense(first.rows)), [first]
    even = offered.potential(found)
    # Without mass, no row has a direction.
    first = even.draw_by(random.shares(1)) if even.mass() else offered.drawn(random, 1)
    even.close()
    return offered.potential(dense(first.rows)), [first]


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
}
