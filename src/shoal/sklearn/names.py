"""scikit-learn's words for what the engine has its own for."""

from __future__ import annotations

import os

from shoal.checks import whole_number
from shoal.config import LARGEST_COUNT
from shoal.machine import available_threads
from shoal.metric import COSINE_DISTANCE, SQUARED_EUCLIDEAN_DISTANCE

#: What ``init`` is called here, and the engine's word for it.
SEEDINGS = {
    "k-means++": "kmeans_plus_plus",
    "random": "random",
    "k-means||": "kmeans_parallel",
    "k-mc2": "kmc2",
    "afk-mc2": "afkmc2",
}
METRICS = {"euclidean": SQUARED_EUCLIDEAN_DISTANCE, "cosine": COSINE_DISTANCE}


def threads_of(n_threads: int | None) -> int:
    """How many threads may work: as given, else as many as the process may use.

    ``OMP_NUM_THREADS`` counts, by which joblib shares the processors out among its workers.
    """
    if n_threads is not None:
        return whole_number("n_threads", n_threads, 1, LARGEST_COUNT)
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    here = available_threads()
    return max(1, min(here, int(allowed))) if allowed.isdecimal() else here
