"""shoal.sklearn where people use k-means: pipelines, searches, pickles, processes, metrics."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from sklearn import cluster, metrics
from sklearn.base import clone, is_clusterer
from sklearn.cluster import SpectralClustering
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import shoal.sklearn
from shoal.executors import PickledExecutor
from shoal.sklearn import BisectingKMeans, KMeans, MiniBatchKMeans, k_means

RANDOM = np.random.default_rng(0)
CENTERS = RANDOM.uniform(-10, 10, (4, 3))
TRUTH = RANDOM.integers(4, size=300)
X = CENTERS[TRUTH] + RANDOM.normal(size=(300, 3))
NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame(X, columns=NAMES)
CLASSES = [KMeans, MiniBatchKMeans, BisectingKMeans]

every_class = pytest.mark.parametrize("kind", CLASSES)


def new(kind: type = KMeans, **more: Any) -> Any:
    return kind(**{"n_clusters": 4, "random_state": 0, **more})


# ---- Steps of others ----


@every_class
def test_a_step_of_a_pipeline(kind: type) -> None:
    pipeline = make_pipeline(StandardScaler(), new(kind)).fit(FRAME)
    scaled = StandardScaler().fit_transform(FRAME)
    alone = new(kind).fit(scaled)
    assert np.array_equal(pipeline.predict(FRAME), alone.labels_)
    assert np.array_equal(pipeline.transform(FRAME), alone.transform(scaled))
    assert np.array_equal(new(kind).fit_transform(scaled), alone.transform(scaled))
    assert pipeline.score(FRAME) == alone.score(scaled)
    assert is_clusterer(pipeline)
    name = kind.__name__.lower()
    assert pipeline.get_feature_names_out().tolist() == [f"{name}{i}" for i in range(4)]


@every_class
def test_distances_as_features_of_a_classifier(kind: type) -> None:
    pipeline = make_pipeline(new(kind, n_clusters=8), LogisticRegression(max_iter=1000))
    assert cross_val_score(pipeline, X, TRUTH, cv=3).mean() > 0.95


@every_class
def test_some_columns_of_a_frame_and_a_union_of_features(kind: type) -> None:
    some = ColumnTransformer([("near", new(kind), ["a", "b"])], remainder="passthrough")
    found = some.set_output(transform="pandas").fit_transform(FRAME)
    name = kind.__name__.lower()
    assert found.columns.tolist() == [*(f"near__{name}{i}" for i in range(4)), "remainder__c"]
    alone = new(kind).fit(FRAME[["a", "b"]])
    assert np.array_equal(found.to_numpy()[:, :4], alone.transform(FRAME[["a", "b"]]))
    union = FeatureUnion([("near", new(kind)), ("same", FunctionTransformer())])
    assert union.fit_transform(X).shape == (300, 7)


@every_class
@pytest.mark.parametrize(("name", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_distances_come_as_a_frame_where_that_is_asked_for(
    kind: type, name: str, frame: type
) -> None:
    model = new(kind).set_output(transform=name).fit(FRAME)
    found = model.transform(FRAME)
    assert isinstance(found, frame)
    assert list(found.columns) == model.get_feature_names_out().tolist()
    assert np.array_equal(found.to_numpy(), new(kind).fit(X).transform(X))
    if name == "pandas":
        assert found.index.equals(FRAME.index)


def test_searches_over_parameters() -> None:
    grid = GridSearchCV(new(), {"n_clusters": [2, 4], "init": ["k-means++", "afk-mc2"]}, cv=3)
    grid.fit(X)
    assert grid.best_params_["n_clusters"] == 4
    assert np.array_equal(grid.predict(X), grid.best_estimator_.predict(X))
    halving = HalvingRandomSearchCV(
        new(MiniBatchKMeans),
        {"n_clusters": list(range(2, 9))},
        cv=3,
        random_state=0,
        min_resources=60,
    ).fit(X)
    assert halving.best_params_["n_clusters"] >= 4


@every_class
def test_clones_copies_and_parameters(kind: type) -> None:
    model = new(kind, metric="cosine", n_threads=1).fit(X)
    again = clone(model)
    assert not hasattr(again, "labels_")
    assert again.get_params() == model.get_params()
    assert np.array_equal(copy.deepcopy(model).predict(X), model.predict(X))
    assert again.set_params(n_clusters=3).fit(X).cluster_centers_.shape == (3, 3)
    assert repr(new(kind)) == f"{kind.__name__}(n_clusters=4, random_state=0)"


@every_class
def test_a_page_about_a_model_in_a_notebook(kind: type) -> None:
    pipeline = make_pipeline(StandardScaler(), new(kind))
    for model in (new(kind), new(kind).fit(X), pipeline, pipeline.fit(X)):
        page = model._repr_html_()
        assert kind.__name__ in page
        assert "n_clusters" in page


def test_weights_are_routed_through_a_pipeline() -> None:
    weights = np.where(TRUTH == 0, 5.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        for kind in CLASSES:
            step = new(kind).set_fit_request(sample_weight=True)
            pipeline = Pipeline([("scale", StandardScaler()), ("means", step)])
            pipeline[0].set_fit_request(sample_weight=False)
            pipeline.fit(X, sample_weight=weights)
            scaled = StandardScaler().fit_transform(X)
            alone = new(kind).fit(scaled, sample_weight=weights)
            assert np.array_equal(pipeline[-1].cluster_centers_, alone.cluster_centers_)
        search = GridSearchCV(
            new().set_fit_request(sample_weight=True).set_score_request(sample_weight=True),
            {"n_clusters": [2, 4]},
            cv=3,
        ).fit(X, sample_weight=weights)
        assert search.best_params_ == {"n_clusters": 4}


# ---- Files and processes ----


@every_class
def test_a_model_that_is_pickled_goes_on_in_its_old_ways(kind: type, tmp_path: Path) -> None:
    model = new(kind).fit(FRAME)
    joblib.dump(model, tmp_path / "model.joblib")
    for other in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        assert np.array_equal(other.predict(FRAME), model.predict(FRAME))
        assert np.array_equal(other.transform(FRAME), model.transform(FRAME))
        assert other.get_params() == model.get_params()
    if kind is MiniBatchKMeans:
        other = pickle.loads(pickle.dumps(model))
        assert np.array_equal(
            other.partial_fit(FRAME).cluster_centers_, model.partial_fit(FRAME).cluster_centers_
        )


def inertia_of(kind: type, seed: int) -> float:
    return float(new(kind, random_state=seed).fit(X).inertia_)


@pytest.mark.parametrize(
    "backend", [pytest.param("loky", marks=pytest.mark.slow), "threading", "multiprocessing"]
)
def test_models_train_side_by_side(backend: str) -> None:
    work = [(kind, seed) for kind in CLASSES for seed in range(3)]
    expected = [inertia_of(*one) for one in work]
    found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(inertia_of)(*w) for w in work)
    assert found == expected


def _after_fork(queue: Any) -> None:
    queue.put(inertia_of(KMeans, 3))


def test_a_process_that_was_forked_trains() -> None:
    expected = inertia_of(KMeans, 3)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_after_fork, args=(queue,))
    child.start()
    assert queue.get(timeout=120) == expected
    child.join(60)
    assert child.exitcode == 0


def test_workers_of_joblib_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shoal.sklearn.names, "available_threads", lambda: 8)
    for given, allowed, expected in ((None, "2", 2), (None, "", 8), (3, "1", 3), (None, "64", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
        assert shoal.sklearn.names.threads_of(given) == expected


# ---- What is computed of labels, and who calls k-means ----


@every_class
def test_labels_in_scikit_learns_metrics(kind: type) -> None:
    ours = new(kind).fit(X)
    assert metrics.adjusted_rand_score(TRUTH, ours.labels_) > 0.95
    assert metrics.silhouette_score(X, ours.labels_) > 0.5
    if kind is not BisectingKMeans:
        theirs = getattr(cluster, kind.__name__)(n_clusters=4, n_init=5, random_state=0).fit(X)
        best = new(kind, n_init=5).fit(X)
        assert metrics.adjusted_rand_score(theirs.labels_, best.labels_) > 0.98
        assert best.inertia_ == pytest.approx(theirs.inertia_, rel=0.02)


def test_spectral_clustering_by_our_function(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = SpectralClustering(4, random_state=0).fit(X).labels_
    monkeypatch.setattr("sklearn.cluster._spectral.k_means", k_means)
    found = SpectralClustering(4, random_state=0).fit(X).labels_
    assert metrics.adjusted_rand_score(expected, found) == 1


@every_class
def test_tensors_of_the_cpu_in_and_arrays_out_as_scikit_learn_does_it(kind: type) -> None:
    tensor = torch.from_numpy(X)
    model = new(kind).fit(tensor)
    assert np.array_equal(model.labels_, new(kind).fit(X).labels_)
    for found in (model.predict(tensor), model.transform(tensor), model.labels_):
        assert isinstance(found, np.ndarray)
    narrow = new(kind).fit(tensor.to(torch.bfloat16))
    assert narrow.cluster_centers_.dtype == np.float32


# ---- Mistakes ----


def test_a_pipeline_that_names_a_parameter_there_is_not() -> None:
    with pytest.raises(ValueError, match="Invalid parameter 'num_clusters'"):
        make_pipeline(new()).set_params(kmeans__num_clusters=3)
    with pytest.raises(TypeError, match="num_clusters"):
        KMeans(num_clusters=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "given",
    [{"metric": "manhattan"}, {"n_threads": 0}, {"init": "kmc2"}, {"tol": -1}, {"n_init": 0}],
)
@every_class
def test_parameters_out_of_range_are_scikit_learns_errors(kind: type, given: Any) -> None:
    with pytest.raises(ValueError, match=f"'{next(iter(given))}' parameter of {kind.__name__}"):
        new(kind, **given).fit(X)


def test_rows_may_be_elsewhere_while_they_are_trained_on() -> None:
    x = np.random.default_rng(0).normal(size=(500, 4))
    given = {"n_clusters": 5, "n_init": 2, "random_state": 0}
    here = KMeans(**given).fit(x)
    there = clone(KMeans(**given, executor=PickledExecutor(3))).fit(x)
    assert here.cluster_centers_.tobytes() == there.cluster_centers_.tobytes()
    assert np.array_equal(here.labels_, there.labels_)
    assert np.array_equal(there.predict(x), here.labels_)
    with pytest.raises(ValueError, match="executor"):
        KMeans(**given, executor=3).fit(x)
