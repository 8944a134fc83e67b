"""The mini-batch step: each center is the running mean of its rows (Sculley 2010).

Generalised, as the original has it, with two copies of the centers: one is trained, the other
assigns rows and takes over every ``mini_batch_steps_per_iteration`` steps.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt

from shoal.config import Parameters
from shoal.executors.data import Data
from shoal.metric import as_stored
from shoal.shards.kernels import running_means_of
from shoal.sources.sparse import dense
from shoal.state import Partial, State
from shoal.steps.random import REASSIGNING, Random

logger = logging.getLogger("shoal")


def start(state: State, parameters: Parameters) -> State:
    """Prepare freshly chosen centers for mini-batch steps."""
    period = parameters.mini_batch_steps_per_iteration
    k = parameters.num_clusters
    if period <= 1:  # the initial center is one observation
        return state.replace(counts=np.ones(k), update_in_steps=0)
    return state.replace(counts=np.zeros(k), update_in_steps=period)


def resume(state: State, parameters: Parameters) -> State:
    """Prepare trained centers: a period begins where the state is not within one."""
    if state.clusters_before is not None:
        state = state.replace(clusters_before=None)
    if parameters.mini_batch_steps_per_iteration <= 1:
        within = state.update_in_steps == 0 and len(state.counts) == parameters.num_clusters
    else:
        within = 0 < state.update_in_steps <= parameters.mini_batch_steps_per_iteration
    return state if within else start(state, parameters)


def step(state: State, data: Data, parameters: Parameters) -> tuple[State, Partial]:
    """Assign the batch with ``clusters``, train ``clusters_updated``, sync if it is time."""
    partial = data.assign(state.clusters)
    after = applied(state, partial, parameters)
    if parameters.mini_batch_steps_per_iteration <= 1 and parameters.reassignment_ratio > 0:
        after = _reassigned(state, after, data, parameters)
    return after, partial


def applied(state: State, partial: Partial, parameters: Parameters) -> State:
    """The state behind a batch that was assigned: trained further, and synced if it is time."""
    threads = parameters.num_threads
    updated = running_means_of(partial, state.clusters_updated, state.counts, threads)
    clusters, counts = state.clusters, state.counts + partial.weights
    left = state.update_in_steps
    if parameters.mini_batch_steps_per_iteration <= 1:
        clusters = updated
    elif left > 1:
        left -= 1
    else:
        clusters = as_stored(updated, parameters.distance_metric)
        counts, left = np.zeros_like(counts), parameters.mini_batch_steps_per_iteration
    return state.replace(
        clusters=clusters,
        clusters_updated=updated,
        counts=counts,
        update_in_steps=left,
        global_step=state.global_step + 1,
    )


def reassign(
    state: State,
    data: Data,
    parameters: Parameters,
    ratio: float,
    key: int,
    lost: npt.NDArray[np.bool_] | None = None,
) -> tuple[State, int]:
    """Move clusters of little weight to rows of the batch, and say how many.

    Those below ``ratio`` times the largest weight, at most half as many as the batch has rows, get
    rows drawn by ``key`` and the smallest weight of the others, as scikit-learn does it. ``lost``
    [k]: so do these.
    """
    counts = state.counts
    few = counts < ratio * counts.max()
    low = np.flatnonzero(few if lost is None else few | lost)
    low = low[np.argsort(counts[low], kind="stable")][: data.scan().positive // 2]
    if len(low) == 0:
        return state, 0
    rows = dense(data.some(len(low), key)).astype(state.clusters.dtype)
    low = low[: len(rows)]
    clusters, counts = state.clusters_updated.copy(), counts.copy()
    clusters[low] = as_stored(rows, parameters.distance_metric)
    counts[low] = np.delete(counts, low).min()
    return state.replace(clusters=clusters, clusters_updated=clusters, counts=counts), len(low)


def _reassigned(before: State, state: State, data: Data, parameters: Parameters) -> State:
    """The same by the parameters: once per 10 k rows, by their weight."""
    period = 10.0 * parameters.num_clusters
    if before.counts.sum() // period == state.counts.sum() // period:
        return state
    key = int(Random(state.seed, REASSIGNING, state.global_step).shares(1)[0])
    state, moved = reassign(state, data, parameters, parameters.reassignment_ratio, key)
    if moved:
        logger.info("step %d: %d clusters moved to rows", state.global_step, moved)
    return state
