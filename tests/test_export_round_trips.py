"""Models as those of scikit-learn and faiss, as .npy files, and back."""

from __future__ import annotations

import gc
import io
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import cluster
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import shoal
import shoal.sklearn as ours
from shoal import KMeansClustering, export
from shoal.metric import METRICS

IRIS, DIGITS = load_iris().data, load_digits().data
FRAME = load_iris(as_frame=True).data


def trained(x: Any, k: int = 6, **given: Any) -> KMeansClustering:
    return KMeansClustering(k, use_mini_batch=False, **given).fit(x, steps=4)


# ---- scikit-learn ----


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scikit_learn_predicts_the_same(dtype: Any, metric: str) -> None:
    for x in (IRIS.astype(dtype), DIGITS.astype(dtype)):
        model = trained(x, distance_metric=metric)
        fitted = model.to_sklearn()
        assert np.array_equal(fitted.predict(x), model.labels(x))
        distances, rtol = model.transform(x), 1e-3 if dtype == np.float32 else 1e-7
        if metric == "cosine":
            distances = 2 * distances
        np.testing.assert_allclose(fitted.transform(x), np.sqrt(distances), rtol, rtol)
        expected = distances.astype(np.float64).min(axis=1).sum()
        assert -fitted.score(x) == pytest.approx(expected, rel=1e-5)


def test_a_model_of_scikit_learn_is_dumped_cloned_and_part_of_pipelines() -> None:
    for metric in METRICS:
        model = trained(IRIS, distance_metric=metric)
        file = io.BytesIO()
        joblib.dump(model.to_sklearn(), file)
        assert b"shoal" not in file.getvalue()
        file.seek(0)
        assert np.array_equal(joblib.load(file).predict(IRIS), model.labels(IRIS))
    fitted = trained(IRIS).to_sklearn()
    assert isinstance(fitted, cluster.KMeans)
    assert len(clone(fitted).fit(IRIS).cluster_centers_) == 6
    assert make_pipeline(fitted).predict(IRIS).shape == (150,)
    with pytest.raises(ValueError, match="3 features"):
        fitted.predict(IRIS[:, :3])


@pytest.mark.parametrize("metric", METRICS)
def test_names_of_columns_go_along_and_come_back(metric: str) -> None:
    model = trained(FRAME, distance_metric=metric)
    fitted = model.to_sklearn()
    assert list(fitted.feature_names_in_) == list(FRAME.columns)
    assert np.array_equal(fitted.predict(FRAME), model.labels(FRAME))
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(FRAME[FRAME.columns[::-1]])
    again = KMeansClustering.from_sklearn(fitted)
    assert again.columns == model.columns
    assert again.get_params()["distance_metric"] == metric
    assert np.array_equal(again.labels(FRAME[FRAME.columns[::-1]]), model.labels(FRAME))
    numbered = trained(pd.DataFrame(IRIS), distance_metric=metric)
    assert not hasattr(numbered.to_sklearn(), "feature_names_in_")


def test_rows_of_another_dtype_than_the_centers() -> None:
    model = trained(IRIS.astype(np.float32))
    assert np.array_equal(model.to_sklearn("float64").predict(IRIS), model.labels(IRIS))
    with pytest.raises(shoal.BadInputError, match="dtype is 'int8'; allowed are"):
        model.to_sklearn("int8")
    far = KMeansClustering.from_centers([[0.0], [1e60]])
    with pytest.raises(shoal.BadInputError, match="no room for the centers: use 'float64'"):
        far.to_sklearn("float32")


