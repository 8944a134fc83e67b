"""model_dir: what is kept, and how a run goes on."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from checkpoint_helpers import (
    EVERY,
    KINDS,
    StopAt,
    X,
    files,
    fit,
    interrupted,
    new,
    step_file,
)
from helpers import bits
from pyarrow import parquet

import shoal
from shoal import (
    CheckpointError,
    RunConfig,
    load_model,
)
from shoal import KMeansClustering as Model
from shoal.storage import safetensors as tensors

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
    assert again.columns == model.columns == ("d", "c", "b", "a")
    assert again.get_variable_value("seed") > 0
    assert bits(fit(again, columns, steps=4)) == bits(model)  # which reads what is there


def test_a_fresh_seed_is_kept(tmp_path: Path) -> None:
    model = fit(new(tmp_path, random_seed=None), max_steps=9)
    seed = model.get_variable_value("seed")
    again = fit(new(tmp_path, random_seed=None), max_steps=20)
    assert again.get_variable_value("seed") == seed
    assert bits(again) == bits(fit(new(random_seed=seed), max_steps=20))


# ---- Going on ----


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "seeding", ["random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2", "array"]
)
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
