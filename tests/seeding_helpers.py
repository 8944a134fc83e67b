"""Centers chosen many times, and what their distribution is compared with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from statistics_helpers import LEVEL

import shoal
from shoal.state import empty_state

GOLDEN = Path(__file__).parent / "golden"
SEEDS = range(2000)
FEWER = range(1000)
#: How far a mean may be from the other, in standard errors of their difference.
STANDARD_ERRORS = 4

METRICS = ("squared_euclidean", "cosine")
#: Those that go by distance: a row that is a center already is never drawn.
BY_DISTANCE = ("kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2")
#: ... of which these draw each center in proportion to its distance, if candidates are enough.
BY_MASS = ("kmeans_plus_plus", "kmc2", "afkmc2")

Array = Any

with np.load(GOLDEN / "kmeans_plus_plus.npz") as _file:
    RECORDED = dict(_file)
ROWS = RECORDED["X"]
K = 4
RETRIES = {"0": 0, "1": 1, "2": 2, "5": 5, "neg": -1}


def seeded(inputs: Any, k: int, method: Any, **options: Any) -> shoal.State:
    """The state with all centers chosen; options are those of KMeans."""
    program = shoal.KMeans(inputs, k, method, **{"num_threads": 1, **options})
    return finish(program)


def finish(program: shoal.KMeans) -> shoal.State:
    graph = program.training_graph()
    for _ in range(1000):
        if graph.cluster_centers_initialized:
            return program.state
        graph.init_op()
    raise AssertionError("not initialized after 1000 batches")


def continued(inputs: Any, k: int, method: str, center: Array, **options: Any) -> Array:
    """All k centers [k, d] where ``center`` [1, d] had been chosen before."""
    program = shoal.KMeans(inputs, k, method, num_threads=1, **options)
    center = center.copy()
    state = empty_state(center.shape[1], center.dtype, options.get("random_seed", 0))
    program._state = state.replace(clusters=center, clusters_updated=center, counts=np.zeros(1))
    return finish(program).clusters


def indices_of(rows: Array, centers: Array) -> Array:
    """Which row each center is; rows must differ."""
    where = {row.tobytes(): i for i, row in enumerate(rows)}
    assert len(where) == len(rows)
    return np.array([where[center.tobytes()] for center in centers])


def squared(rows: Array) -> Array:
    """Squared distances [n, n]."""
    wide = rows.astype(np.float64)
    return ((wide[:, None] - wide) ** 2).sum(axis=2)


BETWEEN = squared(ROWS)


def potentials(picks: Array) -> Array:
    """Sum of squared distances to the nearest pick, for each row of picks [seeds, k]."""
    return BETWEEN[picks].min(axis=1).sum(axis=1)


def counts(picks: Array, n: int) -> Array:
    return np.bincount(picks, minlength=n)


def assert_likely(p_value: float, what: str) -> None:
    print(f"{what}: p = {p_value:.3g}")
    assert p_value > LEVEL, what


def assert_same_mean(first: Array, second: Array, what: str) -> None:
    error = math.hypot(first.std() / math.sqrt(len(first)), second.std() / math.sqrt(len(second)))
    print(f"{what}: means {first.mean():.1f} and {second.mean():.1f}, standard error {error:.1f}")
    assert abs(first.mean() - second.mean()) < STANDARD_ERRORS * error