@pytest.mark.parametrize("package", [cluster, ours])
def test_a_fitted_model_of_scikit_learn_comes_here(package: Any) -> None:
    for kind in (package.KMeans, package.MiniBatchKMeans):
        fitted = kind(5, random_state=0, n_init=1).fit(FRAME)
        model = KMeansClustering.from_sklearn(fitted, num_threads=1)
        assert np.array_equal(model.clusters(), fitted.cluster_centers_)
        assert np.array_equal(model.labels(FRAME), fitted.predict(FRAME))
        assert model.columns == tuple(FRAME.columns)
        assert model.get_params()["num_threads"] == 1
    fitted = ours.KMeans(5, metric="cosine", random_state=0).fit(IRIS)
    model = KMeansClustering.from_sklearn(fitted)
    assert model.get_params()["distance_metric"] == "cosine"
    assert np.array_equal(model.labels(IRIS), fitted.predict(IRIS))
    unit = make_pipeline(Normalizer(), cluster.KMeans(5, random_state=0, n_init=1)).fit(IRIS)
    model = KMeansClustering.from_sklearn(unit)
    assert model.get_params()["distance_metric"] == "cosine"
    assert len(model.labels(IRIS)) == 150


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: ours.BisectingKMeans(3).fit(IRIS), "BisectingKMeans, which predicts down a tree"),
        (lambda: cluster.BisectingKMeans(3).fit(IRIS), "which predicts down a tree"),
        (lambda: make_pipeline(StandardScaler(), cluster.KMeans(3)).fit(IRIS), "StandardScaler"),
        (lambda: make_pipeline(Normalizer("l1"), cluster.KMeans(3)).fit(IRIS), "norm='l2'"),
        (lambda: StandardScaler().fit(IRIS), "model is of type StandardScaler"),
        (lambda: IRIS, "model is of type ndarray"),
    ],
)
def test_what_is_no_k_means_is_refused(model: Any, words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=words):
        KMeansClustering.from_sklearn(model())


def test_a_center_of_zeros_has_no_cosine_in_scikit_learn() -> None:
    model = KMeansClustering.from_centers([[1.0, 0.0], [0.0, 0.0]], "cosine")
    with pytest.raises(shoal.BadInputError, match="center 1 is zero"):
        model.to_sklearn()


# ---- faiss ----


def blobs(n: int, d: int, seed: int) -> Any:
    draw = np.random.default_rng(seed)
    centers = 3 * np.random.default_rng(0).normal(size=(300, d))
    return (centers[draw.integers(300, size=n)] + draw.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_a_flat_index_assigns_as_the_model(metric: str) -> None:
    faiss = pytest.importorskip("faiss")
    x = blobs(2000, 16, 1)
    model = trained(x, 40, distance_metric=metric)
    index = model.to_faiss_index()
    assert isinstance(index, faiss.IndexFlat)
    assert np.array_equal(index.search(x, 1)[1][:, 0], model.labels(x))
    again = KMeansClustering.from_faiss_index(index)
    assert again.get_params()["distance_metric"] == metric
    np.testing.assert_allclose(again.clusters(), model.clusters(), rtol=1e-6)
    assert np.array_equal(again.labels(x), model.labels(x))


@pytest.mark.parametrize("metric", METRICS)
def test_the_lists_of_an_ivf_index_are_the_clusters(tmp_path: Path, metric: str) -> None:
    faiss = pytest.importorskip("faiss")
    x = blobs(2000, 16, 1)
    if metric == "cosine":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    model = trained(x, 40, distance_metric=metric)
    export.to_faiss(model, tmp_path / "lists.faiss", ivf=True)
    for index in (model.to_faiss_index(ivf=True), faiss.read_index(str(tmp_path / "lists.faiss"))):
        gc.collect()
        assert (index.is_trained, index.ntotal, index.nlist) == (True, 0, 40)
        index.train(x)  # nothing is left to do
        index.add(x)
        sizes = [index.invlists.list_size(i) for i in range(40)]
        assert sizes == np.bincount(model.labels(x), minlength=40).tolist()
        assert np.array_equal(index.search(x, 1)[1][:, 0], np.arange(2000))
        assert np.array_equal(KMeansClustering.from_faiss_index(index).labels(x), model.labels(x))


def test_recall_is_that_of_faiss_own_training() -> None:
    faiss = pytest.importorskip("faiss")
    x, queries = blobs(40_000, 24, 1), blobs(500, 24, 2)
    k, nprobe, wanted = 128, 4, 10
    exact = faiss.IndexFlatL2(24)
    exact.add(x)
    truth = exact.search(queries, wanted)[1]

    def recall(index: Any) -> float:
        index.add(x)
        index.nprobe = nprobe
        found = index.search(queries, wanted)[1]
        return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]))

    theirs = faiss.IndexIVFFlat(faiss.IndexFlatL2(24), 24, k)
    theirs.train(x)
    model = KMeansClustering(k, initial_clusters="kmeans_plus_plus", use_mini_batch=False)
    mine = recall(model.fit(x, steps=10).to_faiss_index(ivf=True))
    other = recall(theirs)
    assert mine > 0.5
    assert mine > other - 0.02


