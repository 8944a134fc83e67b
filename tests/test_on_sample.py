"""A start on a sample: the same bits for any split, kind of data and interruption; what is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import Shell
from estimator_helpers import Recorder, metrics
from helpers import bits, make_rows, write
from scipy import sparse

import shoal
import shoal.sklearn
from shoal.executors import LocalExecutor, PickledExecutor
from shoal.steps.random import SUBSAMPLING, Random

K = 3
ROWS = make_rows(600 * K, 4, K, seed=5, spread=1.0)
CENTERS = ROWS[:K]
QUIET = shoal.RunConfig(progress=False, tensorboard=False)
EACH = QUIET.replace(save_checkpoints_steps=1, save_summary_steps=1)


def model(sample: Any = True, **given: Any) -> shoal.KMeansClustering:
    """Starts from the same centers, on a sample."""
    standard = {"initial_clusters": CENTERS, "use_mini_batch": False, "config": QUIET}
    return shoal.KMeansClustering(K, **{**standard, "start_on_sample": sample, **given})


def in_sample(n: int, fraction: float, seed: int = 0) -> Any:
    """Which rows are in the sample: a function of the seed and of each row's index."""
    return Random(seed, SUBSAMPLING).shares(n) < np.uint64(round(fraction * 2**53))


# --- what it does ------------------------------------------------------------------------------


@metrics
@pytest.mark.parametrize(
    ("given", "fraction", "steps"),
    [(True, 0.25, 20), (0.5, 0.5, 20), ({"fraction": 0.1, "steps": 3}, 0.1, 3)],
)
def test_it_is_a_run_on_the_sample_and_then_one_on_all_rows(
    given: Any, fraction: float, steps: int, metric: str
) -> None:
    mask = in_sample(len(ROWS), fraction)
    assert abs(mask.mean() - fraction) < 0.05
    first = model(False, distance_metric=metric).fit(ROWS[mask], steps=steps)
    then = model(False, distance_metric=metric, initial_clusters=first.clusters())
    found = model(given, distance_metric=metric).fit(ROWS, steps=4)
    np.testing.assert_allclose(found.clusters(), then.fit(ROWS, steps=4).clusters(), rtol=1e-12)
    assert found.state.global_step == 4
    if metric == "squared_euclidean":
        assert bits(found) == bits(then)


def test_weights_count_on_the_sample() -> None:
    weights = np.random.default_rng(2).integers(0, 3, len(ROWS)).astype(float)
    mask = in_sample(len(ROWS), 0.25)
    first = model(False).fit(ROWS[mask], steps=20, sample_weight=weights[mask])
    then = model(False, initial_clusters=first.clusters())
    found = model().fit(ROWS, steps=2, sample_weight=weights)
    assert bits(found) == bits(then.fit(ROWS, steps=2, sample_weight=weights))


def test_another_seed_takes_other_rows() -> None:
    some = {"fraction": 0.1, "steps": 1}
    found = [model(some, random_seed=seed).fit(ROWS, steps=1).clusters() for seed in (0, 0, 1)]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_chosen_centers_are_trained_on_the_sample_too() -> None:
    chosen = model(False, initial_clusters="kmeans_plus_plus").fit(ROWS, steps=1)
    sampled = model(True, initial_clusters="kmeans_plus_plus").fit(ROWS, steps=1)
    assert sampled.score(ROWS) < chosen.score(ROWS)


def test_empty_clusters_of_the_sample_are_no_error() -> None:
    outside = int(np.flatnonzero(~in_sample(len(ROWS), 0.1))[0])
    lone = ROWS.copy()
    lone[outside] = 1e3
    centers = np.vstack([CENTERS[:2], lone[outside]])
    found = model(0.1, initial_clusters=centers, empty_clusters="error").fit(lone, steps=1)
    assert found.clusters()[2].tolist() == [1e3] * 4


# --- the same bits -----------------------------------------------------------------------------


