"""model_dir: one writer, disks that fail, models that move; nothing lost whatever fails."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_helpers import (
    EVERY,
    StopAt,
    X,
    files,
    fit,
    new,
    step_file,
)
from helpers import bits

from shoal import (
    CheckpointError,
    ModelDirLockedError,
    RunConfig,
    load_model,
    save_model,
)
from shoal.state import State
from shoal.storage import checkpoint, model_dir
from shoal.storage import files as durable

# ---- One writer ----

HOLDER = """
import sys, time, shoal, numpy as np
class Hold:
    def before_step(self, context):
        if context.step == 2:
            print("holding", flush=True)
            time.sleep(600)
x = np.load(sys.argv[2])
run = shoal.RunConfig(progress=False, tensorboard=False, save_checkpoints_steps=1)
model = shoal.KMeansClustering(7, model_dir=sys.argv[1], random_seed=11, config=run)
model.fit(x, batch_size=90, max_steps=9, monitors=[Hold()])
"""


@contextmanager
def another_process(folder: Path, program: str = HOLDER) -> Iterator[subprocess.Popen[str]]:
    """A process that trains in ``folder`` and holds still after two steps."""
    np.save(folder.parent / "x.npy", X)
    command = [sys.executable, "-c", program, str(folder), str(folder.parent / "x.npy")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "holding\n"
            yield process
        finally:
            process.kill()


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with another_process(folder) as process:
        model = new(folder)
        for call in (lambda: fit(model, steps=1), lambda: model.partial_fit(X)):
            with pytest.raises(ModelDirLockedError, match=rf"process {process.pid} on "):
                call()
        assert model.get_variable_value("global_step") == 2  # reading needs no lock
        model.predict(X, as_iterable=False)
        assert bits(model) == bits(fit(new(), steps=2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert bits(fit(model, max_steps=9)) == bits(fit(new(), max_steps=9))


def test_a_child_of_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    child = (
        "ready, there = os.pipe()",
        "if os.fork() == 0: os.write(there, b'1'), time.sleep(5), os._exit(0)",
        "os.read(ready, 1)",
    )
    lines = "\n            ".join((*child, "print("))
    program = "import os\n" + HOLDER.replace("print(", lines)
    folder = tmp_path / "run"
    with another_process(folder, program) as process:
        process.kill()
        process.wait()
        assert fit(new(folder), max_steps=9).state.global_step == 9


def test_two_models_of_one_process_do_not_train_at_once(tmp_path: Path) -> None:
    class Second:
        def before_step(self, _: Any) -> None:
            with pytest.raises(ModelDirLockedError, match=f"process {os.getpid()} .*this one"):
                fit(new(tmp_path), steps=1)

    fit(new(tmp_path), steps=2, monitors=[Second()])


def test_file_systems_without_locks_are_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match="has no locks"):
        fit(new(tmp_path), steps=2)


# ---- Disks that are full, or not writable ----


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """As a disk that is full beyond ``size`` bytes a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FullAt:
    """A monitor: from this step on no file can be larger than ``size`` bytes."""

    def __init__(self, step: int, size: int) -> None:
        self.step, self.size = step, size

    def before_step(self, context: Any) -> None:
        if context.step == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


@pytest.mark.parametrize("size", [0, 100, 600])
def test_a_full_disk_loses_nothing(tmp_path: Path, size: int) -> None:
    model = new(tmp_path)
    words = r"step 4 cannot be written .*File too large; the last one there is of step 3\. "
    with files_up_to(resource.RLIM_INFINITY), pytest.raises(CheckpointError, match=words):
        fit(model, max_steps=9, monitors=[FullAt(3, size)])
    assert files(tmp_path) == [step_file(tmp_path, step).name for step in range(4)]
    assert bits(new(tmp_path)) == bits(fit(new(), steps=3))
    assert bits(model) == bits(fit(new(), steps=4))  # in memory
    with files_up_to(size), pytest.raises(CheckpointError, match="cannot be written"):
        fit(model, max_steps=9)
    save_model(model, tmp_path / "elsewhere.npz")
    assert bits(fit(model, max_steps=9)) == bits(fit(new(), max_steps=9)) == bits(new(tmp_path))


def test_a_full_disk_at_the_end_is_saved_later(tmp_path: Path) -> None:
    run = RunConfig(progress=False, tensorboard=False, save_summary_steps=None)
    model = new(tmp_path, config=run)
    with files_up_to(resource.RLIM_INFINITY), pytest.raises(CheckpointError, match="step 5"):
        fit(model, max_steps=5, monitors=[FullAt(4, 100)])
    assert new(tmp_path).state.global_step == 0
    fit(model, max_steps=5)
    assert bits(new(tmp_path)) == bits(model) == bits(fit(new(), max_steps=5))


