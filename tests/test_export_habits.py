"""What people type at the doors out and in, and what they are told: names, parameters, far data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import Shell

import shoal
from shoal import KMeansClustering
from shoal.export import to_faiss, to_npy, to_onnx

CENTERS = np.array([[0.0, 1.0], [8.0, 9.0], [-7.0, 3.0]])
#: A step of float32 there is 128: seconds since 1970.
FAR = 1.7e9


@pytest.fixture
def model() -> KMeansClustering:
    return KMeansClustering.from_centers(CENTERS, columns=["a", "b"])


@pytest.mark.parametrize(
    ("write", "wrong", "own"),
    [
        (shoal.save_model, (".onnx", ".npy", ".faiss", ".NPY"), ".safetensors"),
        (to_onnx, (".npz", ".safetensors", ".npy"), ".onnx"),
        (to_npy, (".npz", ".onnx"), ".npy"),
        (to_faiss, (".npz", ".safetensors"), ".faiss"),
    ],
)
def test_a_name_of_another_format_is_refused(
    model: KMeansClustering, tmp_path: Path, write: Any, wrong: tuple[str, ...], own: str
) -> None:
    pytest.importorskip("onnx" if write is to_onnx else "faiss" if write is to_faiss else "numpy")
    for ending in wrong:
        path = tmp_path / f"model{ending}"
        path.write_bytes(b"what was there")
        with pytest.raises(shoal.BadInputError, match=rf"ends in \{ending.lower()}, .*\{own}"):
            write(model, path)
        assert path.read_bytes() == b"what was there"
    for name in (f"model{own}", "model", "model.v1"):
        write(model, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 0


def test_exports_given_to_load_model_are_told_what_reads_them(
    model: KMeansClustering, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("faiss")
    to_onnx(model, tmp_path / "m.onnx")
    to_faiss(model, tmp_path / "m.faiss")
    (tmp_path / "data.parquet").write_bytes(b"PAR1 and so on, PAR1")
    reasons = {
        "m.onnx": "is a file of ONNX, .*from_onnx",
        "m.faiss": "is a file of faiss, .*from_faiss_index",
        "data.parquet": "is not a model of shoal.*does not begin as files of safetensors do",
    }
    for name, reason in reasons.items():
        with pytest.raises(shoal.BadInputError, match=rf"{name} {reason}"):
            shoal.load_model(tmp_path / name)
    with pytest.raises(shoal.BadInputError, match=r"no \.npy file, .*does not begin as one"):
        KMeansClustering.from_centers(tmp_path / "m.onnx")


def test_what_comes_with_centers_is_not_given_again(model: KMeansClustering) -> None:
    pytest.importorskip("sklearn")
    fitted = model.to_sklearn()
    from_sklearn = KMeansClustering.from_sklearn
    for name, value in {"distance_metric": "cosine", "initial_clusters": "random"}.items():
        with pytest.raises(shoal.BadInputError, match=f"from_sklearn has no parameter '{name}'"):
            from_sklearn(fitted, **{name: value})
    with pytest.raises(shoal.BadInputError, match="from_centers has no parameter 'initial_cl"):
        KMeansClustering.from_centers(CENTERS, initial_clusters=CENTERS)
    assert np.array_equal(from_sklearn(fitted, num_clusters=3).clusters(), CENTERS)
    with pytest.raises(shoal.BadInputError, match=r"num_clusters is 7, .* has 3 rows"):
        from_sklearn(fitted, num_clusters=7)


def test_models_without_centers_are_not_called_untrained() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    trees = cluster.AgglomerativeClustering(2).fit(CENTERS)
    with pytest.raises(shoal.BadInputError, match="AgglomerativeClustering, which has no centers"):
        KMeansClustering.from_sklearn(trees)


def test_indexes_get_names_of_columns(model: KMeansClustering) -> None:
    faiss = pytest.importorskip("faiss")
    index = model.to_faiss_index()
    again = KMeansClustering.from_faiss_index(index, columns=["a", "b"])
    assert again.labels({"b": [9.0], "a": [8.0]}).tolist() == [1]
    with pytest.raises(shoal.BadInputError, match="columns has 1 names, and centers 2 columns"):
        KMeansClustering.from_faiss_index(index, columns=["a"])
    with pytest.raises(shoal.BadInputError, match=r"ivf is 'm\.faiss'; .*to_faiss\(model, path\)"):
        model.to_faiss_index("m.faiss")
    with pytest.raises(shoal.BadInputError, match=r"give its \.index"):
        KMeansClustering.from_faiss_index(faiss.Kmeans(2, 3))


def test_float32_exports_of_far_centers_warn(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("faiss")
    centers = FAR + 500 * np.arange(6.0).reshape(6, 1)
    rows = FAR + np.random.default_rng(0).uniform(0, 2500, (500, 1))
    far = KMeansClustering.from_centers(centers)
    with pytest.warns(UserWarning, match=r"steps of 1\.3e\+02.*Use dtype='float64'"):
        far.export_onnx(tmp_path / "m.onnx")
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    assert (session.run(["cluster_idx"], {"X": rows.astype("f4")})[0] != far.labels(rows)).any()
    with pytest.warns(UserWarning, match="Subtract the mean from rows and centers first"):
        far.to_faiss_index()

    far.export_onnx(tmp_path / "m.onnx", dtype="float64")  # warnings are errors here
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    assert (session.run(["cluster_idx"], {"X": rows})[0] == far.labels(rows)).all()
    narrow = KMeansClustering.from_centers(centers[::2].astype(np.float32))
    narrow.export_onnx(tmp_path / "m.onnx")  # its rows were float32, too
    KMeansClustering.from_centers(centers - FAR).export_onnx(tmp_path / "m.onnx")
    KMeansClustering.from_centers(centers[:1]).export_onnx(tmp_path / "m.onnx")  # one label


def test_the_face_of_scikit_learn_says_what_it_cannot_read() -> None:
    pandas = pytest.importorskip("pandas")
    kmeans = pytest.importorskip("shoal.sklearn").KMeans(2, random_state=0)
    with pytest.raises(ValueError, match=r"Expected a 2-dimensional container but got .*Series"):
        kmeans.fit(pandas.Series([1.0, 2.0, 3.0]))
    with pytest.raises(shoal.BadInputError, match=r"X has dtype datetime64.*make numbers of them"):
        kmeans.fit(pandas.DataFrame({"day": pandas.date_range("2020", periods=5)}))
    with pytest.raises(shoal.BadInputError, match=r"another byte order.*astype\(np\.float64\)"):
        kmeans.fit(CENTERS.astype(CENTERS.dtype.newbyteorder()))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "fit d.npy -k 2 --asynchronous",
            "--asynchronous is for mini-batches, and --mini-b",
        ),
        ("fit d.npy -k 2 --max-staleness 2", "--max-staleness is 2, and --asynchronous is not giv"),
        ("choose-k d.npy --k 5:2", "'5:2' must be like 2:20"),
        ("export m.safetensors --format savedmodel -o d.npy", "d.npy is a file: give -o the name"),
        (
            "export m.safetensors --format onnx -o m.npz",
            "ends in .npz, and files of this format",
        ),
    ],
)
def test_the_command_line_speaks_of_options(
    model: KMeansClustering,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("d.npy", CENTERS)
    shoal.save_model(model, "m.safetensors")
    code, _, errors = Shell(capsys).run(command)
    assert code
    assert message in errors


def test_a_model_far_from_zero_is_said_to_be_rounded_by_scikit_learn(
    recwarn: pytest.WarningsRecorder,
) -> None:
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32) + 4e4
    model = shoal.KMeansClustering(4, use_mini_batch=False, random_seed=0).fit(x, steps=3)
    with pytest.warns(UserWarning, match="scikit-learn computes distances in float32 from squares"):
        theirs = model.to_sklearn()
    assert (theirs.predict(x) != model.labels(x)).any()  # it is true
    recwarn.clear()
    same = model.to_sklearn(dtype="float64")
    assert not recwarn
    assert np.array_equal(same.predict(x.astype(np.float64)), model.labels(x))
