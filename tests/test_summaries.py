"""metrics.jsonl and TensorBoard event files: what is in them, and what a run that goes on does."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.hooks import SummarySaver, summary_monitors
from shoal.storage import files, jsonl

X = np.random.default_rng(3).normal(size=(300, 4))
QUIET = shoal.RunConfig(progress=False)


def new(**given: Any) -> shoal.KMeansClustering:
    return shoal.KMeansClustering(7, **{"config": QUIET, **given})


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]


def steps_of(folder: Path) -> list[int]:
    return [line["step"] for line in lines_of(folder)]


def lines_only(folder: Path, every: int, **given: Any) -> SummarySaver:
    return SummarySaver(folder, every, tensorboard=False, **given)


class Losses:
    """A monitor that keeps the loss of each step."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}
        self.sizes: dict[int, np.ndarray] = {}

    def after_step(self, context: Any) -> None:
        self.losses[context.step] = context.loss
        self.sizes[context.step] = context.cluster_sizes


# ---- metrics.jsonl ----


def test_lines(tmp_path: Path) -> None:
    seen = Losses()
    folder = tmp_path / "a" / "b"  # made at the first line
    new().fit(X, steps=7, batch_size=100, monitors=[seen, lines_only(folder, 2)])
    lines = lines_of(folder)
    assert [line["step"] for line in lines] == [2, 4, 6, 7]
    for line in lines:
        sizes = seen.sizes[line["step"]]
        assert line["loss"] == seen.losses[line["step"]]
        assert line["loss_per_row"] == line["loss"] / 100
        assert line["rows"] == 100
        assert line["epoch"] == line["step"] // 3
        assert line["step_seconds"] > 0
        assert line["rows_per_second"] > 0
        assert line["time"] > 1e9
        assert line["cluster_sizes"] == {
            "min": sizes.min(),
            "median": np.median(sizes),
            "max": sizes.max(),
            "empty": (sizes == 0).sum(),
        }


def test_empty_clusters_are_counted(tmp_path: Path) -> None:
    centers = np.concatenate([X[:3], X[:2] + 1000])
    model = shoal.KMeansClustering(
        None, initial_clusters=centers, use_mini_batch=False, empty_clusters="keep", config=QUIET
    )
    model.fit(X, steps=1, monitors=[lines_only(tmp_path, 1)])
    assert lines_of(tmp_path)[0]["cluster_sizes"]["empty"] == 2
    assert lines_of(tmp_path)[0]["cluster_sizes"]["min"] == 0


def test_every_line_is_there_at_once(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class Look:
        def after_step(self, _context: Any) -> None:
            seen.append(steps_of(tmp_path))

    new().fit(X, steps=3, monitors=[lines_only(tmp_path, 1), Look()])
    assert seen == [[1], [1, 2], [1, 2, 3]]


def test_a_run_that_goes_on_continues_the_file(tmp_path: Path) -> None:
    model = new()
    for _ in range(3):
        model.fit(X, steps=3, monitors=[lines_only(tmp_path, 2)])
    assert steps_of(tmp_path) == [2, 3, 4, 6, 8, 9]


def test_without_the_last_step(tmp_path: Path) -> None:
    model = new()
    for _ in range(5):
        model.partial_fit(X, monitors=[lines_only(tmp_path, 2, last=False)])
    assert steps_of(tmp_path) == [2, 4]


@pytest.mark.parametrize("step", [0, 1, 4, 5, 6])
def test_lines_beyond_the_step_it_goes_on_from_are_cut_off(
    tmp_path: Path, step: int, caplog: pytest.LogCaptureFixture
) -> None:
    states: dict[int, shoal.State] = {}

    class Keep:
        def after_step(self, context: Any) -> None:
            states[context.step] = context.state

    new().fit(X, steps=6, monitors=[lines_only(tmp_path, 1), Keep()])
    before = lines_of(tmp_path)
    model = new()
    if step:
        model.restore(states[step])
    with caplog.at_level(logging.INFO, "shoal"):
        model.fit(X, steps=2, monitors=[lines_only(tmp_path, 1)])
    after = lines_of(tmp_path)
    assert [line["step"] for line in after] == [*range(1, step + 3)]
    assert after[:step] == before[:step]
    assert (f"dropped {6 - step} lines beyond step {step}" in caplog.text) == (step < 6)


def test_a_line_torn_by_a_kill_is_repaired(tmp_path: Path) -> None:
    model = new()
    model.fit(X, steps=4, monitors=[lines_only(tmp_path, 1)])
    state, path = model.state, tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    for size in range(len(whole) - 1, len(whole) - 500, -7):
        path.write_bytes(whole[:size])
        kept = whole[:size].count(b"\n")
        other = new()
        other.restore(state)
        other.fit(X, steps=1, monitors=[lines_only(tmp_path, 1)])
        assert steps_of(tmp_path) == [*range(1, kept + 1), 5]


@pytest.mark.parametrize("damage", [b"\0" * 5000, b"{]\n", b"[]\n", b'{"step": "x"}\n', b"\n\n"])
def test_damaged_lines_at_the_end_are_cut_off(tmp_path: Path, damage: bytes) -> None:
    model = new()
    model.fit(X, steps=4, monitors=[lines_only(tmp_path, 1)])
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(damage)
    model.fit(X, steps=1, monitors=[lines_only(tmp_path, 1)])
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5]


