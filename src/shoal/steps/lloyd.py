"""The full-batch step: every center moves to the mean of its rows (Lloyd 1982)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from shoal.config import Parameters
from shoal.errors import BadInputError
from shoal.executors.data import Data
from shoal.shards.kernels import means_of, row_sums
from shoal.state import Partial, State
from shoal.types import Floats


def start(state: State, parameters: Parameters) -> State:
    """Freshly chosen centers may first be trained on a sample."""
    if parameters.start_on_sample is None:
        return state
    return state.replace(sample_steps_left=parameters.start_on_sample.steps)


def resume(state: State, parameters: Parameters) -> State:
    """Trained centers need nothing either: ``clusters_before`` tells of which step labels were."""
    del parameters
    return state


def step(state: State, data: Data, parameters: Parameters) -> tuple[State, Partial]:
    """Assign all rows, move every center, and return what was found before the move."""
    found = partial = data.assign(state.clusters)
    if np.count_nonzero(found.weights) < len(found.weights):
        empty = np.flatnonzero(found.weights == 0)
        if parameters.empty_clusters == "error":
            raise BadInputError(
                f"cluster {empty[0]} has no rows at step {state.global_step} "
                "(empty_clusters='error'). Use fewer clusters or empty_clusters='relocate'"
            )
        if parameters.empty_clusters == "relocate":
            partial = relocate(found, empty, state.clusters, data, parameters)
    metric, threads = parameters.distance_metric, parameters.num_threads
    clusters = means_of(partial, state.clusters, metric, threads)
    counts = partial.weights
    moved = state.replace(
        clusters=clusters,
        clusters_updated=clusters,
        clusters_before=state.clusters,
        counts=counts,
        global_step=state.global_step + 1,
    )
    return moved, found


def relocate(
    partial: Partial,
    empty: npt.NDArray[np.int64],
    clusters: Floats,
    data: Data,
    parameters: Parameters,
) -> Partial:
    """Give each empty cluster the row with the largest weight times distance to its center.

    It goes to the lowest empty index, rows in order of their index on equality. The
    row leaves its old cluster's sum. Rows at distance zero, rows of no weight or direction and the
    last row of a cluster stay; clusters for which no row is left stay where they are.
    """
    # At most one row of each cluster is passed over, its last.
    far = data.farthest(clusters, len(empty) + len(clusters))
    left = far.counts.copy()
    rows: list[int] = []
    sources: list[int] = []
    for row, old in zip(far.rows.tolist(), far.labels.tolist(), strict=True):
        if len(rows) == len(empty):
            break
        if left[old] < 2:
            continue
        left[old] -= 1
        sources.append(old)
        rows.append(row)
    if not rows:
        return partial
    drawn = data.take(np.asarray(rows, np.int64))
    metric, threads = parameters.distance_metric, parameters.num_threads
    moved = row_sums(drawn.rows, drawn.weights, metric, threads, partial.grid)
    sums = partial.sums.copy()
    for i, (source, target) in enumerate(zip(sources, empty, strict=False)):
        sums[:, source] -= moved[:, i]
        sums[:, target] += moved[:, i]
    return replace(partial, sums=sums)
