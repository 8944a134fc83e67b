"""How shoal is called: every way in which the benchmarks use it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import shoal
from benchmarks.data import Rows
from shoal import _core


def assign(rows: Rows, centers: Rows, labels: npt.NDArray[np.int32], threads: int) -> None:
    """Run one assignment pass of the core for the labels, without checks of the arguments."""
    _core.assign(rows, None, centers, False, threads, labels, None, False)


def loss(rows: Rows, centers: Rows, threads: int) -> float:
    """Return the loss of an assignment pass."""
    _, units, _ = _core.assign(rows, None, centers, False, threads, None, None)
    return float(units / 2**1074)  # the exact loss, an integer in units of 2**-1074


def estimator(centers: Rows, threads: int, **options: Any) -> Any:
    """Return an estimator that starts from the given centers and makes full-batch steps."""
    given = {"use_mini_batch": False, **options}
    return shoal.KMeansClustering(
        len(centers), initial_clusters=centers, num_threads=threads, **given
    )


def train(rows: Rows, centers: Rows, steps: int | None, threads: int, **options: Any) -> Any:
    """Train for some steps, or until no label changes; return the estimator."""
    return estimator(centers, threads, **options).fit(rows, steps=steps)


def seed(
    rows: Rows, k: int, method: str, random_seed: int, threads: int, **options: Any
) -> npt.NDArray[Any]:
    """Choose first centers from all rows and return them."""
    program = shoal.KMeans(rows, k, method, random_seed=random_seed, num_threads=threads, **options)
    program.training_graph().init_op()
    return np.asarray(program.state.clusters)
