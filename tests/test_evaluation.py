"""evaluate: the loss, metrics of both kinds, and the files that results are written to."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shoal
from shoal.evaluation import write_evaluation
from shoal.state import exact_sum, exact_to_float

X = np.random.default_rng(3).normal(size=(300, 4))
WEIGHTS = np.random.default_rng(4).uniform(0.1, 3, size=300)
METRICS = ("squared_euclidean", "cosine")


@pytest.fixture
def model() -> shoal.KMeansClustering:
    return shoal.KMeansClustering(7, config=shoal.RunConfig(progress=False)).fit(X, steps=5)


class Mean:
    """A streaming metric: the mean of the rows, and what it was told."""

    def __init__(self) -> None:
        self.reset()
        self.batches: list[int] = []

    def reset(self) -> None:
        self.total, self.rows, self.labels, self.scores = 0.0, 0, [], []

    def update(
        self, rows: np.ndarray, cluster_idx: np.ndarray, scores: np.ndarray, clusters: np.ndarray
    ) -> None:
        assert len(rows) == len(cluster_idx) == len(scores)
        assert clusters.shape == (7, 4)
        self.total += rows.sum(axis=0)
        self.rows += len(rows)
        self.batches.append(len(rows))
        self.labels.append(cluster_idx)
        self.scores.append(scores)

    def result(self) -> np.ndarray:
        return self.total / self.rows


# ---- What it returns ----


@pytest.mark.parametrize("weighted", [False, True])
def test_the_results(model: shoal.KMeansClustering, weighted: bool) -> None:
    distances = ((X[:, None] - model.clusters()) ** 2).sum(axis=2).min(axis=1)
    weights = WEIGHTS if weighted else np.ones(len(X))
    found = model.evaluate(shoal.Weighted(X, WEIGHTS) if weighted else X)
    assert found == {
        "scores": pytest.approx((distances * weights).sum(), rel=1e-12),
        "loss": pytest.approx((distances * weights).sum() / weights.sum(), rel=1e-12),
        "num_rows": 300,
        "global_step": 5,
    }
    for size in (1, 7, 100, 299):
        again = model.evaluate(shoal.Weighted(X, WEIGHTS) if weighted else X, batch_size=size)
        assert again == found  # to the bit


def test_metrics_see_all_rows(model: shoal.KMeansClustering) -> None:
    seen: dict[str, Any] = {}

    def metric(rows: Any, cluster_idx: Any, scores: Any, clusters: Any) -> float:
        seen.update(rows=rows, cluster_idx=cluster_idx, scores=scores, clusters=clusters)
        return 0.5

    streaming = Mean()
    found = model.evaluate(X, batch_size=70, metrics={"a": metric, "b": streaming})
    assert found["a"] == 0.5
    assert found["b"] == pytest.approx(X.mean(axis=0))
    assert streaming.batches == [70, 70, 70, 70, 20]
    expected = model.predict(X, as_iterable=False)
    assert isinstance(expected, dict)
    assert np.array_equal(seen["rows"], X)
    assert np.array_equal(seen["clusters"], model.clusters())
    for name, parts in {"cluster_idx": streaming.labels, "scores": streaming.scores}.items():
        assert seen[name].dtype == expected[name].dtype
        assert np.array_equal(seen[name], expected[name])
        assert np.array_equal(np.concatenate(parts), expected[name])


def test_metrics_of_the_first_steps(model: shoal.KMeansClustering) -> None:
    streaming = Mean()
    found = model.evaluate(X, batch_size=70, steps=2, metrics={"b": streaming})
    assert found["num_rows"] == 140
    assert found["b"] == pytest.approx(X[:140].mean(axis=0))


def test_a_streaming_metric_can_be_used_again(model: shoal.KMeansClustering) -> None:
    streaming = Mean()
    first = model.evaluate(X, metrics={"b": streaming})["b"]
    assert np.array_equal(model.evaluate(X, metrics={"b": streaming})["b"], first)


def test_rows_are_not_kept_for_streaming_metrics(model: shoal.KMeansClustering) -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    rows = np.zeros((1000, 50))

    def stream() -> Any:
        return (rows + i for i in range(100))  # 40 MB in all

    wide = shoal.KMeansClustering(
        None, initial_clusters=rows[:3] + np.arange(3)[:, None], config=model.config
    ).fit(rows, steps=1)

    class Rows:
        def __init__(self) -> None:
            self.rows = 0

        def update(self, rows: Any, *_: Any) -> None:
            self.rows += len(rows)

        def result(self) -> int:
            return self.rows

    tracemalloc.start()
    try:
        assert wide.evaluate(input_fn=stream, metrics={"rows": Rows()})["rows"] == 100_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8e6, peak


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (5, "metrics is 5"),
        ({"a": 5}, "metrics is .*update"),
        ({"loss": len}, "metrics has the name 'loss'"),
        ({"scores": len}, "metrics has the name 'scores'"),
        ({3: len}, "metrics has the name 3"),
        ({"a": Mean}, "metrics.'a'. is the class Mean"),
    ],
)
def test_refused_metrics(model: shoal.KMeansClustering, metrics: Any, words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=words):
        model.evaluate(X, metrics=metrics)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "a\n", 5, "x\0"])
def test_refused_names(model: shoal.KMeansClustering, name: Any) -> None:
    with pytest.raises(shoal.BadInputError, match="name is"):
        model.evaluate(X, name=name)


def test_exact_sum() -> None:
    seed = 7
    rng = np.random.default_rng(seed)
    wild = np.ldexp(rng.normal(size=2000), rng.integers(-1070, 900, size=2000))
    for values in (wild, np.zeros(0), np.array([5e-324] * 3), np.array([1e300, 1.0, -1e300])):
        assert exact_to_float(exact_sum(values)) == math.fsum(values), f"seed {seed}"
        halves = exact_sum(values[::2]) + exact_sum(values[1::2])
        assert halves == exact_sum(values)


# ---- What it writes ----


def read(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text())
    assert record.pop("time") > 1e9
    return dict(record)


def test_files(model: shoal.KMeansClustering, tmp_path: Path) -> None:
    metrics = {"sizes": lambda _, labels, *__: np.bincount(labels), "nan": lambda *_: np.nan}
    first = model.evaluate(X, metrics=metrics)
    path = write_evaluation(tmp_path, None, first)
    assert path == tmp_path / "eval" / "step-000000005.json"
    expected = {**first, "sizes": first["sizes"].tolist(), "nan": "nan"}
    assert read(path) == expected
    model.fit(X, steps=1)
    second = model.evaluate(X)
    assert read(write_evaluation(tmp_path, None, second)) == second
    assert read(write_evaluation(tmp_path, "test", second)) == second
    assert read(path) == expected  # another step's results stay
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.json*")) == [
        "eval/metrics.jsonl",
        "eval/step-000000005.json",
        "eval/step-000000006.json",
        "eval_test/metrics.jsonl",
        "eval_test/step-000000006.json",
    ]
    lines = (tmp_path / "eval" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["global_step"] for line in lines] == [5, 6]


def test_a_step_evaluated_twice_loses_nothing(
    model: shoal.KMeansClustering, tmp_path: Path
) -> None:
    for rows in (X[:100], X[:200]):
        write_evaluation(tmp_path, "a", model.evaluate(rows))
    folder = tmp_path / "eval_a"
    assert sorted(os.listdir(folder)) == ["metrics.jsonl", "step-000000005.json"]
    assert read(folder / "step-000000005.json")["num_rows"] == 200
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["num_rows"] for line in lines] == [100, 200]


def test_a_torn_line_is_repaired(model: shoal.KMeansClustering, tmp_path: Path) -> None:
    results = model.evaluate(X)
    write_evaluation(tmp_path, None, results)
    path = tmp_path / "eval" / "metrics.jsonl"
    path.write_bytes(path.read_bytes() * 2 + b'{"scores": 1')
    write_evaluation(tmp_path, None, results)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["num_rows"] for line in lines] == [300] * 3


def test_model_dir(tmp_path: Path) -> None:
    config = shoal.RunConfig(progress=False, tensorboard=False)
    model = shoal.KMeansClustering(7, model_dir=tmp_path, config=config).fit(X, steps=3)
    results = model.evaluate(X, name="test", metrics={"rows": lambda rows, *_: len(rows)})
    assert results["rows"] == 300
    assert read(tmp_path / "eval_test" / "step-000000003.json") == results
    checkpoint = tmp_path / "checkpoints" / "step-000000003.safetensors"
    model.fit(X, steps=2)
    assert model.evaluate(X)["global_step"] == 5
    again = model.evaluate(X, checkpoint_path=str(checkpoint), name="again")
    assert again == {name: results[name] for name in again}
    assert sorted(os.listdir(tmp_path / "eval")) == ["metrics.jsonl", "step-000000005.json"]
    assert sorted(os.listdir(tmp_path / "eval_again")) == ["metrics.jsonl", "step-000000003.json"]