def test_long_files_are_read_from_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    for tail in (1, 7, 64, 1 << 16):
        monkeypatch.setattr(jsonl, "TAIL", tail)
        path.unlink(missing_ok=True)
        for step in range(1, 40):
            jsonl.append_json(path, {"step": step, "padding": "x" * (step % 5 * 10)})
        assert jsonl.truncate_after(path, 40) == 0
        assert jsonl.truncate_after(path, 17) == 22
        assert steps_of(tmp_path) == [*range(1, 18)]
        assert jsonl.truncate_after(path, 0) == 17
        assert path.read_bytes() == b""


def test_a_full_disk_loses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    monkeypatch.setattr(files, "NO_LINKS", os.O_CLOEXEC)  # a link is how a file can be full
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    model = new()
    with pytest.raises(OSError, match=r"No space left.*metrics\.jsonl"):
        model.fit(X, steps=4, monitors=[lines_only(tmp_path, 2)])
    assert model.state.global_step == 2  # the last completed step


def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "metrics.jsonl"
    jsonl.append_json(path, {"step": 1})
    before = path.read_bytes()
    program = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from shoal.storage.jsonl import append_json\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30, 30))\n"
        "try:\n"
        "    append_json(Path(sys.argv[1]), {'step': 2, 'more': 'x' * 100})\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    del resource
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60
    )
    assert "File too large" in done.stdout, done.stderr
    assert str(path) in done.stdout
    assert path.read_bytes() == before


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    model = new()
    with pytest.raises(OSError, match="file"):
        model.fit(X, steps=2, monitors=[lines_only(tmp_path / "file", 1)])
    assert model.state.global_step == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.5), "0.5"),
        (np.int64(3), "3"),
        (np.bool_(True), "true"),
        (math.nan, '"nan"'),
        (-math.inf, '"-inf"'),
        (np.float64("inf"), '"inf"'),
        (np.arange(4).reshape(2, 2), "[[0, 1], [2, 3]]"),
        (np.array([1.0, np.nan]), '[1.0, "nan"]'),
        ((1, {"a": np.ones(2)}), '[1, {"a": [1.0, 1.0]}]'),
        ({3: None}, '{"3": null}'),
        (b"x", "\"b'x'\""),
        (1 + 2j, '"(1+2j)"'),
    ],
)
def test_json_safe(value: Any, text: str) -> None:
    assert json.dumps(jsonl.json_safe(value), allow_nan=False) == text


# ---- What a RunConfig asks for ----


