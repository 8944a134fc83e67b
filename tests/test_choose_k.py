"""choose_k: indices are those of scikit-learn, fits are those of single calls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from sklearn import metrics

import shoal
from shoal.choosing.choice import INDICES
from shoal.executors import PickledExecutor

RANDOM = np.random.default_rng(5)
CENTERS = RANDOM.uniform(-20, 20, (5, 4))
X = CENTERS[RANDOM.integers(5, size=900)] + RANDOM.normal(size=(900, 4))
FLAT = RANDOM.normal(size=(900, 4))


def nearest(rows: Any, centers: Any, metric: str) -> tuple[Any, Any]:
    if metric == "cosine":
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        distances = 1 - unit @ centers.T
    else:
        distances = ((rows[:, None] - centers) ** 2).sum(axis=2)
    return distances.argmin(axis=1), distances


# ---- Known answers ----


@pytest.mark.slow
@pytest.mark.parametrize("rows", [X, FLAT, FLAT[:, :1]], ids=["clusters", "none", "one column"])
@pytest.mark.parametrize("more", [{}, {"tolerance": 0}, {"warm_start": True}, {"num_runs": 3}])
def test_indices_are_those_of_scikit_learn(rows: Any, more: dict[str, Any]) -> None:
    choice = shoal.choose_k(rows, range(1, 9), **more)
    assert choice.k.tolist() == list(range(1, 9))
    for i, k in enumerate(choice.k.tolist()):
        labels, distances = nearest(rows, choice.clusters[k], "squared_euclidean")
        assert choice.inertia[i] == pytest.approx(distances.min(axis=1).sum(), rel=1e-12)
        if k == 1:
            indices = [name for name in INDICES if name not in ("inertia", "gap")]
            assert all(np.isnan(getattr(choice, name)[i]) for name in indices)
            continue
        assert choice.silhouette[i] == pytest.approx(metrics.silhouette_score(rows, labels))
        assert choice.calinski_harabasz[i] == pytest.approx(
            metrics.calinski_harabasz_score(rows, labels)
        )
        assert choice.davies_bouldin[i] == pytest.approx(metrics.davies_bouldin_score(rows, labels))
        two = np.sqrt(np.sort(distances, axis=1)[:, :2])
        assert choice.simplified_silhouette[i] == pytest.approx((1 - two[:, 0] / two[:, 1]).mean())


def test_silhouettes_under_cosine_are_of_cosine_distances() -> None:
    choice = shoal.choose_k(X, range(2, 7), distance_metric="cosine")
    for i, k in enumerate(choice.k.tolist()):
        labels, distances = nearest(X, choice.clusters[k], "cosine")
        assert choice.inertia[i] == pytest.approx(distances.min(axis=1).sum())
        assert choice.silhouette[i] == pytest.approx(
            metrics.silhouette_score(X, labels, metric="cosine")
        )
        two = np.sort(distances, axis=1)[:, :2]
        assert choice.simplified_silhouette[i] == pytest.approx((1 - two[:, 0] / two[:, 1]).mean())


def test_the_exact_silhouette_is_of_the_sample_that_is_stated() -> None:
    choice = shoal.choose_k(X, [3, 5], sample_size=200)
    assert choice.sample.shape == (200,)
    assert len(set(choice.sample.tolist())) == 200
    some = X[choice.sample]
    for i, k in enumerate([3, 5]):
        labels, _ = nearest(some, choice.clusters[k], "squared_euclidean")
        assert choice.silhouette[i] == pytest.approx(metrics.silhouette_score(some, labels))
    assert "silhouette: of 200 rows" in str(choice)


def test_weights_count_as_repeated_rows() -> None:
    weights = RANDOM.integers(1, 4, size=900)
    twice = np.repeat(X, weights, axis=0)
    choice = shoal.choose_k(shoal.Weighted(X, weights), [3, 5], tolerance=0)
    for i, k in enumerate([3, 5]):
        labels, distances = nearest(twice, choice.clusters[k], "squared_euclidean")
        assert choice.inertia[i] == pytest.approx(distances.min(axis=1).sum())
        assert choice.calinski_harabasz[i] == pytest.approx(
            metrics.calinski_harabasz_score(twice, labels)
        )
        assert choice.davies_bouldin[i] == pytest.approx(
            metrics.davies_bouldin_score(twice, labels)
        )


def test_the_gap_statistic_is_that_of_uniform_rows_in_the_box() -> None:
    choice = shoal.choose_k(X, range(2, 9), gap=4)
    assert choice.gap is not None
    assert choice.gap_error is not None
    assert choice.suggested["gap"].k == 5
    assert choice.gap.argmax() == 3
    assert (choice.gap_error > 0).all()
    # k-means of many uniform rows in a box: log W falls as (2/d) log k about a constant.
    low, high = X.min(axis=0), X.max(axis=0)
    reference = np.random.default_rng(0).uniform(low, high, (900, 4))
    uniform = shoal.choose_k(reference, range(2, 9))
    expected = np.log(uniform.inertia) - np.log(choice.inertia)
    assert np.allclose(choice.gap, expected, atol=0.1)


# ---- What is suggested ----


def test_every_index_finds_clusters_that_are_far_apart() -> None:
    choice = shoal.choose_k(X, range(2, 11), gap=3)
    assert {name: one.k for name, one in choice.suggested.items()} == dict.fromkeys(INDICES, 5)
    assert choice.best == 5
    assert all(one.why for one in choice.suggested.values())
    assert "Davies-Bouldin: 5 (the smallest" in str(choice)


def test_indices_that_say_nothing_suggest_nothing() -> None:
    choice = shoal.choose_k(np.zeros((30, 2)), [1, 2, 3])
    assert "inertia" not in choice.suggested
    assert choice.inertia.tolist() == [0, 0, 0]
    assert "silhouette" not in choice.suggested


# ---- Fits ----


def test_the_fit_of_each_k_begins_with_the_first_centers_of_the_largest() -> None:
    choice = shoal.choose_k(X, [2, 4, 6], random_seed=3, tolerance=0)
    again = shoal.choose_k(X, [4, 6], random_seed=3, tolerance=0)
    assert np.array_equal(choice.clusters[4], again.clusters[4])
    assert np.array_equal(choice.clusters[6], again.clusters[6])
    model = shoal.KMeansClustering(None, initial_clusters=choice.clusters[4], use_mini_batch=False)
    assert np.array_equal(model.fit(X).clusters(), choice.clusters[4])


def test_more_runs_are_never_worse_and_warm_starts_never_go_up() -> None:
    numbers = range(2, 12)
    one = shoal.choose_k(FLAT, numbers)
    assert (shoal.choose_k(FLAT, numbers, num_runs=4).inertia <= one.inertia).all()
    warm = shoal.choose_k(FLAT, numbers, warm_start=True)
    assert (np.diff(warm.inertia) < 0).all()


def test_results_do_not_depend_on_threads_nor_on_the_kind_of_source(tmp_path: Path) -> None:
    expected = shoal.choose_k(X, [3, 4], num_threads=1)
    np.save(tmp_path / "x.npy", X)
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=100)
    kinds: dict[str, Any] = {
        "threads": X,
        "fortran": np.asfortranarray(X),
        "npy": tmp_path / "x.npy",
        "parquet": tmp_path / "x.parquet",
        "frame": frame,
        "shards": [X[:7], X[7:]],
        "csr": scipy.sparse.csr_array(X),
        "batches": lambda: iter([X[:500], X[500:]]),
    }
    for name, data in kinds.items():
        found = shoal.choose_k(data, [3, 4])
        for column, values in expected.columns().items():
            close = (
                np.allclose
                if column.startswith(("simplified", "davies", "calinski"))
                else np.array_equal
            )
            assert close(found.columns()[column], values), (name, column)
        assert np.array_equal(found.clusters[4], expected.clusters[4]), name


@pytest.mark.parametrize("init", ["random", "kmeans_parallel", "kmc2", "afkmc2"])
def test_other_ways_to_choose_first_centers(init: str) -> None:
    choice = shoal.choose_k(X, range(2, 9), initial_clusters=init, num_runs=20)
    assert choice.suggested["silhouette"].k == 5


# ---- The table ----


def test_the_table_is_a_frame_of_pandas_or_polars(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = shoal.choose_k(X, [2, 3, 4], gap=1)
    frame = choice.to_frame()
    assert frame.index.tolist() == [2, 3, 4]
    assert frame["silhouette"].tolist() == choice.silhouette.tolist()
    assert "gap_error" in frame.columns
    monkeypatch.setitem(sys.modules, "pandas", None)
    other = choice.to_frame()
    assert isinstance(other, pl.DataFrame)
    assert other["k"].to_list() == [2, 3, 4]
    assert "gap" not in shoal.choose_k(X, [2, 3]).to_frame().columns
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(shoal.MissingExtraError, match=r"shoal\[frames\]"):
        choice.to_frame()


def test_the_picture_has_an_axis_for_each_index(tmp_path: Path) -> None:
    for gap, number in ((0, 5), (1, 6)):
        choice = shoal.choose_k(X, range(2, 8), gap=gap)
        figure = choice.plot()
        assert len(figure.axes) == number
        assert figure.axes[0].get_title() == f"inertia: {choice.suggested['inertia'].k}"
        assert figure.axes[2].lines[0].get_ydata().tolist() == choice.silhouette.tolist()
        figure.savefig(tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_a_picture_without_matplotlib_says_how_to_install_it() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None\n"
        "import numpy as np, shoal\n"
        "choice = shoal.choose_k(np.arange(9.0)[:, None], [2, 3])\n"
        "try:\n"
        "    choice.plot()\n"
        "except shoal.MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert "pip install 'shoal[plot]'" in done.stdout, done.stderr


# ---- Weights, and rows elsewhere ----


def test_whole_weights_count_as_repeated_rows() -> None:
    weights = np.random.default_rng(5).integers(1, 4, len(X))
    first = {"k": [2, 3, 5], "initial_clusters": "kmeans_plus_plus", "num_runs": 4}
    weighted = shoal.choose_k(X, sample_weight=weights, **first)  # type: ignore[arg-type]
    repeated = shoal.choose_k(np.repeat(X, weights, axis=0), **first)  # type: ignore[arg-type]
    for name in ("inertia", "simplified_silhouette", "calinski_harabasz", "davies_bouldin"):
        assert np.allclose(getattr(weighted, name)[0], getattr(repeated, name)[0], rtol=1e-6), name


def test_an_executor_changes_nothing() -> None:
    given = {"k": [2, 4], "random_seed": 3}
    here = shoal.choose_k(X, **given)  # type: ignore[arg-type]
    there = shoal.choose_k(X, **given, executor=PickledExecutor(3))  # type: ignore[arg-type]
    assert here.inertia.tolist() == there.inertia.tolist()
    assert here.silhouette.tolist() == there.silhouette.tolist()
    assert here.clusters[4].tobytes() == there.clusters[4].tobytes()


# ---- Refused ----


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"k": 5}, "range"),
        ({"k": [3]}, "range"),
        ({"k": [0, 3]}, "k is 0"),
        ({"k": [2.5, 3]}, r"k is 2\.5"),
        ({"k": range(2, 1000)}, "900 rows"),
        ({"initial_clusters": X[:3]}, "initial_clusters"),
        ({"distance_metric": "euclidean"}, "distance_metric"),
        ({"num_runs": 0}, "num_runs"),
        ({"sample_size": 1}, "sample_size"),
        ({"tolerance": -1}, "tolerance"),
        ({"tolerance": "no"}, "tolerance"),
        ({"gap": -1}, "gap"),
        ({"gap": 1, "distance_metric": "cosine"}, "Euclidean"),
        ({"gap": 1, "sample_weight": np.ones(len(X))}, "without weights"),
        ({"sample_weight": np.ones(3)}, "sample_weight"),
        ({"sample_weight": -np.ones(len(X))}, "weight"),
        ({"executor": 3}, "executor"),
        ({"max_steps": 0}, "max_steps"),
        ({"x": iter([X])}, "iterator"),
        ({"x": scipy.sparse.csr_array(X), "gap": 2}, "rows must be dense"),
        ({"x": np.where(X > 20, np.nan, X) * [1, np.nan, 1, 1]}, "row 0, column 1"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict[str, Any], match: str) -> None:
    arguments = {"x": X, "k": range(2, 6), **given}
    with pytest.raises(shoal.ShoalError, match=match):
        shoal.choose_k(**arguments)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("metric", "distance_metric"), ("n_clusters", "range")],
)
def test_arguments_of_other_libraries_are_answered_with_ours(name: str, ours: str) -> None:
    with pytest.raises(shoal.BadInputError, match=f"no argument '{name}'; instead of it: .*{ours}"):
        shoal.choose_k(X, **{name: 1})  # type: ignore[arg-type]


def test_an_index_that_suggests_no_k_says_so() -> None:
    """Of rows that are all alike nothing tells one k from another."""
    choice = shoal.choose_k(np.random.default_rng(0).uniform(size=(40, 2)), [2, 3])
    assert "inertia" not in choice.suggested
    assert "inertia: suggests no k here" in str(choice)
