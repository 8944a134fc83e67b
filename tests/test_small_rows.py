"""Rows that are few: what is done at once, in one call, is what is done one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans as Theirs
from sklearn.datasets import make_blobs

import shoal
from shoal.executors import LocalExecutor
from shoal.sklearn import KMeans, MiniBatchKMeans
from shoal.sklearn.quick import are_plain, random_state_of


def rows_of(kind: str, seed: int, n: int, d: int) -> Any:
    random = np.random.default_rng(seed)
    if kind == "lattice":  # many are equal, and clusters without rows are common
        return random.integers(0, 3, (n, d)).astype(np.float64)
    if kind == "few distinct":
        return random.normal(size=(5, d))[random.integers(5, size=n)]
    if kind == "tight and far":  # sums do not tell the loss: it is measured
        return make_blobs(n, d, centers=5, cluster_std=1e-6, random_state=seed)[0] + 1e6
    x: Any = make_blobs(n, d, centers=5, cluster_std=3.0, random_state=seed)[0]
    return x.astype(np.float32) if kind == "float32" else x


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", ["float64", "float32", "lattice", "few distinct", "tight and far"])
def test_a_fit_that_tells_of_each_step_is_the_same(
    kind: str, metric: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, (n, d, k) in enumerate([(30, 1, 3), (80, 2, 20), (300, 7, 4), (700, 33, 9)]):
        x = rows_of(kind, seed, n, d) + (1.5 if metric == "cosine" else 0)
        weights = np.random.default_rng(seed).integers(0, 3, n) if seed % 2 else None
        for more in ({}, {"tol": 0.0}, {"max_iter": 2}, {"n_init": 3}, {"init": x[:k][::-1]}):
            given = {"n_clusters": k, "metric": metric, "random_state": seed, **more}
            quiet = KMeans(**given).fit(x, sample_weight=weights)
            told = KMeans(**given, verbose=1, n_threads=1).fit(x, sample_weight=weights)
            assert quiet.cluster_centers_.tobytes() == told.cluster_centers_.tobytes()
            assert quiet.labels_.tobytes() == told.labels_.tobytes()
            assert (quiet.inertia_, quiet.n_iter_) == (told.inertia_, told.n_iter_)
    assert "Iteration 0, inertia" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["f2", "f4", "i1", "u2", "i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_runs_of_any_dtype_and_order_are_those_of_float64(dtype: str, order: Any) -> None:
    x = np.random.default_rng(3).integers(0, 50, (300, 5))
    given = {"n_clusters": 7, "n_init": 4, "random_state": 1}
    mine, other = (KMeans(**given).fit(rows) for rows in (x.astype(dtype, order=order), x * 1.0))
    assert np.array_equal(mine.labels_, other.labels_)
    assert mine.n_iter_ == other.n_iter_
    assert np.allclose(mine.inertia_, other.inertia_, rtol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_predict_refuses_what_fit_refuses(bad: float, dtype: str, metric: str) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(dtype)
    model = KMeans(3, metric=metric, random_state=0).fit(x)
    assert np.array_equal(model.predict(x), model.labels_)
    with np.errstate(over="ignore"):
        x[17, 1] = bad
    if np.isfinite(x[17, 1]) and metric == "cosine":
        assert model.predict(x)[17] in range(3)
        return
    with pytest.raises(ValueError, match=r"row 17|column 1"):
        model.predict(x)
    with pytest.raises(ValueError, match=r"row 17|column 1"):
        model.fit(x)


def test_steps_are_those_of_scikit_learn() -> None:
    for seed in range(5):
        x, _ = make_blobs(400, 6, centers=9, cluster_std=4.0, random_state=seed)
        first = x[:9].copy()
        mine, other = (kind(9, init=first, n_init=1).fit(x) for kind in (KMeans, Theirs))
        assert mine.n_iter_ == other.n_iter_
        assert np.array_equal(mine.labels_, other.labels_)
        assert np.allclose(mine.cluster_centers_, other.cluster_centers_, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:the data has fewer distinct rows")
@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize("kind", ["float64", "float32", "lattice", "few distinct"])
def test_first_centers_do_not_depend_on_where_rows_are(kind: str, metric: str) -> None:
    for seed, (n, d, k) in enumerate([(9, 1, 4), (70, 2, 8), (300, 8, 30), (900, 130, 5)]):
        x = rows_of(kind, seed, n, d) + (0.5 if metric == "cosine" else 0)
        found = []
        for parts in (1, 3):
            model = shoal.KMeansClustering(
                k,
                initial_clusters="kmeans_plus_plus",
                distance_metric=metric,
                random_seed=seed,
                use_mini_batch=False,
                config=shoal.RunConfig(executor=LocalExecutor(parts), progress=False),
            )
            found.append(model.fit(x, steps=1).cluster_centers().tobytes())
        assert found[0] == found[1], (kind, seed)


@pytest.mark.parametrize("seed", [0, 1, 123456789, 2**32 - 1])
def test_a_seed_gives_the_numbers_of_scikit_learn(seed: int) -> None:
    mine, other = random_state_of(seed), np.random.RandomState(seed)
    assert mine.randint(2**31 - 1, size=700).tolist() == other.randint(2**31 - 1, size=700).tolist()
    assert mine.normal(size=5).tolist() == other.normal(size=5).tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_clusters": 0},
        {"n_clusters": True},
        {"n_init": 0},
        {"tol": -1.0},
        {"tol": float("nan")},
        {"max_iter": 1.5},
        {"random_state": -1},
        {"algorithm": "fast"},
        {"init": "kmeans"},
        {"n_threads": 0},
    ],
    ids=str,
)
def test_what_is_not_plain_is_left_to_scikit_learn(wrong: dict[str, Any]) -> None:
    assert are_plain(KMeans().get_params())
    assert not are_plain(KMeans(**wrong).get_params())


@pytest.mark.parametrize("seed", [1, 2, 3])  # by scikit-learn's rule alone, each leaves one
def test_no_cluster_is_left_without_rows_by_mini_batches(seed: int) -> None:
    x, _ = make_blobs(20_000, 8, centers=1000, cluster_std=1.0, random_state=2)
    given = {"max_iter": 5, "max_no_improvement": None, "random_state": seed}
    model = MiniBatchKMeans(1000, **given).fit(x.astype(np.float32))
    assert len(np.unique(model.labels_)) == 1000
