"""model_dir: what is kept, found again, refused; nothing lost whatever fails."""

from __future__ import annotations

import copy
import errno
import json
import logging
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import bits
from pyarrow import parquet

import shoal
from shoal import (
    CheckpointError,
    ModelDirLockedError,
    RunConfig,
    checkpoint,
    durable,
    model_dir,
    tensors,
)
from shoal import KMeansClustering as Model
from shoal.export.npz import load_model, save_model
from shoal.state import State

X = np.random.default_rng(3).normal(size=(500, 4)).astype(np.float32)
KINDS = ["mini-batch", "two copies", "cosine", "full batch", "full batch, cosine"]
BATCH = 90
EVERY = RunConfig(progress=False, tensorboard=False, save_checkpoints_steps=1)


def new(folder: Path | None = None, kind: str = "mini-batch", **given: Any) -> Model:
    standard: dict[str, Any] = {
        "num_clusters": 7,
        "random_seed": 11,
        "use_mini_batch": not kind.startswith("full batch"),
        "mini_batch_steps_per_iteration": 3 if kind == "two copies" else 1,
        "distance_metric": "cosine" if "cosine" in kind else "squared_euclidean",
        "config": EVERY,
    }
    return Model(model_dir=None if folder is None else str(folder), **{**standard, **given})


def fit(model: Model, x: Any = X, **given: Any) -> Model:
    size = BATCH if model.get_params()["use_mini_batch"] else None
    return model.fit(x, batch_size=size, **given)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def step_file(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:09d}.safetensors"


class StopAt:
    """A monitor that interrupts."""

    def __init__(self, step: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.step, self.error = step, error

    def before_step(self, context: Any) -> None:
        if context.step == self.step:
            raise self.error


def interrupted(model: Model, step: int, **given: Any) -> Model:
    with pytest.raises(KeyboardInterrupt):
        fit(model, monitors=[StopAt(step)], **given)
    return model


# ---- What is there ----


def test_what_is_in_the_directory(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "first"
    model = new(folder)
    assert not folder.exists()
    assert model.model_dir == str(folder)
    fit(model, steps=8)
    kept = [f"step-{step:09d}.safetensors" for step in (4, 5, 6, 7, 8)]
    assert files(folder) == kept
    listed = json.loads((folder / "checkpoint.json").read_text())
    assert listed == {"latest": kept[-1], "kept": kept}
    settings = json.loads((folder / "shoal.json").read_text())
    assert (settings["format"], settings["version"]) == (1, shoal.__version__)
    assert settings["parameters"]["num_clusters"] == 7
    assert settings["parameters"]["distance_metric"] == "squared_euclidean"
    assert settings["columns"] == []


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        ({}, [0, 9]),
        ({"save_checkpoints_secs": None}, [0, 9]),
        ({"save_checkpoints_secs": 1e-9}, [*range(10)]),
        ({"save_checkpoints_steps": 4}, [0, 4, 8, 9]),
        ({"save_checkpoints_steps": 1, "keep_checkpoint_max": 3}, [7, 8, 9]),
        ({"save_checkpoints_steps": 1, "keep_checkpoint_max": 1}, [9]),
    ],
)
def test_when_checkpoints_are_written(
    tmp_path: Path, config: dict[str, Any], steps: list[int]
) -> None:
    run = RunConfig(
        **{"progress": False, "tensorboard": False, "keep_checkpoint_max": None, **config}
    )
    fit(new(tmp_path, config=run), steps=9)
    assert files(tmp_path) == [step_file(tmp_path, step).name for step in steps]


def test_without_model_dir_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = fit(new(config=RunConfig()), steps=3)
    assert model.model_dir is None
    assert list(tmp_path.iterdir()) == []
    with caplog.at_level(logging.INFO, "shoal"):
        asked = fit(new(config=EVERY), steps=3)
    assert asked.model_dir is not None
    assert Path(asked.model_dir).parent == tmp_path
    assert asked.model_dir in caplog.text
    assert bits(new(Path(asked.model_dir))) == bits(asked) == bits(model)
    assert asked.get_params()["model_dir"] is None