def test_a_full_disk_does_not_hide_an_interruption(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = new(tmp_path, config=RunConfig(progress=False, tensorboard=False))
    with files_up_to(resource.RLIM_INFINITY), pytest.raises(KeyboardInterrupt):
        fit(model, max_steps=9, monitors=[FullAt(2, 100), StopAt(6)])
    assert "step 6 cannot be written" in caplog.text
    assert model.state.global_step == 6
    assert bits(fit(model, max_steps=9)) == bits(fit(new(), max_steps=9)) == bits(new(tmp_path))


def test_steps_that_could_not_be_saved_meet_those_of_another_process(tmp_path: Path) -> None:
    model = new(tmp_path)
    with files_up_to(resource.RLIM_INFINITY), pytest.raises(CheckpointError):
        fit(model, max_steps=9, monitors=[FullAt(3, 100)])
    other = fit(new(tmp_path), max_steps=6)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"trained further .* to step 6"):
            fit(model, max_steps=9)
    assert model.state.global_step == 4
    assert bits(new(tmp_path)) == bits(other)


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_and_then_read_only(small_disk: Path) -> None:
    model = new(small_disk / "run", config=EVERY.replace(keep_checkpoint_max=None))
    with pytest.raises(CheckpointError, match="No space left on device; the last one there is"):
        fit(model, max_steps=200)
    reached = model.state.global_step
    assert 2 < reached < 100
    assert bits(model) == bits(fit(new(), steps=reached))
    there = new(small_disk / "run")
    assert reached - 1 <= there.state.global_step <= reached
    assert bits(there) == bits(fit(new(), steps=there.state.global_step))
    for step in range(4):  # room is made
        step_file(small_disk / "run", step).unlink()
    fit(model, max_steps=reached + 1)
    assert bits(new(small_disk / "run")) == bits(model) == bits(fit(new(), steps=reached + 1))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    other = new(small_disk / "run")
    assert other.evaluate(X)["global_step"] == reached + 1  # whose results cannot be written
    for folder in (small_disk / "run", small_disk / "new"):
        with pytest.raises(CheckpointError, match=r"cannot be written: Read-only file system"):
            fit(new(folder), max_steps=200)
    assert bits(other) == bits(model)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody else")
def test_a_read_only_directory_as_somebody_else(tmp_path: Path) -> None:
    model = fit(new(tmp_path / "run"), steps=3)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == 0 and not path.stat().st_mode & 1:
            path.chmod(path.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        other = new(tmp_path / "run")
        assert bits(other) == bits(model)
        other.predict(X, as_iterable=False)
        for folder in (tmp_path / "run", tmp_path / "new"):
            with pytest.raises(CheckpointError, match=r"cannot be written: Permission denied"):
                fit(new(folder), max_steps=5)
    finally:
        os.seteuid(0)
    assert bits(other) == bits(model) == bits(new(tmp_path / "run"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory(tmp_path: Path) -> None:
    model = fit(new(tmp_path / "run"), steps=3)
    (tmp_path / "run" / "checkpoints").chmod(0o555)
    try:
        with pytest.raises(CheckpointError, match="cannot be written"):
            fit(new(tmp_path / "run"), max_steps=5)
        assert bits(new(tmp_path / "run")) == bits(model)
    finally:
        (tmp_path / "run" / "checkpoints").chmod(0o755)


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
def test_a_device_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    model = fit(new(tmp_path), steps=3)
    real, opened = getattr(os, call), os.open

    class Failing:
        def __getattr__(self, name: str) -> Any:
            if name != call or (call == "open" and model.state.global_step < 4):
                return getattr(os, name)
            return self._fail

        def _fail(self, *given: Any) -> Any:
            if call == "open" and not str(given[0]).endswith(".part"):
                return opened(*given)
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", Failing())
        with pytest.raises(CheckpointError, match="No space left on device"):
            fit(model, max_steps=9)
    assert real is getattr(os, call)
    assert bits(new(tmp_path)) == bits(fit(new(), steps=3))
    assert bits(fit(model, max_steps=9)) == bits(fit(new(), max_steps=9))


# ---- Moving a model ----


def test_set_params_model_dir(tmp_path: Path) -> None:
    model = fit(new(), steps=3)
    model.set_params(model_dir=str(tmp_path / "a"))
    fit(model, steps=2)
    assert bits(new(tmp_path / "a")) == bits(fit(new(), steps=5))
    model.set_params(model_dir=str(tmp_path / "b"))
    fit(model, steps=1)
    with pytest.raises(CheckpointError, match="trained already"):
        model.set_params(model_dir=str(tmp_path / "a"))
    assert model.model_dir == str(tmp_path / "b")
    model.set_params(model_dir=None)
    fit(model, steps=1)
    assert bits(new(tmp_path / "b")) == bits(fit(new(), steps=6))
    save_model(model, tmp_path / "m.npz")
    with pytest.raises(CheckpointError, match="holds a model already"):
        load_model(tmp_path / "m.npz", model_dir=str(tmp_path / "b"))
    moved = load_model(tmp_path / "m.npz", model_dir=str(tmp_path / "c"), config=EVERY)
    assert bits(fit(moved, steps=1)) == bits(fit(new(), steps=8)) == bits(new(tmp_path / "c"))


def test_a_relative_model_dir_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = new(Path("run"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    fit(model, steps=2)
    assert files(tmp_path / "run")


def test_a_directory_that_vanishes_is_made_again(tmp_path: Path) -> None:
    model = fit(new(tmp_path / "run"), steps=3)
    (tmp_path / "run").rename(tmp_path / "gone")
    assert model.state.global_step == 3
    fit(model, steps=1)
    assert bits(new(tmp_path / "run")) == bits(fit(new(), steps=4))


def test_old_parts_are_removed(tmp_path: Path) -> None:
    fit(new(tmp_path), steps=3)
    left = tmp_path / "checkpoints" / ".step-000000004.safetensors.part"
    left.write_bytes(b"half a file")
    fit(new(tmp_path), steps=2)
    assert not left.exists()


def test_steps_beyond_nine_digits(tmp_path: Path) -> None:
    model = fit(new(tmp_path), steps=2)
    state: State = model.state.replace(global_step=10_000_000_000)
    parameters = checkpoint.read(step_file(tmp_path, 2)).parameters
    folder = model_dir.ModelDir(tmp_path)
    with folder.held():
        folder.write(checkpoint.Checkpoint(state, parameters, ()), 5)
    assert new(tmp_path).state.global_step == 10_000_000_000
