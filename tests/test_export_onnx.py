"""ONNX files predict as the model does, in another runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

import shoal
from shoal import KMeansClustering, export
from shoal.export import onnx as exporter
from shoal.export.shifted import shift_of
from shoal.metric import METRICS

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(12)
BLOBS = RNG.normal(size=(1500, 6)) + RNG.integers(5, size=(1500, 1)) * 3
DATA = {
    "iris": load_iris().data,
    "digits": load_digits().data,
    "blobs": BLOBS,
    "far from zero": BLOBS[:, :5] + [1000, -500, 30, 1000, 0],
    "far in one column": BLOBS[:, :3] + [0, 0, 4000],
    "small": BLOBS * 1e-9,
    "large": BLOBS * 1e9,
    "two columns": BLOBS[:, :2],
}
EDGES = (exporter.OLDEST, exporter.NEWEST)


class Answer(NamedTuple):
    cluster_idx: Any
    scores: Any
    all_scores: Any


def run(path: Path, x: Any) -> Answer:
    """What onnxruntime says of rows."""
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    assert (given.name, names) == ("X", list(Answer._fields))
    return Answer(*session.run(names, {"X": x}))


def trained(x: Any, k: int = 8, **given: Any) -> KMeansClustering:
    return KMeansClustering(k, use_mini_batch=False, **given).fit(x, steps=3)


def margin(x: Any, centers: Any, metric: str, dtype: Any) -> Any:
    """What rounding may add to each distance, [n, k]: the bound of docs/exporting.md."""
    x, c = x.astype(np.float64), centers.astype(np.float64)
    shift = shift_of(c)
    if metric == "cosine":
        largest = np.abs(x).max(axis=1, keepdims=True)
        x = np.divide(x, largest, out=np.zeros_like(x), where=largest > 0)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1)
    reach = np.linalg.norm(x - shift, axis=1)[:, None] + np.linalg.norm(c - shift, axis=1)
    d, unit = x.shape[1], np.finfo(dtype).eps / 2
    return (d + 12) * unit * reach**2


def compare(path: Path, model: KMeansClustering, x: Any, tolerance: float = 1e-5) -> None:
    """Labels but for ties within the margin, and distances."""
    metric = model.get_params()["distance_metric"]
    found, expected = run(path, x), model.predict(x, as_iterable=False)
    assert isinstance(expected, dict)
    assert found.cluster_idx.dtype == np.int64
    assert found.scores.dtype == found.all_scores.dtype == x.dtype
    exact = model.predict(x.astype(np.float64), as_iterable=False)["all_scores"]  # type: ignore[call-overload]
    rows, slack = np.arange(len(x)), margin(x, model.clusters(), metric, x.dtype)
    chosen, nearest = found.cluster_idx, expected["cluster_idx"]
    excess = exact[rows, chosen] - exact[rows, nearest]
    assert (excess <= slack[rows, chosen] + slack[rows, nearest]).all()
    assert (chosen == nearest).mean() > 0.99
    assert (np.abs(found.all_scores - exact) <= slack + tolerance * exact).all()
    wanted, floor = exact[rows, nearest], np.finfo(x.dtype).tiny
    if metric == "cosine":  # a direction has no more digits than its numbers
        floor = np.finfo(x.dtype).eps * (2 * np.sqrt(2 * wanted) + np.finfo(x.dtype).eps)
    close = np.abs(found.scores - wanted) <= tolerance * wanted + floor
    assert close[chosen == nearest].all()
    assert np.array_equal(found.scores, found.all_scores[rows, chosen])
    assert np.array_equal(found.scores, found.all_scores.min(axis=1))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", DATA)
def test_onnxruntime_agrees_with_predict(tmp_path: Path, name: str, metric: str) -> None:
    x = DATA[name].astype(np.float32)
    model, path = trained(x, distance_metric=metric), tmp_path / "m.onnx"
    model.export_onnx(path)
    compare(path, model, x)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("opset", EDGES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_oldest_and_newest_operators(tmp_path: Path, opset: int, dtype: str, metric: str) -> None:
    for name in ("digits", "far from zero"):
        x = DATA[name].astype(dtype)
        model, path = trained(x, distance_metric=metric), tmp_path / f"{name}.onnx"
        model.export_onnx(path, dtype, opset)
        written = onnx.load(path)
        onnx.checker.check_model(written, full_check=True)
        assert [(one.domain, one.version) for one in written.opset_import] == [("", opset)]
        compare(path, model, x, 1e-5 if dtype == "float32" else 1e-9)


def test_directions_that_are_nearly_one_keep_their_digits(tmp_path: Path) -> None:
    """Cosine distances of 1e-6: the mean of the centers is subtracted before anything is lost."""
    x = (RNG.normal(size=(800, 6)) + 1000).astype(np.float32)
    model, path = trained(x, distance_metric="cosine"), tmp_path / "m.onnx"
    model.export_onnx(path)
    found, wanted = run(path, x), model.transform(x.astype(np.float64))
    assert wanted.max() < 1e-4
    np.testing.assert_allclose(found.all_scores, wanted, rtol=1e-5)
    assert np.array_equal(found.cluster_idx, model.labels(x))


def test_near_rows_far_from_all_others_have_their_distance(tmp_path: Path) -> None:
    """Where the product of rows and centers has no digit of it left."""
    centers = np.array([[0, 0], [30_000, 0], [0, 30_000]], np.float32)
    model, path = KMeansClustering.from_centers(centers), tmp_path / "m.onnx"
    model.export_onnx(path)
    x = (centers + np.array([[0.25, 0], [0.5, 0], [0, 1]], np.float32)).astype(np.float32)
    found = run(path, x)
    assert found.cluster_idx.tolist() == [0, 1, 2]
    assert found.scores.tolist() == [0.0625, 0.25, 1]
    assert found.all_scores.min(axis=1).tolist() == [0.0625, 0.25, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("offset", [0, 20])
def test_rows_without_direction_go_to_the_first_center(
    tmp_path: Path, offset: float, dtype: str
) -> None:
    x = (BLOBS + offset).astype(dtype)
    x[::50] = 0
    model, path = trained(x, distance_metric="cosine"), tmp_path / "m.onnx"
    model.export_onnx(path, dtype)
    found = run(path, x)
    assert (found.cluster_idx[::50] == 0).all()
    assert (found.scores[::50] == 1).all()
    assert (found.all_scores[::50] == 1).all()
    compare(path, model, x)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0, 20])
def test_rows_that_are_not_finite_are_told(tmp_path: Path, offset: float, metric: str) -> None:
    x = (BLOBS[:40] + offset).astype(np.float32)
    model, path = trained(x, distance_metric=metric), tmp_path / "m.onnx"
    model.export_onnx(path)
    whole, bad = run(path, x), np.arange(40) % 4 == 1
    x[bad, 2] = np.resize([np.nan, np.inf, -np.inf], 10)
    found = run(path, x)
    assert (found.cluster_idx[bad] == -1).all()
    assert np.isnan(found.scores[bad]).all()
    assert np.isnan(found.all_scores[bad]).all()
    for one, before in zip(found, whole, strict=True):
        assert np.array_equal(one[~bad], before[~bad])


def test_a_center_without_direction_is_at_distance_one(tmp_path: Path) -> None:
    centers = np.array([[1, 0], [0, 0], [1, 1]], np.float32)
    model = KMeansClustering.from_centers(centers, "cosine")
    model.export_onnx(tmp_path / "m.onnx")
    x = np.array([[-1, -1], [2, 2], [3, 0], [0, 0]], np.float32)
    found = run(tmp_path / "m.onnx", x)
    assert found.cluster_idx.tolist() == model.labels(x).tolist() == [1, 2, 0, 0]
    assert (found.all_scores[:, 1] == 1).all()
    np.testing.assert_allclose(found.scores, [1, 0, 0, 1], atol=1e-7)
    np.testing.assert_allclose(found.all_scores, model.transform(x), atol=3e-7)


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [("float32", [1e-44, 1e-30, 1e-20, 1e18, 3e37]), ("float64", [1e-320, 1e-200, 1e200, 1e307])],
)
def test_the_direction_of_a_row_does_not_depend_on_its_length(
    tmp_path: Path, dtype: str, scales: list[float]
) -> None:
    x = np.sign(BLOBS - 4).astype(dtype) * [1, 1, 2, 3, 2, 1]
    model, path = trained(x, distance_metric="cosine"), tmp_path / "m.onnx"
    model.export_onnx(path, dtype)
    whole = run(path, x.astype(dtype))
    for scale in scales:
        rows = (x.astype(np.longdouble) * scale).astype(dtype)
        assert np.isfinite(rows).all()
        found = run(path, rows)
        assert np.array_equal(found.cluster_idx, whole.cluster_idx)
        compare(path, model, rows)


def test_any_number_of_rows(tmp_path: Path) -> None:
    x = DATA["iris"].astype(np.float32)
    model, path = trained(x), tmp_path / "m.onnx"
    model.export_onnx(path)
    whole = run(path, x)
    for n in (0, 1, 7):
        found = run(path, x[:n])
        assert [len(one) for one in found] == [n, n, n]
        assert np.array_equal(found.cluster_idx, whole.cluster_idx[:n])
    assert run(path, x[:0]).all_scores.shape == (0, 8)


def test_one_column(tmp_path: Path) -> None:
    x = DATA["blobs"][:, :1].astype(np.float32)
    model, path = trained(x), tmp_path / "m.onnx"
    model.export_onnx(path)
    compare(path, model, x)
    model = KMeansClustering.from_centers(np.array([[-1], [1]], np.float32), "cosine")
    model.export_onnx(path)
    compare(path, model, x)


def test_one_center(tmp_path: Path) -> None:
    x = DATA["far from zero"].astype(np.float32)
    for metric in METRICS:
        model, path = trained(x, 1, distance_metric=metric), tmp_path / f"{metric}.onnx"
        model.export_onnx(path)
        compare(path, model, x)


def test_one_product_of_matrices_and_no_more(tmp_path: Path) -> None:
    for metric in METRICS:
        trained(BLOBS + 50, distance_metric=metric).export_onnx(tmp_path / "m.onnx")
        kinds = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
        assert kinds.count("Gemm") == 1
        assert not {"MatMul", "Loop", "Cast"} & set(kinds)


def test_4096_centers_of_384_columns_are_below_10_mb(tmp_path: Path) -> None:
    centers = RNG.normal(size=(4096, 384)).astype(np.float32)
    for metric in METRICS:
        model = KMeansClustering.from_centers(centers, metric)
        model.export_onnx(tmp_path / "m.onnx")
        assert (tmp_path / "m.onnx").stat().st_size < 10_000_000
        compare(tmp_path / "m.onnx", model, centers[:300] + np.float32(0.5))


def test_what_a_file_says_of_its_model(tmp_path: Path) -> None:
    frame = dict(zip(["a", "b c", "ü"], BLOBS.T, strict=False))
    trained(frame, 4, distance_metric="cosine").export_onnx(tmp_path / "m.onnx", opset=15)
    written = onnx.load(tmp_path / "m.onnx")
    said = {one.key: one.value for one in written.metadata_props}
    assert json.loads(said["shoal.columns"]) == ["a", "b c", "ü"]
    assert said["shoal.distance_metric"] == "cosine"
    assert said["shoal.version"] == written.producer_version == shoal.__version__
    assert (said["shoal.num_clusters"], said["shoal.num_columns"]) == ("4", "3")
    assert written.producer_name == "shoal"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back_from_its_file(tmp_path: Path, dtype: str, metric: str) -> None:
    for name in ("iris", "far from zero"):
        x = DATA[name].astype(dtype)
        frame = {f"c{i}": column for i, column in enumerate(x.T)}
        model = trained(frame, distance_metric=metric)
        model.export_onnx(tmp_path / "m.onnx", dtype)
        again = KMeansClustering.from_onnx(tmp_path / "m.onnx", random_seed=3)
        assert again.columns == model.columns
        assert again.get_params()["distance_metric"] == metric
        assert again.get_params()["random_seed"] == 3
        assert again.clusters().dtype == dtype
        bits = np.finfo(dtype).eps * np.abs(model.clusters()).max(axis=0)
        assert (np.abs(again.clusters() - model.clusters()) <= bits).all()
        assert np.array_equal(again.labels(frame), model.labels(frame))
        again.fit(frame, steps=1)
        assert again.state.global_step == 1


def test_centers_of_float32_come_back_to_the_bit(tmp_path: Path) -> None:
    for x in (BLOBS, BLOBS[:, :3] + [800, -90, 3e5]):
        model = trained(x.astype(np.float32), 50)
        model.export_onnx(tmp_path / "m.onnx")
        assert np.array_equal(
            KMeansClustering.from_onnx(tmp_path / "m.onnx").clusters(), model.clusters()
        )


def test_every_face_is_exported(tmp_path: Path) -> None:
    from shoal.sklearn import KMeans, MiniBatchKMeans

    x, path = DATA["iris"], tmp_path / "m.onnx"
    for metric, ours in zip(METRICS, ("euclidean", "cosine"), strict=True):
        program = shoal.KMeans(x, 5, distance_metric=metric)
        program.training_graph().init_op()
        export.to_onnx(program, path, "float64")
        assert np.array_equal(run(path, x).cluster_idx, program.training_graph().cluster_idx())
        for face in (KMeans, MiniBatchKMeans):
            model = face(5, metric=ours, random_state=0).fit(x)
            export.to_onnx(model, path, "float64")
            assert np.array_equal(run(path, x).cluster_idx, model.predict(x))


def test_values_beyond_the_dtype_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for scale in (1e25, 1e-25):
        model = KMeansClustering.from_centers(BLOBS[:9] * scale)
        with pytest.raises(shoal.BadInputError, match=r"range.*dtype='float64'"):
            model.export_onnx(path)
        assert not path.exists()
        model.export_onnx(path, "float64")
        compare(path, model, BLOBS * scale)
        path.unlink()


def test_centers_that_float32_cannot_tell_apart_are_said(tmp_path: Path) -> None:
    model = KMeansClustering.from_centers([[1.0], [1 + 1e-12], [2.0]])
    with pytest.warns(UserWarning, match="1 of 3 centers are the same as others in float32"):
        model.export_onnx(tmp_path / "m.onnx")
    model.export_onnx(tmp_path / "m.onnx", "float64")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dtype": "float16"}, "dtype is 'float16'; allowed are"),
        ({"dtype": None}, "dtype is None; allowed are"),
        ({"dtype": "fast"}, "dtype is 'fast'; allowed are"),
        ({"opset": 12}, "opset is 12; it must be >= 13"),
        ({"opset": 29}, "opset is 29; it must be <= 28"),
        ({"opset": "new"}, "opset is 'new'; it must be a whole number"),
    ],
)
def test_what_there_is_not_is_refused(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=words):
        KMeansClustering.from_centers([[0.0]]).export_onnx(tmp_path / "m.onnx", **given)
    assert list(tmp_path.iterdir()) == []


def test_an_older_onnx_says_what_it_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: 20)
    model = KMeansClustering.from_centers([[0.0]])
    with pytest.raises(shoal.BadInputError, match=r"opset is 21, and onnx .* up to 20"):
        model.export_onnx(tmp_path / "m.onnx", opset=21)


def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = trained(DATA["iris"])
    model.export_onnx(path)
    whole = path.read_bytes()
    for content in (b"", b"what", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(shoal.BadInputError, match=r"m\.onnx is no ONNX file of shoal"):
            KMeansClustering.from_onnx(path)
    at = whole.rindex(b"centers") + 40  # a bit of a center
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
    with pytest.raises(shoal.BadInputError, match="its checksum is not that of its content"):
        KMeansClustering.from_onnx(path)
    foreign = onnx.load_model_from_string(whole)
    del foreign.metadata_props[:]
    path.write_bytes(foreign.SerializeToString())
    with pytest.raises(shoal.BadInputError, match="its metadata says nothing of shoal"):
        KMeansClustering.from_onnx(path)
    with pytest.raises(shoal.BadInputError, match="there is no file"):
        KMeansClustering.from_onnx(tmp_path / "none.onnx")


def test_untrained_models_have_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(shoal.NotFittedError, match=r"export_onnx\(\) needs trained centers"):
        KMeansClustering(3).export_onnx(tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