@metrics
@pytest.mark.parametrize(
    "given",
    [
        {"config": QUIET.replace(executor=LocalExecutor(4))},
        {"config": QUIET.replace(executor=PickledExecutor(3))},
        {"memory_budget": 0},
        {"memory_budget": 0, "config": QUIET.replace(executor=PickledExecutor(2))},
        {"num_threads": 1},
    ],
    ids=["four parts", "through pickle", "no memory", "no memory, two parts", "one thread"],
)
def test_however_rows_are_split_and_kept(given: Any, metric: str) -> None:
    whole = model(distance_metric=metric).fit(ROWS)
    assert bits(model(distance_metric=metric, **given).fit(ROWS)) == bits(whole)


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".csv", "stream", "list", "sparse"])
def test_wherever_rows_come_from(suffix: str, budget: int | None, tmp_path: Path) -> None:
    expected = bits(model().fit(ROWS))
    data: Any
    if suffix == "stream":
        data = lambda: np.array_split(ROWS, 7)  # noqa: E731
    elif suffix == "list":
        data = np.array_split(ROWS, 5)
    elif suffix == "sparse":
        data = sparse.csr_array(ROWS)
    elif suffix == ".npy":
        data = tmp_path / "x.npy"
        np.save(data, ROWS)
    elif suffix == ".csv":
        lines = [",".join(map(repr, row)) for row in ROWS.tolist()]
        data = write(tmp_path / "x.csv", "a,b,c,d\n" + "\n".join(lines))
    else:
        columns = dict(zip("abcd", ROWS.T, strict=True))
        data = write(tmp_path / "x.parquet", columns, row_group_size=100)
    found = bits(model(memory_budget=budget).fit(data))
    assert found == expected


def test_rows_that_are_skipped_are_not_counted() -> None:
    bad = np.insert(ROWS, [0, 900], np.nan, axis=0)
    with pytest.warns(UserWarning, match="2 rows"):
        found = model(on_bad_rows="skip").fit(bad)
    assert bits(found) == bits(model().fit(ROWS))


@pytest.mark.parametrize("lost", range(4, 38, 3))
def test_a_shard_that_is_lost_changes_nothing(lost: int) -> None:
    sample = {"fraction": 0.3, "steps": 6}
    executor = PickledExecutor(2, lose_at=lost)
    found = model(sample, config=QUIET.replace(executor=executor)).fit(ROWS, steps=3)
    assert len(executor.sent) > lost
    assert bits(found) == bits(model(sample).fit(ROWS, steps=3))


class Interrupts:
    """A monitor that interrupts on the sample, or in a step on all rows."""

    def __init__(self, on_sample: int = -1, step: int = -1) -> None:
        self._on_sample, self._step = on_sample, step

    def step_on_sample(self, context: Any) -> None:
        if context.on_sample["steps"] == self._on_sample:
            raise KeyboardInterrupt

    def before_step(self, context: Any) -> None:
        if context.step == self._step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("empty_cluster", [False, True])