def test_an_index_that_has_no_centers_is_refused(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    x = blobs(100, 4, 1)
    long = faiss.IndexFlatIP(4)
    long.add(x)
    cases = [
        (faiss.IndexFlatL2(4), "index has no vectors"),
        (faiss.IndexIVFFlat(faiss.IndexFlatL2(4), 4, 3), "index has no vectors"),
        (faiss.IndexHNSWFlat(4, 8), "index is a IndexHNSWFlat"),
        (long, "compares by inner product, and its vectors have lengths from"),
        (faiss.IndexFlat(4, faiss.METRIC_L1), "index has no vectors"),
        (x, "index is a ndarray"),
    ]
    for index, words in cases:
        with pytest.raises(shoal.BadInputError, match=words):
            KMeansClustering.from_faiss_index(index)
    other = faiss.IndexFlat(4, faiss.METRIC_L1)
    other.add(x)
    with pytest.raises(shoal.BadInputError, match="has the metric 2 of faiss"):
        KMeansClustering.from_faiss_index(other)
    path = tmp_path / "i.faiss"
    export.to_faiss(trained(x), path)
    whole = path.read_bytes()
    for content in (b"", b"what", whole[:20], whole[:-4]):
        path.write_bytes(content)
        with pytest.raises(shoal.BadInputError, match=r"i\.faiss is no index of faiss, or damaged"):
            KMeansClustering.from_faiss_index(path)
    with pytest.raises(shoal.BadInputError, match="there is no file"):
        KMeansClustering.from_faiss_index(tmp_path / "none")


def test_sizes_that_a_damaged_index_claims_take_no_memory(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    path = tmp_path / "i.faiss"
    export.to_faiss(trained(blobs(100, 4, 1)), path, ivf=True)
    whole, refused = path.read_bytes(), 0
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    draw = np.random.default_rng(seed)
    for _ in range(60):
        changed = bytearray(whole)
        changed[draw.integers(100)] ^= 1 << draw.integers(8)
        path.write_bytes(bytes(changed))
        try:
            KMeansClustering.from_faiss_index(path)
        except shoal.BadInputError:
            refused += 1
    assert refused > 0


def test_faiss_has_float32_alone() -> None:
    pytest.importorskip("faiss")
    with pytest.raises(shoal.BadInputError, match="faiss computes in float32"):
        KMeansClustering.from_centers([[1e60]]).to_faiss_index()


# ---- Centers ----


@pytest.mark.parametrize("metric", METRICS)
def test_centers_as_npy_and_back(tmp_path: Path, metric: str) -> None:
    model, path = trained(IRIS, distance_metric=metric), tmp_path / "c.npy"
    export.to_npy(model, path)
    assert np.array_equal(np.load(path), model.clusters())
    again = KMeansClustering.from_centers(path, metric, columns=list(FRAME.columns))
    assert np.array_equal(again.clusters(), model.clusters())
    assert np.array_equal(again.labels(FRAME), model.labels(IRIS))
    assert again.columns == tuple(FRAME.columns)
    found = again.predict(IRIS, as_iterable=False)
    assert isinstance(found, dict)
    np.testing.assert_allclose(found["all_scores"], model.transform(IRIS), rtol=1e-12)


def test_given_centers_are_trained_on_and_kept(tmp_path: Path) -> None:
    centers = IRIS[::30]
    model = KMeansClustering.from_centers(FRAME[::30], use_mini_batch=False)
    assert model.columns == tuple(FRAME.columns)
    assert np.array_equal(model.clusters(), centers)
    assert "KMeansClustering(num_clusters=None" in repr(model)
    before = model.score(FRAME)
    assert model.fit(FRAME).score(FRAME) < before
    for columns in (None, ["a", "b", "c", "d"]):
        model = KMeansClustering.from_centers(centers, columns=columns)
        shoal.save_model(model, tmp_path / "m")
        again = shoal.load_model(tmp_path / "m")
        assert np.array_equal(again.labels(IRIS), model.labels(IRIS))
        assert again.columns == (tuple(columns) if columns else ())
        assert len(repr(model)) < 200


@pytest.mark.parametrize(
    ("centers", "given", "words"),
    [
        ([1.0, 2.0], {}, r"initial_clusters has shape \(2,\)"),
        ([[1.0], [np.nan]], {}, "initial_clusters holds nan"),
        ([[1.0, 2.0]], {"columns": ["a"]}, "columns has 1 names, and centers 2 columns"),
        ([[1.0, 2.0]], {"columns": ["a", "a"]}, "columns names 'a' twice"),
        ([[1.0, 2.0]], {"columns": "ab"}, "columns is 'ab'; it must be a list of names"),
        (FRAME[:3], {"columns": list("abcd")}, "the columns of centers have names"),
        ([[1.0]], {"distance_metric": "l1"}, "distance_metric is 'l1'"),
        ([[1.0]], {"n_clusters": 1}, "has no parameter 'n_clusters'"),
        ("none.npy", {}, "there is no file none.npy"),
    ],
)
def test_centers_that_cannot_be_used(centers: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=words):
        KMeansClustering.from_centers(centers, **given)


def test_a_file_that_holds_no_centers(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("a,b\n")
    np.savez(tmp_path / "two.npz", a=IRIS, b=IRIS)
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    for name, words in {
        "text.npy": "is no .npy file, or damaged",
        "objects.npy": "is no .npy file, or damaged",
        "two.npz": r"holds several arrays, \['a', 'b'\]",
    }.items():
        with pytest.raises(shoal.BadInputError, match=words):
            KMeansClustering.from_centers(tmp_path / name)


# ---- What all of them refuse ----

EXPORTS = {
    "onnx": export.to_onnx,
    "savedmodel": export.to_savedmodel,
    "npy": export.to_npy,
    "faiss": export.to_faiss,
    "faiss_index": lambda model, _: export.to_faiss_index(model),
    "sklearn": lambda model, _: export.to_sklearn(model),
}
#: The module, the package and the extra of each.
NEEDS = {
    "onnx": ("onnx", "onnx", "onnx"),
    "savedmodel": ("tensorflow", "tensorflow", "tensorflow"),
    "faiss": ("faiss", "faiss-cpu", "faiss"),
    "sklearn": ("sklearn.pipeline", "scikit-learn", "sklearn"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_models_without_centers(tmp_path: Path, name: str) -> None:
    for model in (KMeansClustering(3), ours.KMeans(3), ours.MiniBatchKMeans(3), cluster.KMeans(3)):
        with pytest.raises(shoal.NotFittedError, match="needs trained centers"):
            EXPORTS[name](model, tmp_path / "m")
    with pytest.raises(shoal.ShoalError, match=r"init_op\(\)"):
        EXPORTS[name](shoal.KMeans(IRIS, 3), tmp_path / "m")
    for other in (IRIS, None, StandardScaler()):
        with pytest.raises(shoal.BadInputError, match="model is of type"):
            EXPORTS[name](other, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NEEDS)
def test_an_extra_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model = trained(IRIS)
    module, package, extra = NEEDS[name]
    for loaded in [one for one in sys.modules if one.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(shoal.MissingExtraError, match=r"pip install 'shoal\[") as found:
        EXPORTS[name](model, tmp_path / "m")
    assert (found.value.package, found.value.extra) == (package, extra)
    assert list(tmp_path.iterdir()) == []
