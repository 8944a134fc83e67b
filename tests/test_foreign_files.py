"""Files that others may have made lead nowhere but where the user says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import shoal
from shoal.export import folders
from shoal.storage import files

X = np.random.default_rng(5).normal(size=(60, 2))
PRECIOUS = "precious"


def new(folder: Path | None = None) -> shoal.KMeansClustering:
    run = shoal.RunConfig(progress=False, save_summary_steps=1, tensorboard=False)
    return shoal.KMeansClustering(2, model_dir=folder and str(folder), config=run)


def planted(path: Path, victim: Path) -> Path:
    """A link where shoal would write, to a file of the user's."""
    victim.write_text(PRECIOUS)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim)
    return victim


@pytest.mark.parametrize("where", ["elsewhere/planted", "../planted"])
def test_a_model_file_does_not_choose_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shoal.save_model(new().fit(X, steps=1), "a.npz")
    arrays = dict(np.load("a.npz"))
    header = json.loads(str(arrays["header"]))
    header["parameters"]["model_dir"] = where
    np.savez("b.npz", **{**arrays, "header": np.array(json.dumps(header))})
    with pytest.raises(shoal.BadInputError, match=r"b\.npz .* hold 'model_dir'"):
        shoal.load_model("b.npz")
    assert sorted(os.listdir(".")) == ["a.npz", "b.npz"]
    assert os.listdir(tmp_path) == ["here"]
    shoal.load_model("a.npz", model_dir="mine").fit(X, steps=1)
    assert Path("mine/checkpoints").is_dir()


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl"])
def test_a_link_in_a_model_dir_is_refused(tmp_path: Path, name: str) -> None:
    victim = planted(tmp_path / "run" / name, tmp_path / "victim")
    with pytest.raises((shoal.CheckpointError, OSError), match="symbolic link"):
        new(tmp_path / "run").fit(X, max_steps=2)
    assert victim.read_text() == PRECIOUS


@pytest.mark.parametrize("name", ["checkpoints", "eval"])
def test_a_folder_in_a_model_dir_is_no_link(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "away")
    said = ""
    try:
        new(tmp_path / "run").fit(X, max_steps=2).evaluate(X)
    except shoal.CheckpointError as error:
        said = str(error)
    assert "let the model_dir itself be on the other disk" in said + caplog.text
    assert not list((tmp_path / "away").iterdir())


@pytest.mark.parametrize("name", ["metrics.jsonl", "step-000000002.json"])
def test_a_link_among_evaluations_is_not_followed(tmp_path: Path, name: str) -> None:
    model = new(tmp_path / "run").fit(X, max_steps=2)
    victim = planted(tmp_path / "run" / "eval" / name, tmp_path / "victim")
    model.evaluate(X)  # a warning says what is not written
    assert victim.read_text() == PRECIOUS


def test_a_model_dir_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    new(tmp_path / "run").fit(X, max_steps=2)
    assert (tmp_path / "disk" / "checkpoints").is_dir()


def test_a_link_where_parts_are_written_is_not_followed(tmp_path: Path) -> None:
    name = "model.safetensors"
    beside = tmp_path / f".{name}.{os.getpid()}.part"
    victim = planted(beside, tmp_path / "victim")
    shoal.save_model(new().fit(X, steps=1), tmp_path / name)
    assert victim.read_text() == PRECIOUS
    assert sorted(one.name for one in tmp_path.iterdir()) == [name, "victim"]
    shoal.load_model(tmp_path / name)


@pytest.mark.parametrize(
    "name", [".shoal.json.{}.part", "checkpoints/.step-000000001.safetensors.{}.part"]
)
def test_a_link_where_checkpoints_are_written_is_not_followed(tmp_path: Path, name: str) -> None:
    victim = planted(tmp_path / "run" / name.format(os.getpid()), tmp_path / "victim")
    new(tmp_path / "run").fit(X, max_steps=1)
    assert victim.read_text() == PRECIOUS
    assert new(tmp_path / "run").state.global_step == 1


# ---- What killed processes leave ----


def leave_part(program: str, folder: Path) -> list[str]:
    """Kill a process while it writes; returns the hidden names it leaves."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return [name for name in os.listdir(folder) if name.startswith(".")]


def grow_old(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)


def test_a_killed_writer_leaves_nothing_that_stays(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from shoal.storage.files import whole_file\n"
        "with whole_file('m.safetensors') as file:\n"
        "    file.write(b'x' * 100_000)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    model = new().fit(X, steps=1)
    assert len(leave_part(program, tmp_path)) == 1
    shoal.save_model(model, tmp_path / "m.safetensors")
    assert len(list(tmp_path.iterdir())) == 2  # young parts may be somebody's
    grow_old(tmp_path)
    shoal.save_model(model, tmp_path / "m.safetensors")
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_killed_export_leaves_nothing_that_stays(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from shoal.export.folders import write_stamped\n"
        "def write(part):\n"
        "    (part / 'half').write_text('x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_stamped(Path('.'), write)\n"
    )
    assert len(leave_part(program, tmp_path)) == 1
    grow_old(tmp_path)
    (tmp_path / ".mine.part").mkdir()  # no name that exports have
    grow_old(tmp_path)
    path = folders.write_stamped(tmp_path, lambda part: (part / "whole").touch())
    assert sorted(os.listdir(tmp_path)) == [".mine.part", path.name]


def test_a_part_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "m.safetensors"
    model = new().fit(X, steps=1)
    with files.whole_file(target) as file:
        file.write(b"slow")
        other = tmp_path / f".{target.name}.1.part"
        os.rename(next(tmp_path.glob(".*.part")), other)  # as of another process
        grow_old(tmp_path)
        shoal.save_model(model, target)
        assert other.exists()
        os.rename(other, tmp_path / f".{target.name}.{os.getpid()}.part")