def test_summary_monitors(tmp_path: Path) -> None:
    assert summary_monitors(QUIET.replace(save_summary_steps=None), tmp_path) == []
    (saver,) = summary_monitors(QUIET.replace(save_summary_steps=3, tensorboard=False), tmp_path)
    new().fit(X, steps=7, monitors=[saver])
    assert steps_of(tmp_path) == [3, 6, 7]
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_a_missing_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(shoal.MissingExtraError, match=r"tensorboardX.*shoal\[tensorboard\]"):
        summary_monitors(shoal.RunConfig(tensorboard=True), tmp_path)
    new().fit(X, steps=2, monitors=summary_monitors(shoal.RunConfig(), tmp_path))
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


def test_an_extra_that_is_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: object())
    for name in [name for name in sys.modules if name.startswith("tensorboardX.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboardX", types.ModuleType("tensorboardX"))
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    model = new()
    model.fit(X, steps=3, monitors=[SummarySaver(tmp_path, 1)])
    assert steps_of(tmp_path) == [1, 2, 3]
    assert caplog.text.count("tensorboardX cannot be imported") == 1
    with pytest.raises(ImportError):
        model.fit(X, steps=3, monitors=[SummarySaver(tmp_path, 1, tensorboard=True)])


# ---- TensorBoard ----


def read_back(folder: Path) -> Any:
    """What TensorBoard's own reader finds."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = reader.EventAccumulator(str(folder), {"histograms": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def scalars(found: Any, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in found.Scalars(tag)}


@pytest.fixture
def with_tensorboard(recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    del recwarn  # what other libraries warn of when they are imported is not ours
    # Its reader would load TensorFlow, where that is installed, and has a double of its own.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))
    pytest.importorskip("tensorboardX")


@pytest.mark.slow
@pytest.mark.usefixtures("with_tensorboard")
def test_tensorboard_reads_the_values(tmp_path: Path) -> None:
    seen = Losses()
    new().fit(X, steps=7, batch_size=100, monitors=[seen, SummarySaver(tmp_path, 2)])
    found, lines = read_back(tmp_path), lines_of(tmp_path)
    for tag, value in {
        "loss/raw": lambda line: line["loss"],
        "loss/per_row": lambda line: line["loss_per_row"],
        "time/step_seconds": lambda line: line["step_seconds"],
        "time/rows_per_second": lambda line: line["rows_per_second"],
        "cluster_sizes/min": lambda line: line["cluster_sizes"]["min"],
        "cluster_sizes/median": lambda line: line["cluster_sizes"]["median"],
        "cluster_sizes/max": lambda line: line["cluster_sizes"]["max"],
        "cluster_sizes/empty": lambda line: line["cluster_sizes"]["empty"],
    }.items():
        expected = {line["step"]: float(np.float32(value(line))) for line in lines}
        assert scalars(found, tag) == expected, tag
    histograms = found.Histograms("cluster_sizes/histogram")
    assert [one.step for one in histograms] == [2, 4, 6, 7]
    for one in histograms:
        sizes, value = seen.sizes[one.step], one.histogram_value
        assert (value.min, value.max, value.num) == (sizes.min(), sizes.max(), 7)
        assert (value.sum, value.sum_squares) == (100, (sizes**2).sum())
        assert sum(value.bucket) == 7
    walls = [event.wall_time for event in found.Scalars("loss/raw")]
    assert walls == [line["time"] for line in lines]


@pytest.mark.slow
@pytest.mark.usefixtures("with_tensorboard")
def test_tensorboard_forgets_what_is_done_anew(tmp_path: Path) -> None:
    model = new()
    model.fit(X, steps=4, monitors=[SummarySaver(tmp_path, 1)])
    state = model.state
    model.fit(X, steps=4, monitors=[SummarySaver(tmp_path, 1)])  # killed; its state is lost
    other = new()
    other.restore(state)
    seen = Losses()
    other.fit(X * 2, steps=3, monitors=[seen, SummarySaver(tmp_path, 1)])
    found = scalars(read_back(tmp_path), "loss/raw")
    assert list(found) == steps_of(tmp_path) == [1, 2, 3, 4, 5, 6, 7]
    assert found[6] == pytest.approx(seen.losses[6])


@pytest.mark.slow
@pytest.mark.usefixtures("with_tensorboard")
def test_an_event_file_that_is_torn_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    new().fit(X, steps=4, monitors=[SummarySaver(tmp_path, 1)])
    (path,) = tmp_path.glob("events*")
    path.write_bytes(path.read_bytes()[:-40])
    assert list(scalars(read_back(tmp_path), "loss/raw")) == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.usefixtures("with_tensorboard")
def test_event_files_leave_nothing_running(tmp_path: Path) -> None:
    program = (
        "import sys, threading\n"
        "import numpy as np, shoal\n"
        "from shoal.hooks import SummarySaver\n"
        "x = np.random.default_rng(0).normal(size=(100, 2))\n"
        "saver = SummarySaver(sys.argv[1], 5)\n"
        "assert 'tensorboardX' not in sys.modules\n"
        "shoal.KMeansClustering(3).fit(x, steps=5, monitors=[saver])\n"
        "assert 'tensorboardX' in sys.modules\n"
        "import tensorboardX.event_file_writer as writer\n"
        "loggers = [t for t in threading.enumerate()"
        " if isinstance(t, writer._EventLoggerThread)]\n"
        "assert not loggers, loggers\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


# ---- With a model_dir ----


def kept(folder: Path, **config: Any) -> shoal.KMeansClustering:
    return new(model_dir=folder, config=QUIET.replace(tensorboard=False, **config))


def test_model_dir(tmp_path: Path) -> None:
    kept(tmp_path, save_summary_steps=2).fit(X, steps=5)
    assert steps_of(tmp_path) == [2, 4, 5]
    kept(tmp_path, save_summary_steps=2).fit(X, steps=3)
    assert steps_of(tmp_path) == [2, 4, 5, 6, 8]
    kept(tmp_path, save_summary_steps=None).fit(X, steps=3)
    assert steps_of(tmp_path) == [2, 4, 5, 6, 8]
    model = kept(tmp_path, save_summary_steps=2)
    for _ in range(4):
        model.partial_fit(X)
    assert steps_of(tmp_path) == [2, 4, 5, 6, 8, 12, 14]


def test_a_reader_changes_no_file(tmp_path: Path) -> None:
    kept(tmp_path, save_summary_steps=2).fit(X, steps=4)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    kept(tmp_path).predict(X, as_iterable=False)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_full_disk_stops_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    monkeypatch.setattr(files, "NO_LINKS", os.O_CLOEXEC)  # a link is how a file can be full
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left.*metrics\.jsonl"):
        kept(tmp_path, save_summary_steps=3).fit(X, steps=4)
    (tmp_path / "metrics.jsonl").unlink()
    assert kept(tmp_path).state.global_step == 3


RUN = """
import sys
import numpy as np
import shoal

x = np.random.default_rng(3).normal(size=(300, 4))
config = shoal.RunConfig(
    progress=False, tensorboard=False, save_summary_steps=1, save_checkpoints_steps=7
)
model = shoal.KMeansClustering(7, model_dir=sys.argv[1], config=config)
print("ready", flush=True)
model.fit(x, max_steps=400, batch_size=50)
"""


@pytest.mark.slow
def test_killed_at_any_instant(tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    rng = np.random.default_rng(seed)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, "-c", RUN, str(whole)], check=True, timeout=120)
    kills = 0
    for _ in range(40):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(killed)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process:
            process.stdout.readline()
            try:
                code = process.wait(rng.uniform(0.0, 0.06))
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        if code == 0:
            break
        kills += 1
    else:
        subprocess.run([sys.executable, "-c", RUN, str(killed)], check=True, timeout=120)
    clocks = ("time", "step_seconds", "rows_per_second")
    expected, found = (
        [{name: line[name] for name in line if name not in clocks} for line in lines_of(folder)]
        for folder in (whole, killed)
    )
    assert [line["step"] for line in expected] == [*range(1, 401)]
    assert found == expected, f"seed {seed}, {kills} kills"
