"""`shoal export`, and `shoal inspect` of what it writes."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import NAMES, Shell, X, trained

import shoal
from shoal.cli.arguments import FORMATS
from shoal.storage import files

#: What each format needs, beside shoal itself.
NEEDS = {"onnx": "onnx", "faiss": "faiss"}
FILES = [name for name in FORMATS if name != "savedmodel"]
FRAME = dict(zip(NAMES, X.T, strict=True))


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.chdir(tmp_path)
    shoal.save_model(trained(distance_metric="cosine").fit(FRAME, steps=2), "model")
    return Shell(capsys)


def need(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])


@pytest.mark.parametrize("name", FILES)
def test_a_model_is_exported_and_inspected(shell: Shell, name: str) -> None:
    need(name)
    output = f"there{FORMATS[name]}"
    said = shell.json(f"export model -o {output} --quiet")
    assert said == {
        "model": "model",
        "format": name,
        "clusters": 5,
        "columns": NAMES,
        "metric": "cosine",
        "output": output,
        "bytes": Path(output).stat().st_size,
    }
    found = shell.json(f"inspect {output}")
    assert (found["model"], found["clusters"]) == (output, 5)
    assert found["columns"] == (3 if name in ("npy", "faiss") else NAMES)
    assert found["dtype"] == ("float64" if name in ("npy", "npz", "safetensors") else "float32")
    assert found.get("metric") == (None if name == "npy" else "cosine")
    assert sorted(os.listdir()) == sorted(["model", output])
    assert "clusters       5" in shell.ok(f"inspect {output}")


def test_what_is_written_is_the_model(shell: Shell) -> None:
    need("onnx")
    need("faiss")
    model = shoal.load_model("model")
    back = shoal.KMeansClustering
    shell.ok("export model -o c.npy --quiet")
    assert np.array_equal(np.load("c.npy"), model.clusters())
    shell.ok("export model --format onnx -o net --dtype float64 --opset 21 --quiet")
    again = back.from_onnx("net")
    assert np.array_equal(again.labels(FRAME), model.labels(FRAME))
    said = shell.json("inspect net")
    assert (said["opset"], said["dtype"]) == (21, "float64")
    assert said["version"] == f"shoal {shoal.__version__}"
    shell.ok("export model --ivf -o i.faiss --quiet")
    assert np.array_equal(back.from_faiss_index("i.faiss").labels(X), model.labels(X))
    said = shell.json("inspect i.faiss")
    assert (said["index"], said["vectors"]) == ("IndexIVFFlat", 0)
    for name in ("m.npz", "m.safetensors"):
        shell.ok(f"export model -o {name} --quiet")
        assert np.array_equal(shoal.load_model(name).clusters(), model.clusters())


def test_a_directory_of_checkpoints_is_exported(shell: Shell) -> None:
    trained(model_dir="run").fit(X, steps=2)
    assert shell.json("export run -o c.npy")["columns"] == 3
    assert np.array_equal(np.load("c.npy"), shoal.load_model("run").clusters())


def test_a_numbered_export_is_inspected(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    need("onnx")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    written = trained().fit(FRAME, steps=2).export("exports")
    assert shell.json(f"inspect {written}")["columns"] == NAMES


def test_names_that_have_no_place_are_said(shell: Shell) -> None:
    _, _, err = shell.run("export model -o c.npy")
    assert "c.npy has no names of columns: their order is a, b, c" in err


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="no wheel of tensorflow-cpu here"
)
def test_a_savedmodel_is_a_directory(tmp_path: Path) -> None:
    """In a process of its own, as TensorFlow's threads and warnings are."""
    import subprocess

    shoal.save_model(trained().fit(FRAME, steps=2), tmp_path / "model")
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        command = ["export", "model", "--format", "savedmodel", "-o", name, "--json"]
        for words in (command, ["inspect", name, "--json"]):
            done = subprocess.run(
                [sys.executable, "-m", "shoal", *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        assert '"clusters": 5' in done.stdout
        assert '"columns": ["a", "b", "c"]' in done.stdout
        assert (tmp_path / name / "saved_model.pb").is_file()
    assert sorted(os.listdir(tmp_path)) == ["empty", "model", "new"]


# ---- What goes wrong ----


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("export none -o c.npy", ("there is no model file or directory none",)),
        ("export x.csv -o c.npy", ("x.csv is not a model of shoal",)),
        ("export folder -o c.npy", ("there is no checkpoint in folder",)),
        ("export young -o c.npy", ("young was saved before all of its centers were chosen",)),
        ("export model -o c.txt", ("c.txt does not say its format", "--format", ".onnx")),
        ("export model -o c", ("c does not say its format",)),
        ("export model -o there/c.npy", ("there is no directory there",)),
        ("export model -o x.npy", ("x.npy exists", "--force")),
        ("export model -o folder --format npy", ("folder is a directory",)),
        ("export model -o folder --format savedmodel", ("directory folder is not empty",)),
        ("export model -o model --format npz --force", ("model is the model itself",)),
        ("export model -o - --format npy", ("standard output",)),
        ("export model -o c.npy --ivf", ("--ivf is for --format faiss",)),
        ("export model -o c.npy --dtype float64", ("--dtype is for --format onnx",)),
        ("export model -o c.faiss --opset 17", ("--opset is for --format onnx",)),
        ("inspect x.npy", ("x.npy has shape (4,)", "(k, d)")),
        ("inspect folder", ("there is no checkpoint in folder",)),
        ("inspect none.onnx", ("there is no file none.onnx",)),
        ("inspect none.faiss", ("there is no file none.faiss",)),
        ("inspect cut.npy", ("cut.npy is no .npy file, or damaged",)),
    ],
)
def test_errors(shell: Shell, command: str, words: tuple[str, ...]) -> None:
    Path("x.csv").write_text("a,b\n1,2\n")
    np.save("x.npy", np.arange(4.0))
    Path("cut.npy").write_bytes(Path("x.npy").read_bytes()[:-3])
    Path("folder").mkdir()
    Path("folder", "file").write_text("mine")
    young = shoal.KMeansClustering(5, model_dir="young", initial_clusters="random")
    young.partial_fit(X[:2])
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    shell.error(command, *words)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", NEEDS)
def test_values_that_float32_has_no_room_for(shell: Shell, name: str) -> None:
    need(name)
    shoal.save_model(shoal.KMeansClustering.from_centers([[1e60], [2.0]]), "far")
    shell.error(f"export far -o m{FORMATS[name]}", "float32")
    if name == "onnx":
        shell.error("export far -o m.onnx", "--dtype float64")
        shell.error("export far -o m.onnx --opset 9", "--opset is 9; it must be >= 13")
    assert sorted(os.listdir()) == ["far", "model"]