def test_a_real_reader_of_safetensors_reads_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    model = fit(new(tmp_path, "two copies"), steps=5)
    path = step_file(tmp_path, 5)
    arrays = safetensors.load_file(path)
    assert sorted(arrays) == ["clusters", "clusters_updated", "counts"]
    for name, array in arrays.items():
        assert array.tobytes() == model.get_variable_value(name).tobytes()
        assert array.dtype == model.get_variable_value(name).dtype
    # And the other way: the same content as that package writes it.
    _, metadata = tensors.unpack(path.read_bytes())
    safetensors.save_file(arrays, path, metadata)
    assert bits(new(tmp_path)) == bits(model)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_everything_comes_back(tmp_path: Path, dtype: Any) -> None:
    columns = {name: X[:, i].astype(dtype) for i, name in enumerate("dcba")}
    model = fit(new(tmp_path, "two copies", random_seed=None), columns, steps=5)
    again = new(tmp_path, "two copies", random_seed=None)
    assert bits(again) == bits(model)
    assert again.columns == model.columns == ("a", "b", "c", "d")
    assert again.get_variable_value("seed") > 0
    assert bits(fit(again, columns, steps=4)) == bits(model)  # which reads what is there


def test_a_fresh_seed_is_kept(tmp_path: Path) -> None:
    model = fit(new(tmp_path, random_seed=None), max_steps=9)
    seed = model.get_variable_value("seed")
    again = fit(new(tmp_path, random_seed=None), max_steps=20)
    assert again.get_variable_value("seed") == seed
    assert bits(again) == bits(fit(new(random_seed=seed), max_steps=20))


