"""Mini-batch steps write over the arrays of the step before, and nothing that is kept shows it."""

from __future__ import annotations

import copy
import itertools
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import shoal
from shoal.shards.workspace import Workspace

Array = npt.NDArray[Any]

K, D, ROWS = 500, 40, 10_000
#: What a step may allocate beside its new state: the weight of each cluster, and small objects.
#: Less than labels (40,000 bytes), sums (164,000) or anything of the size of the centers.
LEFT = 8 * K + 20_000


def batches(dtype: str, seed: int = 1) -> list[Array]:
    return list(np.random.default_rng(seed).normal(size=(3, ROWS, D)).astype(dtype))


def partial_fit(metric: str, given: Iterator[Array], first: Array) -> Callable[[], object]:
    model = shoal.KMeansClustering(K, None, first, metric, num_threads=2)
    return lambda: model.partial_fit(next(given))


def training_op(metric: str, given: Iterator[Array], first: Array) -> Callable[[], object]:
    program = shoal.KMeans(given, K, first, metric, use_mini_batch=True, num_threads=2)
    return program.training_graph().training_op


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("way", [partial_fit, training_op])
def test_a_step_allocates_its_new_state_and_little_else(
    way: Callable[..., Callable[[], object]], dtype: str, metric: str
) -> None:
    rows = batches(dtype)
    first = rows[0][:K].astype(np.float64 if dtype == "float64" else np.float32)
    step = way(metric, itertools.cycle(rows), first)
    step()
    tracemalloc.start()
    try:
        step()  # what Python itself allocates the first time it is watched
        peaks = []
        for _ in range(4):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            step()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    state = first.nbytes + 8 * K  # centers and counts
    assert max(peaks) < state + LEFT


def test_states_are_values() -> None:
    rows = batches("float32")
    program = shoal.KMeans(itertools.cycle(rows), K, rows[0][:K], use_mini_batch=True)
    step = program.training_graph().training_op
    kept = []
    for _ in range(5):
        step()
        state = program.state
        arrays = (state.clusters, state.clusters_updated, state.counts)
        kept.append((arrays, [array.copy() for array in arrays]))
    for arrays, copies in kept:
        for array, before in zip(arrays, copies, strict=True):
            np.testing.assert_array_equal(array, before)


def test_sizes_that_a_monitor_keeps_stay_as_they_were() -> None:
    kept = []

    class Keeping:
        def after_step(self, context: Any) -> None:
            kept.append((context.cluster_sizes, context.cluster_sizes.copy()))

    rows = np.concatenate(batches("float32"))
    for use_mini_batch in (False, True):
        model = shoal.KMeansClustering(K, use_mini_batch=use_mini_batch)
        model.fit(rows, steps=5, monitors=[Keeping()])
    assert len(kept) == 10
    for sizes, before in kept:
        np.testing.assert_array_equal(sizes, before)


def test_batches_of_all_sizes_and_dtypes_in_any_order_give_the_bits_of_fresh_arrays() -> None:
    rng = np.random.default_rng(7)
    first = rng.normal(size=(20, 6)).astype(np.float32)
    model, fresh = (shoal.KMeansClustering(20, initial_clusters=first) for _ in range(2))
    for size in (400, 30, 700, 1, 700, 90):
        for dtype in ("float32", "float16", "float64"):
            rows = rng.normal(size=(size, 6)).astype(dtype)
            weights = rng.random(size) if size % 4 == 0 else None
            data: Any = rows if weights is None else shoal.Weighted(rows, weights)
            for shards in (data, [data, data]):
                fresh._workspace = Workspace()
                model.partial_fit(shards)
                fresh.partial_fit(shards)
                np.testing.assert_array_equal(model.clusters(), fresh.clusters())
                assert model.score(shards) == fresh.score(shards)


def test_a_failed_step_leaves_nothing_behind() -> None:
    rng = np.random.default_rng(8)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    bad = rows.copy()
    bad[5, 1] = np.nan
    model, other = (shoal.KMeansClustering(9, initial_clusters=rows[:9]) for _ in range(2))
    model.partial_fit(rows)
    other.partial_fit(rows)
    with pytest.raises(shoal.BadInputError):
        model.partial_fit(bad)
    model.partial_fit(rows[:200])
    other.partial_fit(rows[:200])
    np.testing.assert_array_equal(model.clusters(), other.clusters())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_of_a_model_have_arrays_of_their_own(duplicate: Callable[[Any], Any]) -> None:
    rows = batches("float32")
    model = shoal.KMeansClustering(K, initial_clusters=rows[0][:K]).partial_fit(rows[0])
    twin = duplicate(model)
    assert len(pickle.dumps(model)) < 4 * rows[0][:K].nbytes
    model.partial_fit(rows[1])
    twin.partial_fit(rows[1])
    np.testing.assert_array_equal(model.clusters(), twin.clusters())


class Watching:
    def __init__(self) -> None:
        self.first: list[Array] = []

    def after_step(self, context: Any) -> None:
        if context.step == 1:
            self.first.append(context.clusters)


def test_threads_that_train_one_model_share_no_arrays() -> None:
    """Which of them is last is open; each makes its step as if it were alone."""
    rows = batches("float32")[0]
    alone, watching = Watching(), Watching()
    shoal.KMeansClustering(K, initial_clusters=rows[:K]).partial_fit(rows, monitors=[alone])
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            model = shoal.KMeansClustering(K, initial_clusters=rows[:K])
            calls = [pool.submit(model.partial_fit, rows, monitors=[watching]) for _ in range(2)]
            for call in calls:
                call.result()
    assert len(watching.first) >= 10
    for clusters in watching.first:
        np.testing.assert_array_equal(clusters, alone.first[0])