@pytest.mark.parametrize("name", ["onnx", "faiss"])
def test_what_is_no_export_is_not_inspected(shell: Shell, name: str) -> None:
    need(name)
    path = Path(f"m{FORMATS[name]}")
    shell.ok(f"export model -o {path} --quiet")
    whole = path.read_bytes()
    for content in (b"", b"what", whole[: len(whole) // 2]):
        path.write_bytes(content)
        shell.error(f"inspect {path}", f"{path} is no", "damaged")


@pytest.mark.parametrize("name", [*NEEDS, "savedmodel"])
def test_an_extra_that_is_missing(shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module, extra = NEEDS.get(name, "tensorflow"), "tensorflow" if name == "savedmodel" else name
    Path("m.onnx").write_bytes(b"something")
    Path("m.faiss").write_bytes(b"something")
    for loaded in [one for one in sys.modules if one.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    shell.error(f"export model --format {name} -o out", f"pip install 'shoal[{extra}]'")
    if name in NEEDS:
        shell.error(f"inspect m{FORMATS[name]}", f"pip install 'shoal[{extra}]'")
    assert sorted(os.listdir()) == ["m.faiss", "m.onnx", "model"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("call", "number", "words"),
    [
        ("open", errno.EACCES, "Permission denied"),
        ("open", errno.EROFS, "Read-only file system"),
        ("fsync", errno.ENOSPC, "No space left on device"),
        ("replace", errno.EIO, "error"),
    ],
)
def test_nothing_half_written_is_left(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    call: str,
    number: int,
    words: str,
) -> None:
    need(name)
    output = f"m{FORMATS[name]}"
    Path(output).write_text("before")

    class Failing:
        def __getattr__(self, asked: str) -> Any:
            return self.fail if asked == call else getattr(os, asked)

        def fail(self, *_: Any) -> Any:
            raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(files, "os", Failing())
        shell.error(
            f"export model -o {output} --force --quiet", f"{output} cannot be written", words
        )
    assert Path(output).read_text() == "before"
    assert sorted(os.listdir()) == sorted(["model", output])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
@pytest.mark.parametrize("name", FILES)
def test_a_full_device(shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    need(name)

    def full(_descriptor: int, *_given: Any, **_named: Any) -> Any:
        return open("/dev/full", "wb")

    with monkeypatch.context() as patch:
        patch.setattr(files, "open", full, raising=False)
        shell.error(f"export model -o m{FORMATS[name]} --quiet", "cannot be written: No space left")
    assert os.listdir() == ["model"]


def test_a_folder_without_permission(shell: Shell) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root; the case above is the same error")
    Path("closed").mkdir(mode=0o500)
    shell.error("export model -o closed/c.npy", "closed/c.npy cannot be written: Permission denied")
    assert os.listdir("closed") == []