# ---- Going on ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [0, 1, 5, 11])
def test_interrupted_and_resumed_is_uninterrupted(tmp_path: Path, kind: str, step: int) -> None:
    interrupted(new(tmp_path, kind), step, max_steps=14)
    resumed = new(tmp_path, kind)
    assert resumed.is_interrupted
    assert resumed.state.global_step == step
    assert bits(fit(resumed, max_steps=14)) == bits(fit(new(kind=kind), max_steps=14))
    assert not resumed.is_interrupted


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tolerance", [None, 3e-2])
def test_resumed_it_ends_by_itself_where_it_would_have(
    tmp_path: Path, kind: str, tolerance: float | None
) -> None:
    whole = fit(new(kind=kind, relative_tolerance=tolerance))
    steps = whole.state.global_step
    for step in sorted({0, 1, steps // 2, steps - 1}):
        folder = tmp_path / str(step)
        interrupted(new(folder, kind, relative_tolerance=tolerance), step)
        resumed = fit(new(folder, kind, relative_tolerance=tolerance))
        assert bits(resumed) == bits(whole), f"interrupted at step {step} of {steps}"


@pytest.mark.parametrize("kind", ["mini-batch", "two copies"])
def test_resumed_it_ends_with_its_last_epoch(tmp_path: Path, kind: str) -> None:
    run = EVERY.replace(max_epochs=3, max_no_improvement=10**6)
    whole = fit(new(kind=kind, config=run))
    assert (whole.state.epoch, whole.state.global_step) == (3, 18)
    for step in (1, 6, 11, 17):
        interrupted(new(tmp_path, kind, config=run), step)
    assert bits(fit(new(tmp_path, kind, config=run))) == bits(whole)
    again = fit(new(tmp_path, kind, config=run))  # another run
    assert (again.state.epoch, again.state.global_step) == (6, 36)


@pytest.mark.parametrize("kind", ["two copies", "full batch"])
def test_resumed_at_every_step(tmp_path: Path, kind: str) -> None:
    """Each step in a new model, as after a kill between any two checkpoints."""
    whole = fit(new(kind=kind))
    steps = whole.state.global_step
    for step in range(1, steps):
        model = new(tmp_path, kind)
        interrupted(model, step)
        assert model.is_interrupted
    assert bits(fit(new(tmp_path, kind))) == bits(whole)


@pytest.mark.parametrize("kind", ["mini-batch", "two copies", "full batch"])
def test_resumed_on_shuffled_parquet(tmp_path: Path, kind: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for part in range(2):
        rows = X[part * 260 : part * 260 + 260]
        table = pa.table({name: rows[:, i] for i, name in enumerate("abcd")})
        parquet.write_table(table, data / f"{part}.parquet", row_group_size=60)
    whole = fit(new(kind=kind), str(data), max_steps=14)
    folder = tmp_path / "run"
    for step in (3, 8, 13):
        with pytest.raises(KeyboardInterrupt):
            fit(new(folder, kind), str(data), max_steps=14, monitors=[StopAt(step)])
    resumed = fit(new(folder, kind), str(data), max_steps=14)
    assert bits(resumed) == bits(whole)
    assert resumed.columns == ("a", "b", "c", "d")


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_on_a_stream_that_is_read_again(tmp_path: Path, kind: str) -> None:
    def read() -> Iterator[Any]:
        yield from (X[start : start + 40] for start in range(0, 500, 40))

    whole = new(kind=kind).fit(read)
    last = whole.state.global_step
    for step in (0, 3, 9, last - 1):
        with pytest.raises(KeyboardInterrupt):
            new(tmp_path, kind).fit(read, monitors=[StopAt(step)])
    assert bits(new(tmp_path, kind).fit(read)) == bits(whole)
    if "full" not in kind:
        assert last == 13
        again = new(tmp_path, kind).fit(read)  # another run, from the first batch
        assert again.state.global_step == 26


def test_a_stream_that_became_shorter(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def read(batches: int) -> Iterator[Any]:
        yield from (X[40 * i : 40 * (i + 1)] for i in range(batches))

    with pytest.raises(KeyboardInterrupt):
        new(tmp_path).fit(lambda: read(9), monitors=[StopAt(7)])
    resumed = new(tmp_path).fit(lambda: read(5))
    assert resumed.state.global_step == 7
    assert "has 5 batches, fewer than the 7" in caplog.text


def test_data_that_became_smaller(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    interrupted(new(tmp_path), 4)
    resumed = fit(new(tmp_path), X[:200], max_steps=6)
    assert resumed.state.global_step == 6
    assert "200 rows, training had reached row 360 of epoch 0" in caplog.text


@pytest.mark.parametrize("seeding", ["random", "kmeans_plus_plus", "kmc2", "afkmc2", "array"])
def test_killed_while_seeding_it_begins_anew(tmp_path: Path, seeding: str) -> None:
    initial: Any = X[:7] if seeding == "array" else seeding
    fit(new(tmp_path, initial_clusters=initial), max_steps=5)
    assert bits(new(tmp_path)) == bits(fit(new(initial_clusters=initial), max_steps=5))


def test_max_steps_reached_nothing_happens(tmp_path: Path) -> None:
    fit(new(tmp_path), steps=6)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").iterdir()}
    again = fit(new(tmp_path), max_steps=6)
    assert again.state.global_step == 6
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").iterdir()}
    assert after == before


def test_partial_fit_goes_on_in_a_new_process(tmp_path: Path) -> None:
    whole = new()
    for start in range(0, 500, 100):
        new(tmp_path).partial_fit(X[start : start + 100])
        whole.partial_fit(X[start : start + 100])
    assert bits(new(tmp_path)) == bits(whole)
    assert not new(tmp_path).is_interrupted


def test_partial_fit_gathers_centers_over_processes(tmp_path: Path) -> None:
    whole = new()
    for start in (0, 3, 6):
        new(tmp_path).partial_fit(X[start : start + 3])
        whole.partial_fit(X[start : start + 3])
    assert bits(new(tmp_path)) == bits(whole)
    assert new(tmp_path).is_fitted


def test_partial_fit_leaves_the_position_of_fit(tmp_path: Path) -> None:
    interrupted(new(tmp_path), 8, max_steps=14)
    new(tmp_path).partial_fit(X[:50], steps=3)
    whole = interrupted(new(), 8, max_steps=14)
    whole.partial_fit(X[:50], steps=3)
    assert bits(fit(new(tmp_path), max_steps=20)) == bits(fit(whole, max_steps=20))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_the_last_step_is_saved_whatever_ends_the_run(
    tmp_path: Path, error: type[BaseException]
) -> None:
    run = RunConfig(progress=False, tensorboard=False, save_checkpoints_secs=None)
    with pytest.raises(error):
        fit(new(tmp_path, config=run), max_steps=14, monitors=[StopAt(9, error)])
    assert files(tmp_path) == [step_file(tmp_path, step).name for step in (0, 9)]
    assert bits(fit(new(tmp_path), max_steps=14)) == bits(fit(new(), max_steps=14))


def test_bad_rows_after_good_ones_lose_no_step(tmp_path: Path) -> None:
    bad = X.copy()
    bad[480, 2] = np.nan

    def batches(rows: Any) -> Iterator[Any]:
        yield from (rows[start : start + 100] for start in range(0, 500, 100))

    model = new(tmp_path)
    with pytest.raises(shoal.BadInputError, match="row 80"):
        model.fit(batches(bad))
    assert model.state.global_step == 4
    assert bits(model) == bits(new(tmp_path)) == bits(new().fit(batches(X), steps=4))


def test_a_monitor_that_stops_ends_the_run(tmp_path: Path) -> None:
    class Enough:
        def after_step(self, context: Any) -> bool:
            return bool(context.step == 4)

    model = fit(new(tmp_path), monitors=[Enough()])
    assert model.state.global_step == 4
    assert not new(tmp_path).is_interrupted


# ---- Readers ----


def test_readers_see_what_another_process_writes(tmp_path: Path) -> None:
    reader = new(tmp_path)
    assert not reader.is_fitted
    with pytest.raises(shoal.NotFittedError):
        reader.clusters()
    writer = fit(new(tmp_path), steps=3)
    assert reader.get_variable_value("global_step") == 3
    fit(writer, steps=2)
    assert bits(reader) == bits(writer)
    predicted = reader.predict(X, as_iterable=False)
    expected = writer.predict(X, as_iterable=False)
    assert predicted["cluster_idx"].tobytes() == expected["cluster_idx"].tobytes()  # type: ignore[call-overload]
    fit(reader, steps=2)
    assert bits(writer) == bits(fit(new(), steps=7))


def test_evaluate_a_checkpoint(tmp_path: Path) -> None:
    model = fit(new(tmp_path), steps=8)
    for named in (step_file(tmp_path, 5), step_file(tmp_path, 5).name):
        found = model.evaluate(X, checkpoint_path=str(named))
        assert found["global_step"] == 5
        assert found["scores"] == fit(new(), steps=5).score(X)
    assert new().evaluate(X, checkpoint_path=str(step_file(tmp_path, 8)))["global_step"] == 8
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        model.evaluate(X, checkpoint_path="step-000000001.safetensors")
    with pytest.raises(CheckpointError, match="num_clusters is 6"):
        new(num_clusters=6).evaluate(X, checkpoint_path=str(step_file(tmp_path, 8)))
    step_file(tmp_path, 8).write_bytes(b"none")
    with pytest.raises(CheckpointError, match=r"cannot be read: it has 4 bytes"):
        new().evaluate(X, checkpoint_path=str(step_file(tmp_path, 8)))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_share_the_directory(tmp_path: Path, again: Callable[[Model], Model]) -> None:
    model = fit(new(tmp_path), steps=3)
    other = again(model)
    fit(other, steps=3)
    assert bits(model) == bits(other) == bits(fit(new(), steps=6))


def test_load_model_reads_a_directory(tmp_path: Path) -> None:
    model = fit(new(tmp_path / "run", "cosine"), steps=5)
    loaded = load_model(tmp_path / "run", config=EVERY)
    assert bits(loaded) == bits(model)
    assert loaded.get_params()["distance_metric"] == "cosine"
    assert bits(fit(loaded, max_steps=9)) == bits(fit(new(kind="cosine"), max_steps=9))
    (tmp_path / "empty").mkdir()
    with pytest.raises(shoal.BadInputError, match=r"no checkpoint in .*empty"):
        load_model(tmp_path / "empty")


# ---- Other models, other versions ----


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_clusters": 8}, r"num_clusters is 8, .* have 7"),
        ({"distance_metric": "cosine"}, r"distance_metric is 'cosine', .* 'squared_euclidean'"),
        ({"initial_clusters": X[:7, :3]}, r"columns of initial_clusters is 3, .* have 4"),
        ({"feature_columns": ["a", "b", "c", "e"]}, r"feature_columns is \['a', 'b', 'c', 'e'\]"),
        ({"feature_columns": ["d", "b", "c", "a"]}, r"feature_columns is .*have \['a', 'b'"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    fit(new(tmp_path), {name: X[:, i] for i, name in enumerate("abcd")}, steps=3)
    with pytest.raises(CheckpointError, match=words):
        new(tmp_path, **change)
    with pytest.raises(CheckpointError, match=words):
        new(**change).set_params(model_dir=str(tmp_path))


def test_other_columns_are_refused(tmp_path: Path) -> None:
    before = bits(fit(new(tmp_path), steps=3))
    model = new(tmp_path)
    with pytest.raises(shoal.BadInputError, match=r"3 columns.* have 4"):
        fit(model, X[:, :3])
    assert bits(model) == bits(new(tmp_path)) == before


def test_other_parameters_may_differ(tmp_path: Path) -> None:
    fit(new(tmp_path), steps=3)
    model = new(tmp_path, "full batch", random_seed=3, initial_clusters="kmc2", num_threads=1)
    fit(model)
    assert model.state.global_step > 3
    assert model.state.seed == 11
    settings = json.loads((tmp_path / "shoal.json").read_text())
    assert settings["parameters"]["use_mini_batch"] is False


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON inside a checkpoint, and give it a right checksum."""
    arrays, metadata = tensors.unpack(path.read_bytes())
    content = json.loads(metadata["shoal"])
    change(content)
    metadata = {"shoal": json.dumps(content)}
    metadata["crc32"] = tensors.checksum(arrays, metadata)
    path.write_bytes(b"".join(tensors.pack(arrays, metadata)))


def test_a_later_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    fit(new(tmp_path), steps=3)
    model = new(tmp_path)
    edit(step_file(tmp_path, 3), lambda content: content.update(format=2, version="9.1"))
    was = step_file(tmp_path, 3).read_bytes()
    for call in (lambda: new(tmp_path), lambda: fit(model, steps=2), lambda: model.clusters()):
        with pytest.raises(CheckpointError, match=r"format 2, written by shoal 9\.1.*upgrade"):
            call()
    assert step_file(tmp_path, 3).read_bytes() == was
    step_file(tmp_path, 3).unlink()
    (tmp_path / "shoal.json").write_text('{"format": 3}')
    with pytest.raises(CheckpointError, match=r"shoal\.json has format 3"):
        new(tmp_path)


def test_an_older_library_of_the_same_format_is_fine(tmp_path: Path) -> None:
    model = fit(new(tmp_path), steps=3)

    def older(content: dict[str, Any]) -> None:
        content["version"] = "0.0.1"
        for name in ("idle_rounds", "unfinished"):  # fields with defaults came later
            del content["state"][name]

    edit(step_file(tmp_path, 3), older)
    assert bits(new(tmp_path)) == bits(model)


# ---- Damage ----


@pytest.fixture(name="two")
def _two(tmp_path: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A directory with the checkpoints of steps 3 and 4, and what each holds."""
    run = RunConfig(
        progress=False, tensorboard=False, save_checkpoints_steps=1, keep_checkpoint_max=2
    )
    first = bits(fit(new(tmp_path, config=run), steps=3))
    last = bits(fit(new(tmp_path, config=run), steps=1))
    return tmp_path, first, last


Two = tuple[Path, dict[str, Any], dict[str, Any]]


def test_any_damaged_byte_is_found(two: Two) -> None:
    folder, first, last = two
    path = step_file(folder, 4)
    whole = path.read_bytes()
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    rng = np.random.default_rng(seed)
    places = sorted({0, 7, 8, 9, len(whole) - 1, *rng.integers(len(whole), size=60).tolist()})
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            with pytest.warns(UserWarning, match=path.name):
                found = bits(new(folder))
        except pytest.fail.Exception:
            # Spaces that fill up the header may change: they mean nothing.
            assert whole[place] == ord(" "), f"byte {place} of {len(whole)}"
            continue
        assert found == first
    path.write_bytes(whole)
    assert bits(new(folder)) == last


@pytest.mark.parametrize("length", [0, 5, 8, 100, -40, -1])
def test_a_cut_off_file_is_passed_over(two: Two, length: int) -> None:
    folder, first, _ = two
    path = step_file(folder, 4)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.warns(UserWarning, match=r"step-000000004\S* cannot be used: it has .* bytes"):
        model = new(folder)
    assert bits(model) == first
    # Going on from the one before, the damaged one is put aside, and not met again.
    fit(model, max_steps=9)
    assert bits(new(folder)) == bits(fit(new(), max_steps=9))
    fit(new(folder / "other"), max_steps=9)


def test_a_damaged_file_of_a_later_step_is_put_aside(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _, _ = two
    step_file(folder, 4).rename(step_file(folder, 30))
    step_file(folder, 30).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="step-000000030"):
        model = new(folder)
    fit(model, max_steps=9)
    assert "step-000000030.safetensors.damaged" in files(folder)
    assert "step-000000030" in caplog.text
    assert bits(new(folder)) == bits(fit(new(), max_steps=9))


def test_all_damaged(two: Two) -> None:
    folder, _, _ = two
    for step in (3, 4):
        step_file(folder, step).write_bytes(b"12345678" * 20)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be used .*4.*3"):
        new(folder)
    assert len(files(folder)) == 2


@pytest.mark.parametrize("name", ["checkpoint.json", "shoal.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[3]", b'{"latest": "step-9"}'])
def test_lists_may_be_missing_or_damaged(two: Two, name: str, content: bytes | None) -> None:
    folder, _, last = two
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    model = new(folder)
    assert bits(model) == last
    fit(model, steps=1)
    assert json.loads((folder / "shoal.json").read_text())["format"] == 1
    assert json.loads((folder / "checkpoint.json").read_text())["latest"].startswith("step-")


WRONG_STATES: list[tuple[str, Any]] = [
    ("global_step", -1),
    ("global_step", "4"),
    ("global_step", True),
    ("seed", 1.5),
    ("initialized", 1),
    ("unfinished", [1, 2]),
    ("unfinished", [0, "x", 0, 0, 0]),
    ("color", "blue"),
]


@pytest.mark.parametrize(("field", "value"), WRONG_STATES)
def test_wrong_values_are_found(two: Two, field: str, value: Any) -> None:
    folder, first, _ = two
    edit(step_file(folder, 4), lambda content: content["state"].update({field: value}))
    with pytest.warns(UserWarning, match=field):
        assert bits(new(folder)) == first


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("counts", np.ones(6)),
        ("counts", np.ones((7, 1))),
        ("clusters", np.ones((6, 4), np.float32)),
        ("clusters", np.full((7, 4), np.nan, np.float32)),
        ("clusters_updated", np.ones((7, 5), np.float32)),
        ("colors", np.ones(3)),
        ("counts", None),
    ],
)
def test_wrong_arrays_are_found(two: Two, name: str, array: Any) -> None:
    folder, first, _ = two
    arrays, metadata = tensors.unpack(step_file(folder, 4).read_bytes())
    arrays.pop(name, None)
    if array is not None:
        arrays[name] = array
    del metadata["crc32"]
    metadata["crc32"] = tensors.checksum(arrays, metadata)
    step_file(folder, 4).write_bytes(b"".join(tensors.pack(arrays, metadata)))
    with pytest.warns(UserWarning, match="step-000000004"):
        assert bits(new(folder)) == first


def test_headers_of_safetensors_are_checked() -> None:
    whole = b"".join(tensors.pack({"a": np.arange(3.0), "b": np.ones((2, 2), np.float32)}, {}))
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])

    def refused(change: Callable[[dict[str, Any]], None], words: str) -> None:
        changed = copy.deepcopy(header)
        change(changed)
        text = json.dumps(changed).encode()
        with pytest.raises(tensors.FormatError, match=words):
            tensors.unpack(len(text).to_bytes(8, "little") + text + whole[end:])

    refused(lambda h: h["a"].update(dtype="F16"), "a: ")
    refused(lambda h: h["a"].update(dtype=[]), "a: ")
    refused(lambda h: h["a"].update(shape=[4]), "a has 24 bytes, .* needs 32")
    refused(lambda h: h["a"].update(shape=[-3, -1]), "a: ")
    refused(lambda h: h["a"].update(data_offsets=[0, 24.0]), "a: ")
    refused(lambda h: h["a"].update(data_offsets=[0, 24, 3]), "a: ")
    refused(lambda h: h["b"].update(data_offsets=[8, 24]), "gap or overlap")
    refused(lambda h: h["b"].update(data_offsets=[32, 48]), "should reach")
    refused(lambda h: h.pop("b"), "arrays end at")
    refused(lambda h: h.update(__metadata__={"a": 3}), "dictionary of texts")
    refused(lambda h: h.update(c=3), "c: 3")
    refused(lambda h: h["a"].update(shape=[3, *[1] * 70]), "a has shape")
    refused(
        lambda h: h.update(c={**h["a"], "shape": [0, 1 << 70], "data_offsets": [0, 0]}), "c has"
    )
    deep = b"[" * 100_000
    with pytest.raises(tensors.FormatError, match="JSON"):
        tensors.unpack(len(deep).to_bytes(8, "little") + deep)
    for content in (b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x02\0\0\0\0\0\0\0{x"):
        with pytest.raises(tensors.FormatError):
            tensors.unpack(content)


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
    child = "if os.fork() == 0: time.sleep(5), os._exit(0)"
    program = "import os\n" + HOLDER.replace("print(", f"{child}\n            print(")
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
