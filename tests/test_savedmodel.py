"""export_savedmodel and export: arguments, and what keeps them from writing.

What TensorFlow reads is in ``savedmodel_in_tensorflow.py``, run in a process of its own: there is
no other library in it whose threads and warnings would meet those of TensorFlow.
"""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_rows

import shoal
from shoal.export.folders import write_stamped

X = make_rows()
#: Where there are wheels of tensorflow-cpu, as the extra `test` has it.
WHEELS = platform.machine() == "x86_64" and sys.version_info < (3, 14)


def trained() -> shoal.KMeansClustering:
    return shoal.KMeansClustering(5).fit(X, steps=3)


@pytest.mark.slow
@pytest.mark.skipif(not WHEELS, reason="no wheel of tensorflow-cpu for this Python or processor")
def test_tensorflow_reads_what_is_written() -> None:
    script = Path(__file__).with_name("savedmodel_in_tensorflow.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(script)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert " skipped" not in done.stdout


# ---- Before anything is written ----


@pytest.mark.parametrize("method", ["export_savedmodel", "export_saved_model", "export"])
class TestEach:
    def test_an_untrained_model(self, method: str, tmp_path: Path) -> None:
        with pytest.raises(shoal.NotFittedError, match=r"export.*needs trained centers"):
            getattr(shoal.KMeansClustering(5), method)(tmp_path / "exports")
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_argument(self, method: str, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="exports_to_kep"):
            getattr(trained(), method)(tmp_path, exports_to_kep=3)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("base", [None, 3, b"exports", "", "gs://bucket/exports"])
    def test_no_path(self, method: str, base: Any) -> None:
        with pytest.raises(shoal.BadInputError, match=r"export_dir.* is .*; it must be the path"):
            getattr(trained(), method)(base)

    def test_a_file_is_no_directory(self, method: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(shoal.BadInputError, match="which is not a directory"):
            getattr(trained(), method)(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_checkpoint_that_is_not_there(self, method: str, tmp_path: Path) -> None:
        with pytest.raises(shoal.CheckpointError, match="there is no checkpoint"):
            getattr(trained(), method)(tmp_path, checkpoint_path=str(tmp_path / "none"))

    def test_a_missing_extra(
        self, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "tensorflow", None)
        monkeypatch.setitem(sys.modules, "onnx", None)
        with pytest.raises(shoal.MissingExtraError, match=r"tensorflow.*shoal\[tensorflow\]"):
            getattr(trained(), method)(tmp_path / "exports")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("serving_input_fn", 3, "callable"),
        ("default_output_alternative_key", "head", "'cluster_idx', 'scores', 'all_scores'"),
        ("assets_extra", ["a"], "dict"),
        ("assets_extra", {"../a": __file__}, "within assets.extra"),
        ("assets_extra", {"/a": __file__}, "within assets.extra"),
        ("assets_extra", {"": __file__}, "within assets.extra"),
        ("assets_extra", {3: __file__}, "within assets.extra"),
        ("assets_extra", {"shoal.json": __file__}, "shoal describes"),
        ("assets_extra", {"a": "no/such/file"}, "path of a file"),
        ("assets_extra", {"a": None}, "path of a file"),
        ("as_text", "yes", "True or False"),
        ("strip_default_attrs", None, "True or False"),
    ],
)
def test_wrong_values(name: str, value: Any, allowed: str, tmp_path: Path) -> None:
    with pytest.raises(shoal.BadInputError, match=f"{name}.*{allowed}"):
        trained().export_savedmodel(tmp_path, **{name: value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("exports_to_keep", 0, ">= 1, or None"),
        ("exports_to_keep", "all", "whole number"),
        ("prediction_key", "classes", "'cluster_idx', 'scores', 'all_scores'"),
    ],
)
def test_wrong_values_of_numbered_exports(
    name: str, value: Any, allowed: str, tmp_path: Path
) -> None:
    with pytest.raises(shoal.BadInputError, match=f"{name}.*{allowed}"):
        trained().export(tmp_path, **{name: value})
    assert list(tmp_path.iterdir()) == []


# ---- Arguments that have no meaning any more ----


class WrittenError(Exception):
    """Stands for an export that would be written now."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise WrittenError

    monkeypatch.setattr("shoal.export.savedmodel.export_savedmodel", stop)
    monkeypatch.setattr("shoal.export.numbered.export", stop)


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("method", "name", "value", "why"),
    [
        ("export_savedmodel", "graph_rewrite_specs", (("serve", ()),), "TensorFlow 2"),
        ("export", "input_fn", lambda: None, "rows as they are"),
        ("export", "input_feature_key", "examples", "rows as they are"),
        ("export", "use_deprecated_input_fn", False, "rows as they are"),
        ("export", "signature_fn", lambda *_: None, "serving_default, cluster_idx"),
        ("export", "default_batch_size", 64, "any number of rows"),
    ],
)
def test_what_is_not_used_is_said(method: str, name: str, value: Any, why: str) -> None:
    model, message = trained(), f"{name} is not used: .*{why}"
    with pytest.warns(UserWarning, match=message) as said, pytest.raises(WrittenError):
        getattr(model, method)("exports", **{name: value})
    assert len(said) == 1
    assert said[0].filename == __file__


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("method", ["export_savedmodel", "export"])
def test_what_is_not_asked_for_is_not_warned_of(method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WrittenError):
            getattr(trained(), method)("exports", checkpoint_path=None)


# ---- Directories ----


def test_many_exports_at_once_each_have_a_number(tmp_path: Path) -> None:
    def write(part: Path) -> None:
        for name in "abc":
            (part / name).write_text("whole")

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: write_stamped(tmp_path, write), range(40)))
    assert len(set(paths)) == 40
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert all(sorted(file.name for file in path.iterdir()) == ["a", "b", "c"] for path in paths)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError])
def test_what_is_interrupted_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def write(part: Path) -> None:
        (part / "half").write_text("half")
        raise error("now")

    wanted = shoal.BadInputError if error is OSError else error
    with pytest.raises(wanted, match="now"):
        write_stamped(tmp_path / "new" / "exports", write)
    assert list(tmp_path.iterdir()) == []


# ---- Without TensorFlow ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_export_writes_onnx(
    dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    rows = X.astype(dtype)
    model = shoal.KMeansClustering(5).fit(rows, steps=3)
    path = model.export(tmp_path)
    assert path == str(tmp_path / "00000003")
    assert [file.name for file in Path(path).iterdir()] == ["model.onnx"]
    assert "export writes model.onnx, as TensorFlow is not installed" in caplog.text
    again = shoal.KMeansClustering.from_onnx(Path(path, "model.onnx"))
    assert again.clusters().dtype == dtype
    assert np.array_equal(again.labels(rows), model.labels(rows))
    model.fit(rows, steps=1).export(tmp_path, exports_to_keep=1)
    assert [folder.name for folder in tmp_path.iterdir()] == ["00000004"]


def test_two_exports_of_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    model = trained()
    (tmp_path / "00000003").mkdir()  # an empty one would be replaced
    with pytest.raises(shoal.BadInputError, match="00000003 is there already"):
        model.export(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["00000003"]


def test_no_room_for_onnx_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    model = trained()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(shoal.BadInputError, match="cannot be written: File too large"):
            model.export(tmp_path / "new" / "exports")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a directory nobody can write in")
def test_a_directory_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(shoal.BadInputError, match="cannot be written to /proc/exports"):
        trained().export("/proc/exports")
