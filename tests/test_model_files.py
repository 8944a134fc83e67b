"""A model in one file: the format of checkpoints, and what `.npz` is beside it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import Shell
from safetensors.numpy import load_file

import shoal
from shoal.export import npz
from shoal.storage import files

X = np.random.default_rng(3).normal(size=(300, 3)).astype(np.float32) + 0.5
FRAME = dict(zip("abc", X.T, strict=True))


def new(**given: Any) -> shoal.KMeansClustering:
    return shoal.KMeansClustering(4, **{"use_mini_batch": False, **given})


def same(one: shoal.KMeansClustering, other: shoal.KMeansClustering) -> None:
    assert one.get_params() == other.get_params()
    assert one.columns == other.columns
    for name in one.get_variable_names():
        values = one.get_variable_value(name), other.get_variable_value(name)
        assert np.array_equal(*values), name
    assert one.state.seed == other.state.seed


@pytest.mark.parametrize("suffix", ["", ".safetensors", ".model", ".npz"])
@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
def test_a_model_comes_back_whatever_its_file_is_called(
    tmp_path: Path, suffix: str, metric: str
) -> None:
    model = new(distance_metric=metric, random_seed=7, on_bad_rows="skip").fit(FRAME, steps=3)
    path = tmp_path / f"model{suffix}"
    shoal.save_model(model, path)
    assert npz.is_npz(path) == (suffix == ".npz")
    again = shoal.load_model(path)
    same(again, model)
    assert again.get_params()["random_seed"] == 7
    assert np.array_equal(again.labels(FRAME), model.labels(FRAME))
    ends = [one.fit(FRAME, steps=2).clusters() for one in (model, again)]
    assert np.array_equal(*ends)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_model_file_is_a_checkpoint_under_another_name(tmp_path: Path) -> None:
    model = new(model_dir=str(tmp_path / "run")).fit(X, steps=3)
    shoal.save_model(model, tmp_path / "m.safetensors")
    written = (tmp_path / "run" / "checkpoints" / "step-000000003.safetensors").read_bytes()
    assert (tmp_path / "m.safetensors").read_bytes() == written
    assert np.array_equal(load_file(tmp_path / "m.safetensors")["clusters"], model.clusters())
    (tmp_path / "kept" / "checkpoints").mkdir(parents=True)
    shutil.copy(
        tmp_path / "m.safetensors", tmp_path / "kept" / "checkpoints" / "step-000000003.safetensors"
    )
    same(shoal.load_model(tmp_path / "kept").set_params(model_dir=None), new().fit(X, steps=3))


def test_parameters_may_differ_from_those_saved(tmp_path: Path) -> None:
    shoal.save_model(new().fit(X), tmp_path / "m")
    again = shoal.load_model(tmp_path / "m", num_threads=1, relative_tolerance=0.5)
    assert again.get_params()["num_threads"] == 1
    assert again.get_params()["relative_tolerance"] == 0.5
    with pytest.raises(TypeError, match="no_such"):
        shoal.load_model(tmp_path / "m", no_such=1)


def test_a_file_that_is_damaged_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    shoal.save_model(new().fit(X, steps=1), path)
    whole = path.read_bytes()
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    draw = np.random.default_rng(seed)
    for at in [0, 7, 8, len(whole) - 1, *draw.integers(0, len(whole), 40).tolist()]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 32]) + whole[at + 1 :])
        with pytest.raises(shoal.ShoalError, match=r"m\.safetensors"):
            shoal.load_model(path)
    for length in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(shoal.BadInputError, match=r"m\.safetensors is not a model of shoal"):
            shoal.load_model(path)


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", x=X)
    for name in ("x.csv", "x.npy", "x.npz"):
        with pytest.raises(shoal.BadInputError, match=rf"{name} is not a model of shoal"):
            shoal.load_model(tmp_path / name)
    with pytest.raises(shoal.BadInputError, match="there is no model file"):
        shoal.load_model(tmp_path / "none")
    with pytest.raises(shoal.BadInputError, match="model is of type ndarray"):
        shoal.save_model(X, tmp_path / "m")  # type: ignore[arg-type]
    with pytest.raises(shoal.NotFittedError):
        shoal.save_model(new(), tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_device_that_fails_leaves_the_model_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, call: str
) -> None:
    path = tmp_path / f"m{suffix}"
    shoal.save_model(new().fit(X, steps=1), path)
    before = path.read_bytes()

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return self.fail if name == call else getattr(os, name)

        def fail(self, *_: Any) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(_descriptor: int, *_given: Any, **_named: Any) -> Any:
        return open("/dev/full", "wb")

    with monkeypatch.context() as patch:
        if call == "write":
            if not Path("/dev/full").exists():
                pytest.skip("this system has no device that is always full")
            patch.setattr(files, "open", full, raising=False)
        else:
            patch.setattr(files, "os", Failing())
        with pytest.raises(shoal.BadInputError, match=f"m{suffix} cannot be written: No space"):
            shoal.save_model(new().fit(X, steps=2), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_the_command_line_writes_and_inspects_both_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(capsys)
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    said = {}
    for model in ("model.safetensors", "model.npz"):
        named = [] if model == "model.safetensors" else ["-m", model]
        shell.ok(["fit", "x.npy", "-k", "4", "--quiet", *named])
        assert npz.is_npz(Path(model)) == (model == "model.npz")
        said[model] = shell.json(f"inspect {model}")
        assert said[model].pop("model") == model
        shell.ok(["predict", "x.npy", "-o", f"{model}.npy", "--quiet", *named])
    assert said["model.safetensors"] == said["model.npz"]
    assert np.array_equal(np.load("model.safetensors.npy"), np.load("model.npz.npy"))
