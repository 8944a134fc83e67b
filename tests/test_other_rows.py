"""The training program: evaluations of other rows than the current batch, and its centers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import shoal

X = np.random.default_rng(3).normal(size=(40, 3))
NEW = np.random.default_rng(4).normal(size=(9, 3))
metrics = pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])


def trained(inputs: Any = X, **more: Any) -> shoal.KMeans:
    program = shoal.KMeans(inputs, 4, initial_clusters="kmeans_plus_plus", **more)
    graph = program.training_graph()
    while not graph.cluster_centers_initialized:
        graph.init_op()
    graph.training_op()
    return program


def distances(rows: np.ndarray[Any, Any], centers: np.ndarray[Any, Any], metric: str) -> Any:
    if metric == "cosine":
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return 1 - rows @ centers.T
    return ((rows[:, None] - centers) ** 2).sum(axis=2)


@metrics
def test_other_rows_are_evaluated_with_the_same_centers(metric: str) -> None:
    program = trained(distance_metric=metric)
    graph = program.training_graph()
    truth = distances(NEW, program.clusters, metric)
    assert np.allclose(graph.all_scores(NEW), truth, rtol=1e-12, atol=1e-14)
    assert graph.cluster_idx(NEW).tolist() == truth.argmin(axis=1).tolist()
    assert graph.cluster_idx(NEW).dtype == np.int64
    assert np.array_equal(graph.scores(NEW), graph.all_scores(NEW).min(axis=1))


def test_the_current_batch_stays_what_it_was() -> None:
    program = trained(lambda: iter([X[:20], X[20:]]))
    graph = program.training_graph()
    before = graph.cluster_idx()
    assert graph.cluster_idx(NEW).shape == (9,)
    assert np.array_equal(graph.cluster_idx(), before)


def test_other_rows_may_be_shards_and_inputs_too() -> None:
    graph = trained([X[:10], X[10:]]).training_graph()
    assert isinstance(graph.cluster_idx(NEW), np.ndarray)
    parts = graph.cluster_idx([NEW[:2], NEW[2:]])
    assert [len(part) for part in parts] == [2, 7]
    assert np.array_equal(np.concatenate(parts), graph.cluster_idx(NEW))
    (alone,) = graph.scores([NEW])
    assert np.array_equal(alone, graph.scores(NEW))


def test_other_rows_keep_their_dtype_in_distances() -> None:
    graph = trained().training_graph()
    assert graph.scores(NEW.astype(np.float32)).dtype == np.float32
    assert graph.all_scores(NEW.tolist()).dtype == np.float64


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (NEW[:, :2], "rows has 2 columns, .* have 3"),
        (NEW * np.nan, "rows holds nan in row 0, column 0"),
        (iter([NEW]), "rows is list_iterator; it must be rows in memory"),
        (lambda: NEW[:, :1], "rows.* has 1 columns, .* have 3"),
        ("nowhere.npy", "nowhere.npy"),
        (NEW[0], "rows has"),
    ],
    ids=["columns", "nan", "iterator", "callable", "path", "one row"],
)
@pytest.mark.parametrize("operation", ["cluster_idx", "scores", "all_scores"])
def test_rows_that_cannot_be_used(operation: str, rows: Any, message: str) -> None:
    graph = trained().training_graph()
    with pytest.raises(shoal.BadInputError, match=message):
        getattr(graph, operation)(rows)


@metrics
def test_clusters_are_the_centers_of_the_state(metric: str) -> None:
    program = trained(distance_metric=metric, use_mini_batch=True)
    centers = program.clusters
    if metric == "cosine":
        assert np.allclose(np.linalg.norm(centers, axis=1), 1, rtol=1e-15)
        assert not np.allclose(np.linalg.norm(program.state.clusters, axis=1), 1)
    else:
        assert np.array_equal(centers, program.state.clusters)
    centers[:] = 0
    assert np.any(program.clusters != 0)


def test_before_there_are_centers_nothing_is_evaluated() -> None:
    program = shoal.KMeans(X, 4)
    graph = program.training_graph()
    for call in (lambda: program.clusters, lambda: graph.cluster_idx(NEW)):
        with pytest.raises(shoal.NotInitializedError, match="0 of 4 are chosen; call init_op"):
            call()
