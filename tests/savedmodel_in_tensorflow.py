"""SavedModels as TensorFlow reads them; ``test_savedmodel.py`` runs this in its own process."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functools
import json
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import tensorflow as tf
from helpers import make_rows
from tensorflow.core.protobuf import saved_model_pb2

import shoal
from shoal.export import savedmodel

CITIES = Path(__file__).resolve().parents[1] / "examples" / "data" / "cities.parquet"
METRICS = ("squared_euclidean", "cosine")
OUTPUTS = ("cluster_idx", "scores", "all_scores")
#: Distances agree to so many of their last digits.
DIGITS = {"float32": 1e-6, "float64": 1e-8}


def fitted(rows: Any, k: int = 5, **more: Any) -> shoal.KMeansClustering:
    return shoal.KMeansClustering(k, **more).fit(rows, steps=10)


def served(path: str, rows: Any, signature: str = "serving_default", name: str = "input") -> Any:
    """What a signature answers."""
    return loaded(path).signatures[signature](**{name: tf.constant(rows)})["output"].numpy()


loaded = functools.cache(tf.saved_model.load)


def assert_answers_as(model: shoal.KMeansClustering, path: str, rows: Any) -> None:
    wanted = model.predict(rows, as_iterable=False)
    assert isinstance(wanted, dict)
    for name in OUTPUTS:
        found = served(path, rows, name)
        assert found.dtype == wanted[name].dtype
        if name == "cluster_idx":
            assert np.array_equal(found, wanted[name])
        else:
            assert np.allclose(found, wanted[name], rtol=DIGITS[found.dtype.name], atol=1e-30)


def left(base: Path) -> list[str]:
    return sorted(path.name for path in base.iterdir()) if base.exists() else []


# ---- What it answers ----


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("metric", METRICS)
def test_it_answers_as_predict(metric: str, dtype: str, offset: float, tmp_path: Path) -> None:
    rows = (make_rows(2000, 7, 9) + offset).astype(dtype)
    model = fitted(rows, 9, distance_metric=metric)
    assert_answers_as(model, model.export_savedmodel(tmp_path), rows)


def test_places_on_earth(tmp_path: Path) -> None:
    table = parquet.read_table(CITIES, columns=["latitude", "longitude"])
    rows = np.stack([column.to_numpy() for column in table.columns], axis=1)
    model = fitted(rows, 100, use_mini_batch=False)
    path = model.export_savedmodel(tmp_path)
    found = served(path, rows.astype(model.clusters().dtype))
    assert np.array_equal(found, model.labels(rows))
    assert len(rows) > 100_000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("metric", METRICS)
def test_rows_close_to_a_center(metric: str, dtype: str, tmp_path: Path) -> None:
    centers = make_rows(20, 6, 0).astype(dtype)
    model = shoal.KMeansClustering(None, initial_clusters=centers, distance_metric=metric)
    steps = 10.0 ** -np.arange(1, 8 if dtype == "float64" else 5)
    rows = (centers[:, None] * (1 + steps[:, None] * np.arange(6))).reshape(-1, 6).astype(dtype)
    path = model.export_savedmodel(tmp_path)
    assert_answers_as(model, path, rows)
    scores, distances = served(path, rows, "scores"), served(path, rows, "all_scores")
    assert np.array_equal(scores, distances.min(axis=1))
    assert scores[scores > 0].min() < 1e-6


@pytest.mark.parametrize("metric", METRICS)
def test_rows_and_centers_of_zero(metric: str, tmp_path: Path) -> None:
    centers = np.array([[1.0, 0.0], [0.0, 0.0], [-3.0, -3.0]])
    model = shoal.KMeansClustering(None, initial_clusters=centers, distance_metric=metric)
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [-1.0, -1.0], [0.0, 1.0], [-2.0, 1.0]])
    assert_answers_as(model, model.export_savedmodel(tmp_path), rows)


def test_lengths_whose_squares_leave_the_range_of_float64(tmp_path: Path) -> None:
    rows = make_rows(200, 3) * 10.0 ** np.linspace(-300, 300, 200)[:, None]
    model = fitted(rows, distance_metric="cosine")
    assert_answers_as(model, model.export_savedmodel(tmp_path), rows)


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_that_is_not_finite_has_no_center(metric: str, tmp_path: Path) -> None:
    rows = make_rows()
    model = fitted(rows, distance_metric=metric)
    wanted = model.labels(rows[:4])
    asked = rows[:4].copy()
    asked[1, 2], asked[3, 0] = np.nan, -np.inf
    path = model.export_savedmodel(tmp_path)
    assert served(path, asked).tolist() == [wanted[0], -1, wanted[2], -1]
    for name in ("scores", "all_scores"):
        found = np.isnan(served(path, asked, name)).reshape(4, -1)
        assert found.all(axis=1).tolist() == [False, True, False, True]
        assert found.any(axis=1).tolist() == [False, True, False, True]


def test_the_default_signature_is_the_nearest_center_or_what_is_asked(tmp_path: Path) -> None:
    rows = make_rows(dtype=np.float32)
    model = fitted(rows)
    wanted = model.predict(rows, as_iterable=False)
    for key, name in [(None, "cluster_idx"), ("scores", "scores"), ("all_distances", "all_scores")]:
        path = model.export_savedmodel(tmp_path, default_output_alternative_key=key)
        assert np.allclose(served(path, rows), wanted[name], rtol=1e-6)
    later = {"cluster_index", "all_distances"}
    assert set(loaded(path).signatures) == {*OUTPUTS, "serving_default", *later}
    assert np.array_equal(served(path, rows, "cluster_index"), wanted["cluster_idx"])


@pytest.mark.parametrize("metric", METRICS)
def test_the_centers_are_the_variable_clusters(metric: str, tmp_path: Path) -> None:
    model = fitted(make_rows(dtype=np.float32), distance_metric=metric)
    path = model.export_savedmodel(tmp_path)
    found = tf.train.load_variable(str(Path(path, "variables", "variables")), "clusters")
    assert found.dtype == np.float32
    assert np.array_equal(found, model.clusters())
    assert "clusters:0" in [one.name for one in loaded(path).variables]


def test_the_command_line_of_tensorflow_runs_it(tmp_path: Path) -> None:
    rows = make_rows(dtype=np.float32)
    model = fitted(rows)
    np.save(tmp_path / "rows.npy", rows)
    path = model.export_savedmodel(tmp_path / "exports")
    tool = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]
    how = ["--dir", path, "--tag_set", "serve", "--signature_def", "serving_default"]
    given = ["--inputs", f"input={tmp_path / 'rows.npy'}", "--outdir", str(tmp_path)]
    done = subprocess.run([*tool, "run", *how, *given], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "output.npy"), model.labels(rows))


# ---- How it is written ----


def content(path: str) -> Any:
    return saved_model_pb2.SavedModel.FromString(Path(path, "saved_model.pb").read_bytes())


def test_it_follows_the_conventions_of_serving(tmp_path: Path) -> None:
    path = fitted(make_rows(dtype=np.float32)).export_savedmodel(tmp_path)
    (graph,) = content(path).meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    for name, signature in graph.signature_def.items():
        assert signature.method_name == "tensorflow/serving/predict"
        given = signature.inputs["input"]
        assert [axis.size for axis in given.tensor_shape.dim] == [-1, 4]
        assert given.dtype == tf.float32.as_datatype_enum
        axes = signature.outputs["output"].tensor_shape.dim
        assert [axis.size for axis in axes] == ([-1, 5] if name.startswith("all") else [-1])
    assert all(node.device == "" for node in graph.graph_def.node)


def test_the_centers_are_not_in_the_graph(tmp_path: Path) -> None:
    model = shoal.KMeansClustering(None, initial_clusters=make_rows(500, 400, 0))
    path = Path(model.export_savedmodel(tmp_path))
    assert (path / "saved_model.pb").stat().st_size < 50_000
    sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    assert 2 * 500 * 400 * 8 < sum(sizes) < 2 * 500 * 400 * 8 + 100_000


def test_as_text(tmp_path: Path) -> None:
    rows = make_rows()
    model = fitted(rows)
    path = model.export_savedmodel(tmp_path, as_text=True)
    assert not Path(path, "saved_model.pb").exists()
    assert (
        'method_name: "tensorflow/serving/predict"' in Path(path, "saved_model.pbtxt").read_text()
    )
    assert_answers_as(model, path, rows)


def test_attributes_that_have_their_default_value_are_left_out(tmp_path: Path) -> None:
    rows = make_rows()
    model = fitted(rows)
    whole = model.export_savedmodel(tmp_path)
    stripped = model.export_savedmodel(tmp_path, strip_default_attrs=True)
    assert content(stripped).ByteSize() < content(whole).ByteSize()
    assert content(stripped).meta_graphs[0].meta_info_def.stripped_default_attrs
    assert_answers_as(model, stripped, rows)


def test_assets_are_copied(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    assets = {"names.txt": tmp_path / "names.txt", "more/again.txt": str(tmp_path / "names.txt")}
    path = fitted(make_rows()).export_savedmodel(tmp_path / "exports", assets_extra=assets)
    for name in assets:
        assert Path(path, "assets.extra", name).read_text() == "one\ntwo\n"


def test_it_says_what_it_is_without_tensorflow(tmp_path: Path) -> None:
    columns = dict(zip("wxyz", make_rows().T, strict=True))
    model = fitted(columns, distance_metric="cosine")
    path = model.export_savedmodel(tmp_path)
    said = json.loads(Path(path, "assets.extra", "shoal.json").read_text())
    assert said == savedmodel.describe(Path(path))
    assert said["columns"] == ["w", "x", "y", "z"]
    assert (said["num_clusters"], said["num_columns"]) == (5, 4)
    assert (said["distance_metric"], said["dtype"]) == ("cosine", "float64")
    assert (said["global_step"], said["version"]) == (10, shoal.__version__)
    Path(path, "assets.extra", "shoal.json").unlink()
    with pytest.raises(shoal.BadInputError, match="no SavedModel of shoal"):
        savedmodel.describe(Path(path))


def test_directories_are_numbered_by_time_and_rise(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    model = fitted(make_rows())
    paths = [Path(model.export_savedmodel(str(tmp_path))) for _ in range(3)]
    stamps = [int(path.name) for path in paths]
    assert stamps == sorted(set(stamps))
    now = tmp_path.stat().st_mtime
    assert now - 600 < stamps[0] <= now + 1
    (tmp_path / "9999999999").mkdir()
    assert Path(model.export_savedmodel(tmp_path)).name == "10000000000"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o777 & ~umask
    expected = {"notes", "9999999999", "10000000000", *(path.name for path in paths)}
    assert set(left(tmp_path)) == expected


def test_a_checkpoint_that_is_asked_for(tmp_path: Path) -> None:
    rows = make_rows()
    config = shoal.RunConfig(save_checkpoints_steps=1, keep_checkpoint_max=None)
    model = shoal.KMeansClustering(5, model_dir=str(tmp_path / "model"), config=config)
    before = model.fit(rows, steps=1).clusters()
    model.fit(rows, steps=5)
    path = model.export_savedmodel(
        tmp_path / "exports", checkpoint_path="step-000000001.safetensors"
    )
    found = tf.train.load_variable(str(Path(path, "variables", "variables")), "clusters")
    assert np.array_equal(found, before)
    assert not np.array_equal(found, model.clusters())


def test_by_its_later_name(tmp_path: Path) -> None:
    rows = make_rows()
    model = fitted(rows)
    assert_answers_as(model, model.export_saved_model(tmp_path), rows)


# ---- What it is fed with ----

COLUMNS = ("height", "width", "depth")


def columns_model() -> tuple[shoal.KMeansClustering, dict[str, Any]]:
    rows = dict(zip(COLUMNS, make_rows(100, 3, dtype=np.float32).T, strict=True))
    return fitted(rows), rows


def test_columns_by_name_in_any_order(tmp_path: Path) -> None:
    model, rows = columns_model()

    def serving_input_fn() -> Any:
        named = reversed(COLUMNS)
        features = {name: tf.compat.v1.placeholder(tf.float32, [None]) for name in named}
        return SimpleNamespace(features=features, receiver_tensors=features)

    path = model.export_savedmodel(tmp_path, serving_input_fn)
    answer = loaded(path).signatures["serving_default"]
    found = answer(**{name: tf.constant(rows[name]) for name in COLUMNS})["output"].numpy()
    assert np.array_equal(found, model.labels(rows))


def test_requests_that_the_graph_parses(tmp_path: Path) -> None:
    model, rows = columns_model()

    def serving_input_fn() -> Any:
        examples = tf.compat.v1.placeholder(tf.string, [None], name="examples")
        kinds = {name: tf.io.FixedLenFeature([1], tf.float32) for name in COLUMNS}
        return tf.io.parse_example(examples, kinds), None, {"examples": examples}

    path = model.export_saved_model(tmp_path, serving_input_fn)
    asked = []
    for row in zip(*rows.values(), strict=True):
        example = tf.train.Example()
        for name, value in zip(COLUMNS, row, strict=True):
            example.features.feature[name].float_list.value.append(value)
        asked.append(example.SerializeToString())
    assert np.array_equal(served(path, asked, name="examples"), model.labels(rows))


def test_words_that_a_table_of_the_graph_knows(tmp_path: Path) -> None:
    words = ["near", "far", "there"]
    vectors = np.array([[0.0, 0.1], [9.0, 9.0], [0.2, 0.0]], np.float32)
    (tmp_path / "words.txt").write_text("\n".join(words))

    def serving_input_fn() -> Any:
        asked = tf.compat.v1.placeholder(tf.string, [None], name="words")
        content = tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        table = tf.lookup.StaticHashTable(content, default_value=0)
        known = tf.compat.v1.get_variable("vectors", initializer=vectors)
        return tf.gather(known, table.lookup(asked)), None, asked

    model = shoal.KMeansClustering(None, initial_clusters=vectors[:2])
    path = model.export_savedmodel(tmp_path / "exports", serving_input_fn)
    (tmp_path / "words.txt").unlink()
    assert (Path(path) / "assets" / "words.txt").is_file()
    assert served(path, ["there", "far", "near"]).tolist() == [0, 1, 0]


def test_rows_of_another_dtype(tmp_path: Path) -> None:
    rows = make_rows(dtype=np.float32)
    model = fitted(rows)
    path = model.export_savedmodel(
        tmp_path, lambda: tf.compat.v1.placeholder(tf.float16, [None, 4], name="halves")
    )
    halves = rows.astype(np.float16)
    assert np.array_equal(served(path, halves), model.labels(halves))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (lambda: {"height": 1}, "features of type int"),
        (lambda: None, "features of type NoneType"),
        (lambda: tf.compat.v1.placeholder(tf.float32, [None, 2]), r"\[n, 3\]"),
        (
            lambda: {"height": tf.compat.v1.placeholder(tf.float32, [None])},
            r"\['height'\]; the model has the columns \['height', 'width', 'depth'\]",
        ),
    ],
)
def test_inputs_that_are_not_the_models(features: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(shoal.BadInputError, match=f"serving_input_fn returned.*{message}"):
        columns_model()[0].export_savedmodel(tmp_path, features)
    assert left(tmp_path) == []


def test_a_serving_input_fn_that_fails(tmp_path: Path) -> None:
    def serving_input_fn() -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        columns_model()[0].export_savedmodel(tmp_path / "new" / "exports", serving_input_fn)
    assert left(tmp_path) == []


# ---- What cannot be written ----


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """Files may have no more bytes; as where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [300, 4000, 100_000])
def test_no_room_leaves_nothing(size: int, tmp_path: Path) -> None:
    model = shoal.KMeansClustering(None, initial_clusters=make_rows(500, 100, 0))
    (tmp_path / "exports").mkdir()
    with no_room(size), pytest.raises(shoal.BadInputError, match=f"{tmp_path}.*large"):
        model.export_savedmodel(tmp_path / "exports")
    assert left(tmp_path / "exports") == []
    with no_room(size), pytest.raises(shoal.BadInputError, match="cannot be written"):
        model.export(tmp_path / "new" / "numbered")
    assert left(tmp_path) == ["exports"]
    model.export_savedmodel(tmp_path / "exports")