@pytest.mark.parametrize("at", [{"on_sample": 1}, {"on_sample": 6}, {"step": 0}, {"step": 2}])
def test_a_run_that_is_interrupted_ends_with_the_same_bits(
    at: dict[str, int], empty_cluster: bool, tmp_path: Path
) -> None:
    centers = np.vstack([CENTERS[:2], [[1e3] * 4]]) if empty_cluster else CENTERS
    given = {"start_on_sample": {"steps": 6}, "initial_clusters": centers}
    whole = model(**given).fit(ROWS)
    first = model(**given, config=EACH, model_dir=str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        first.fit(ROWS, monitors=[Interrupts(**at)])
    again = model(**given, config=EACH, model_dir=str(tmp_path))
    assert again.is_interrupted
    if "on_sample" in at:
        assert again.state.sample_steps_left == 6 - at["on_sample"]
    assert bits(again.fit(ROWS)) == bits(whole)
    assert not again.is_interrupted


# --- what is said ------------------------------------------------------------------------------


def test_the_log_and_the_metrics_tell_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shoal")
    history = shoal.hooks.History()
    model(0.5, config=EACH, model_dir=str(tmp_path)).fit(ROWS, steps=2, monitors=[history])
    few = int(in_sample(len(ROWS), 0.5).sum())
    assert f"20 steps at most on a sample of {few} of {len(ROWS)} rows" in caplog.text
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for record in (*lines, *history.records):
        told = record["on_sample"]
        assert (told["rows"], told["most"]) == (few, 20)
        assert f"{told['steps']} steps made on the sample" in caplog.text
        assert 0 < told["loss_per_row"] < 100
    assert [record["step"] for record in lines] == [1, 2]


def test_monitors_hear_of_each_step_on_the_sample() -> None:
    class Listens(Recorder):
        def step_on_sample(self, context: Any) -> None:
            self.events.append(f"sample {context.on_sample['steps']}")

    heard = Listens()
    model({"steps": 2}).fit(ROWS, steps=1, monitors=[heard])
    assert heard.events == ["sample 1", "sample 2", "begin", "before_step", "after_step", "end"]


def test_trained_centers_make_no_steps_on_a_sample(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "shoal")
    found = model().fit(ROWS, steps=2)
    caplog.clear()
    found.fit(ROWS, steps=2)
    assert "sample" not in caplog.text
    assert bits(found) == bits(model().fit(ROWS, steps=4))


def test_files_that_are_read_anew_for_each_step_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = dict(zip("abcd", ROWS.T, strict=True))
    data = write(tmp_path / "x.parquet", columns, row_group_size=100)
    for budget, told in ((0, True), (None, False)):
        caplog.clear()
        model(memory_budget=budget).fit(data, steps=1)
        assert ("each step on it reads all rows" in caplog.text) == told


def test_few_rows_per_cluster_are_told() -> None:
    with pytest.warns(UserWarning, match="500 rows per cluster. Below 600"):
        model().fit(ROWS[: 500 * K], steps=1)


def test_a_sample_of_fewer_rows_than_clusters_is_told_and_left_out() -> None:
    few = ROWS[:8]
    with pytest.warns(UserWarning, match="fewer than the 3 clusters, so training starts on all"):
        found = model(0.1).fit(few, steps=2)
    assert bits(found) == bits(model(False).fit(few, steps=2))


@pytest.mark.parametrize(
    "wrong", [0, 1, 1.5, -0.1, "0.25", np.nan, {"rows": 5}, {"fraction": True}, [0.5]]
)
def test_wrong_values_say_what_is_allowed(wrong: Any) -> None:
    with pytest.raises(shoal.errors.BadInputError, match=r"start_on_sample .* between 0 and 1"):
        model(wrong)


@pytest.mark.parametrize("steps", [0, 2.5, "3"])
def test_wrong_numbers_of_steps(steps: Any) -> None:
    with pytest.raises(shoal.errors.BadInputError, match=r"start_on_sample\['steps'\]"):
        model({"steps": steps})


def test_mini_batches_have_no_sample() -> None:
    with pytest.raises(shoal.errors.BadInputError, match=r"samples already\. Use use_mini_batch"):
        model(0.5, use_mini_batch=True)


def test_it_is_a_parameter_that_is_kept(tmp_path: Path) -> None:
    given = {"fraction": 0.5, "steps": 3}
    shoal.save_model(model(given).fit(ROWS, steps=1), tmp_path / "m.safetensors")
    found = shoal.load_model(tmp_path / "m.safetensors")
    assert found.get_params()["start_on_sample"] == given


# --- the other faces ---------------------------------------------------------------------------


@metrics
def test_the_face_of_scikit_learn(metric: str, capsys: pytest.CaptureFixture[str]) -> None:
    def new(**given: Any) -> Any:
        name = "cosine" if metric == "cosine" else "euclidean"
        standard = {"init": CENTERS, "n_init": 1, "metric": name, "random_state": 7}
        return shoal.sklearn.KMeans(K, **{**standard, **given})

    plain = new(tol=0, max_iter=1).fit(ROWS)
    found = new(tol=0, max_iter=1, start_on_sample=True).fit(ROWS)
    assert found.inertia_ < plain.inertia_
    assert found.n_iter_ == 1
    said = new(tol=0, max_iter=1, start_on_sample=True, verbose=1).fit(ROWS)
    assert "Starting on a sample of" in capsys.readouterr().out
    np.testing.assert_array_equal(found.cluster_centers_, said.cluster_centers_)
    seed = int(np.random.RandomState(7).randint(2**31 - 1))
    same = model(distance_metric=metric, random_seed=seed).fit(ROWS, steps=1)
    np.testing.assert_array_equal(found.cluster_centers_, same.clusters())


@pytest.mark.parametrize("wrong", [0.0, 1.0, 2, "yes", {"part": 0.5}])
def test_the_face_of_scikit_learn_refuses(wrong: Any) -> None:
    with pytest.raises(ValueError, match="start_on_sample"):
        shoal.sklearn.KMeans(K, start_on_sample=wrong).fit(ROWS)


@pytest.fixture
def shell(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", ROWS)
    return Shell(capsys)


def test_the_command_line(shell: Shell) -> None:
    for words, part in (("--start-on-sample", True), ("--start-on-sample 0.5", 0.5)):
        shell.ok(f"fit x.npy -k {K} --steps 2 --force {words}")
        expected = model(part, initial_clusters="kmeans_plus_plus").fit(ROWS, steps=2)
        found = shoal.load_model("model.safetensors")
        np.testing.assert_array_equal(found.clusters(), expected.clusters())
        assert found.get_params()["start_on_sample"] == part
    shell.error("fit x.npy --start-on-sample 2 --force", "--start-on-sample", "between 0 and 1")