# ---- Numbered ----


def test_export_is_numbered_by_the_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "shoal")
    rows = make_rows()
    model = fitted(rows)
    path = model.export(tmp_path)
    assert path == str(tmp_path / "00000010")
    assert f"export wrote a SavedModel: {path}" in caplog.text
    assert_answers_as(model, path, rows)
    assert np.allclose(
        served(model.fit(rows, steps=1).export(tmp_path, prediction_key="scores"), rows),
        model.predict(rows, outputs=["scores"], as_iterable=False)["scores"],
    )
    with pytest.raises(shoal.BadInputError, match="00000011 is there already"):
        model.export(tmp_path)
    assert left(tmp_path) == ["00000010", "00000011"]


def test_so_many_exports_are_kept(tmp_path: Path) -> None:
    for name in ("00000003", "00000020", "notes"):  # of someone else
        (tmp_path / name).mkdir()
    rows = make_rows()
    model = fitted(rows)
    for _ in range(5):
        model.fit(rows, steps=1).export(tmp_path, exports_to_keep=2)
    assert left(tmp_path) == ["00000003", "00000014", "00000015", "00000020", "notes"]
    early = fitted(rows).export(tmp_path, exports_to_keep=1)  # of a lower step than those there
    assert left(tmp_path) == ["00000003", "00000010", "00000015", "00000020", "notes"]
    assert_answers_as(fitted(rows), early, rows)
