"""Rows that live elsewhere: what is sent to them, what comes back, and what is lost on the way."""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import shoal
from shoal.executors import LocalExecutor, PickledExecutor
from shoal.executors.data import Data
from shoal.executors.ray import RayExecutor
from shoal.inference import Inference
from shoal.settings import Settings
from shoal.shards import part
from shoal.shards.part import Part
from shoal.sources.limits import Limits
from shoal.sources.open import open_source

Array = Any
K = 5


def some_rows(n: int = 300, d: int = 4) -> Array:
    rng = np.random.default_rng(12)
    middle = rng.normal(size=(K, d)) * 4
    return (middle[rng.integers(K, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


def bits(model: shoal.KMeansClustering) -> list[bytes]:
    names = ("clusters", "clusters_updated", "counts", "global_step")
    return [np.asarray(model.get_variable_value(name)).tobytes() for name in names]


def trained(data: Any, executor: Any, **options: Any) -> shoal.KMeansClustering:
    config = shoal.RunConfig(executor=executor)
    steps = options.pop("steps", 3)
    batch_size = options.pop("batch_size", None)
    model = shoal.KMeansClustering(K, config=config, kmc2_chain_length=20, **options)
    return model.fit(data, steps=steps, batch_size=batch_size)


# ---- A lost shard ----

RUNS = {
    "random, full batch": {"use_mini_batch": False},
    "k-means++, full batch": {"use_mini_batch": False, "initial_clusters": "kmeans_plus_plus"},
    "k-means++, cosine": {
        "use_mini_batch": False,
        "initial_clusters": "kmeans_plus_plus",
        "distance_metric": "cosine",
    },
    "k-means||, full batch": {"use_mini_batch": False, "initial_clusters": "kmeans_parallel"},
    "k-MC², full batch": {"use_mini_batch": False, "initial_clusters": "kmc2"},
    "AFK-MC², mini-batches": {"initial_clusters": "afkmc2", "batch_size": 70, "steps": 7},
}


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("run", RUNS)
def test_a_shard_lost_at_any_message_changes_nothing(run: str, weighted: bool) -> None:
    rows = some_rows(90)
    weights = np.random.default_rng(3).exponential(size=len(rows))
    data = shoal.Weighted(rows, weights) if weighted else rows
    expected = bits(trained(data, None, **RUNS[run]))
    whole = PickledExecutor(num_parts=3)
    assert bits(trained(data, whole, **RUNS[run])) == expected
    assert len(whole.sent) > 20
    # Behind that, partials are merged which are known already.
    last = max(at for at, one in enumerate(whole.sent) if one.message != "merge")
    for at in range(len(whole.sent)):
        losing = PickledExecutor(num_parts=3, lose_at=at)
        assert bits(trained(data, losing, **RUNS[run])) == expected, f"lost at {whole.sent[at]}"
        assert len(losing.parts) - len(whole.parts) == (at <= last), f"lost at {whole.sent[at]}"


def test_a_shard_lost_at_any_message_does_not_change_when_a_run_ends() -> None:
    rows = some_rows(120)
    first = rows[:K].copy()
    options = {"use_mini_batch": False, "initial_clusters": first, "steps": None}
    expected = trained(rows, None, **options)
    whole = PickledExecutor(num_parts=2)
    assert bits(trained(rows, whole, **options)) == bits(expected)
    for at in range(len(whole.sent)):
        losing = PickledExecutor(num_parts=2, lose_at=at)
        assert bits(trained(rows, losing, **options)) == bits(expected)


def test_a_shard_lost_while_an_empty_cluster_takes_a_row_changes_nothing() -> None:
    rows = some_rows(60)
    far = np.concatenate([rows[:3], np.full((2, 4), 1e3, np.float32)])
    options = {"use_mini_batch": False, "initial_clusters": far}
    expected = bits(trained(rows, None, **options))
    whole = PickledExecutor(num_parts=3)
    assert bits(trained(rows, whole, **options)) == expected
    assert "farthest" in {one.message for one in whole.sent}
    for at in range(len(whole.sent)):
        losing = PickledExecutor(num_parts=3, lose_at=at)
        assert bits(trained(rows, losing, **options)) == expected


# ---- What is sent ----


def counted(n: int, parts: int, **options: Any) -> PickledExecutor:
    executor = PickledExecutor(num_parts=parts)
    trained(some_rows(n), executor, **options)
    return executor


@pytest.mark.parametrize("parts", [1, 3, 16])
def test_messages_and_bytes_do_not_grow_with_the_rows(parts: int) -> None:
    """And a pass, a pick and a step take so many messages, with so many bytes."""
    for options in RUNS.values():
        # Rows that k-means|| draws are as many as is expected, not as many each time.
        draws = "kmeans_parallel" in options.values()
        few, many = (counted(n, parts, **options) for n in (2_000, 20_000))
        if "batch_size" not in options:
            for executor in (few, many):
                passes = [one for one in executor.sent if one.message == "assign"]
                assert len(passes) == 3 * parts
                merged = [one for one in executor.sent if one.message == "merge"]
                assert len(merged) == (3 + draws) * (parts - 1)  # candidates are weighed
        largest = [max(one.up for one in executor.sent) for executor in (few, many)]
        assert largest[1] <= largest[0] * (1 + 2 * draws) + 200, "an answer grows with the rows"
        down = [max(one.down for one in executor.sent) for executor in (few, many)]
        assert down[1] <= down[0] * (1 + 2 * draws) + 200, "a message grows with the rows"


@pytest.mark.parametrize("parts", [3, 16])
def test_a_pick_of_plus_plus_is_two_round_trips(parts: int) -> None:
    few, many = (
        counted(2_000, parts, use_mini_batch=False, initial_clusters="kmeans_plus_plus", steps=1)
        for _ in range(2)
    )
    assert [one.message for one in few.sent] == [one.message for one in many.sent]
    gains = [one for one in few.sent if one.message == "gains"]
    draws = [one for one in few.sent if one.message == "draw"]
    assert len(gains) == (K - 1) * parts
    # The first center of all, and the first draw, when there is no choice to be told of.
    assert (K - 2) * parts <= len(draws) <= K * parts
    assert max(one.up for one in gains) < 1_000


@pytest.mark.parametrize("parts", [1, 3, 16])
def test_a_mini_batch_is_found_by_the_shards_themselves(parts: int) -> None:
    first = some_rows(50)[:K].copy()
    executor = counted(
        5_000, parts, use_mini_batch=True, batch_size=500, initial_clusters=first, steps=6
    )
    steps = [one for one in executor.sent if one.message in ("scan", "begin", "assign")]
    assert len(steps) == 6 * 3 * parts
    assert max(one.down for one in steps) < 1_000


def test_a_part_of_a_file_is_a_description(tmp_path: Path) -> None:
    rows = some_rows(9_000)
    table = pyarrow.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=1_000)
    shares = open_source(tmp_path / "rows.parquet").split(3)
    parts = [Part(share, "squared_euclidean", 1) for share in shares]
    assert [sum(len(piece) for piece in share.stream()) for share in shares] == [3_000] * 3
    assert max(len(pickle.dumps(part)) for part in parts) < 4_000
    data = Data.of(PickledExecutor(3), parts)
    assert data.take(np.array([8_999, 0, 4_500])).rows.tolist() == rows[[8_999, 0, 4_500]].tolist()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("opened", ["path", "memory map"])
def test_a_part_of_a_mapped_file_is_a_description(tmp_path: Path, order: Any, opened: str) -> None:
    rows = some_rows(9_000)
    np.save(tmp_path / "rows.npy", np.array(rows, order=order))
    path = tmp_path / "rows.npy"
    data = path if opened == "path" else np.load(path, mmap_mode="r")[::-1][10:, 1:]
    expected = trained(data, None, use_mini_batch=False)
    executor = PickledExecutor(3)
    assert bits(trained(data, executor, use_mini_batch=False)) == bits(expected)
    assert max(executor.parts) < 2_000
    share = open_source(data).split(3)[1].held[0]
    assert not pickle.loads(pickle.dumps(share)).rows.flags.writeable
    content = pickle.dumps(share)
    np.save(path, rows[::-1])
    with pytest.raises(shoal.BadInputError, match=r"source changed .*rows\.npy is not as it was"):
        pickle.loads(content)
    path.unlink()
    with pytest.raises(
        shoal.BadInputError, match=r"rows\.npy cannot be read on .*: keep them where"
    ):
        pickle.loads(content)


def test_what_a_memory_map_holds_that_is_not_in_its_file_is_sent(tmp_path: Path) -> None:
    rows = some_rows(300)
    np.save(tmp_path / "rows.npy", rows)
    data = np.load(tmp_path / "rows.npy", mmap_mode="c")
    data[7] = 3.0
    expected = bits(trained(data, None, use_mini_batch=False))
    assert bits(trained(data, PickledExecutor(2), use_mini_batch=False)) == expected


@pytest.mark.parametrize("use_mini_batch", [False, True])
@pytest.mark.parametrize("memory_budget", [None, 0])
def test_files_are_kept_by_the_shards_that_read_them(
    tmp_path: Path, use_mini_batch: bool, memory_budget: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = some_rows(900)
    table = pyarrow.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=100)
    options = {"use_mini_batch": use_mini_batch, "memory_budget": memory_budget, "steps": 20}
    options |= {"batch_size": 150, "initial_clusters": "kmeans_plus_plus"}
    expected = bits(trained(rows, None, **options))
    decoded: list[int] = []
    decode = part.kept
    monkeypatch.setattr(part, "kept", lambda *given: decoded.append(1) or decode(*given))
    for executor in (PickledExecutor(1), PickledExecutor(4), PickledExecutor(4, lose_at=30)):
        decoded.clear()
        assert bits(trained(tmp_path / "rows.parquet", executor, **options)) == expected
        assert (len(decoded) >= executor.num_parts) == (memory_budget is None)
        assert max(executor.parts) < 4_000


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_weights_beside_a_file_go_where_its_rows_are(tmp_path: Path, use_mini_batch: bool) -> None:
    rows = some_rows(3_000)
    weights = np.random.default_rng(4).exponential(size=len(rows))
    table = pyarrow.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=500)
    found = []
    executor = PickledExecutor(3)
    for where in (None, executor):
        model = shoal.KMeansClustering(
            K,
            initial_clusters="kmc2",
            use_mini_batch=use_mini_batch,
            config=shoal.RunConfig(executor=where),
        )
        model.fit(tmp_path / "rows.parquet", steps=9, batch_size=700, sample_weight=weights)
        found.append(bits(model))
    assert found[0] == found[1]
    assert max(executor.parts) < weights.nbytes / 3 + 4_000


# ---- Every face ----


@pytest.mark.parametrize("make", [lambda: LocalExecutor(4), lambda: PickledExecutor(4)])
def test_a_program_gives_the_same_steps_wherever_its_rows_are(make: Any) -> None:
    rows = some_rows(200)
    found = []
    for executor in (None, make()):
        program = shoal.KMeans([rows[:70], rows[70:]], K, "kmeans_plus_plus", executor=executor)
        graph = program.training_graph()
        graph.init_op()
        losses = [graph.training_op() for _ in range(4)]
        found.append((losses, program.clusters.tobytes(), graph.cluster_idx()[1].tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_parts_in_this_process_give_the_same_bits(use_mini_batch: bool) -> None:
    rows = some_rows()
    options = {"use_mini_batch": use_mini_batch, "batch_size": 64, "steps": 8}
    options["initial_clusters"] = "kmeans_plus_plus"
    expected = bits(trained(rows, None, **options))
    assert all(bits(trained(rows, LocalExecutor(n), **options)) == expected for n in (1, 2, 7))


def test_bad_rows_are_named_wherever_they_are() -> None:
    rows = some_rows(90)
    rows[77, 2] = np.nan
    rows[80, 1] = np.inf
    told = []
    for executor in (None, PickledExecutor(3)):
        with pytest.raises(shoal.BadInputError, match="row 77, column 2") as caught:
            trained(rows, executor, use_mini_batch=False)
        told.append(str(caught.value))
    assert told[0] == told[1]
    kept = []
    for executor in (None, PickledExecutor(3)):
        with pytest.warns(UserWarning, match="dropped 2 of 90 rows"):
            kept.append(bits(trained(rows, executor, on_bad_rows="skip", use_mini_batch=False)))
    assert kept[0] == kept[1]


def test_shards_end_with_the_run() -> None:
    executor = PickledExecutor(3)
    trained(some_rows(), executor)
    assert executor._shards == {}


def test_what_is_no_executor_is_refused() -> None:
    for value in ("ray", 3, PickledExecutor):
        with pytest.raises(shoal.BadInputError, match=r"executor is .*; it must be None or an"):
            shoal.RunConfig(executor=value)


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(shoal.MissingExtraError, match=r"pip install 'shoal\[ray\]'"):
        trained(some_rows(), RayExecutor(2))


# ---- Inference ----


def answers(model: shoal.KMeansClustering, data: Any) -> list[Any]:
    found = model.predict(data, outputs=["row", "cluster_idx", "scores"], as_iterable=False)
    assert isinstance(found, dict)
    arrays = [*found.values(), model.labels(data), model.transform(data)]
    return [*(array.tobytes() for array in arrays), model.score(data), model.evaluate(data)]


def test_inference_says_the_same_wherever_rows_are() -> None:
    rows = some_rows(500)
    weighted = shoal.Weighted(rows, np.random.default_rng(3).exponential(size=len(rows)))
    model = trained(rows, None, use_mini_batch=False)
    whole = answers(model, weighted)
    pieces = shoal.open(weighted, limits=Limits(answer_rows=30))
    for executor in (LocalExecutor(2), PickledExecutor(3)):
        model.set_params(config=shoal.RunConfig(executor=executor))
        assert answers(model, pieces) == whole
        assert executor._shards == {}
    sent = executor.sent
    assert {one.message for one in sent} == {"predict", "measure"}
    assert max(one.up for one in sent) < 4_000


def test_bad_rows_are_left_out_of_inference_wherever_they_are() -> None:
    rows = some_rows(90)
    rows[[7, 41, 42, 89]] = np.nan
    options = {"use_mini_batch": False, "on_bad_rows": "skip"}
    found = []
    for executor in (None, PickledExecutor(3)):
        with pytest.warns(UserWarning, match="dropped 4 of 90 rows") as caught:
            found.append(answers(trained(rows, executor, **options), rows))
        assert {str(one.message) for one in caught} == {str(caught[0].message)}
    assert found[0] == found[1]
    with pytest.raises(shoal.BadInputError, match="row 7"):
        trained(some_rows(), PickledExecutor(3)).predict(rows, as_iterable=False)


def test_a_shard_lost_while_predicting_changes_nothing() -> None:
    rows = some_rows(100)
    model = trained(rows, None, use_mini_batch=False)
    expected = answers(model, rows)
    pieces = shoal.open(rows, limits=Limits(answer_rows=9))
    whole = PickledExecutor(3)
    model.set_params(config=shoal.RunConfig(executor=whole))
    assert answers(model, pieces) == expected
    for at in range(0, len(whole.sent), 3):
        model.set_params(config=shoal.RunConfig(executor=PickledExecutor(3, lose_at=at)))
        assert answers(model, pieces) == expected


class Files:
    """A sink: each shard has a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def open(self, number: int) -> Iterator[Any]:
        self.parts: list[Array] = []
        yield self
        np.save(self.folder / f"part-{number}.npy", np.concatenate(self.parts))

    def write(self, outputs: dict[str, Array]) -> None:
        self.parts.append(np.stack([outputs["row"], outputs["cluster_idx"]]))


def test_each_shard_writes_its_own_file(tmp_path: Path) -> None:
    rows = some_rows(100)
    model = trained(rows, None, use_mini_batch=False)
    executor = PickledExecutor(4, lose_at=2)
    parameters = Settings.checked(model.get_params()).parameters
    asked = Inference(model.state, parameters, "error", executor)
    assert asked.written(open_source(rows), ("row", "cluster_idx"), Files(tmp_path)) == 100
    parts = [np.load(tmp_path / f"part-{number}.npy") for number in range(4)]
    assert [part.shape[1] for part in parts] == [25] * 4
    row, label = np.concatenate(parts, axis=1)
    assert np.array_equal(row, np.arange(100))
    assert np.array_equal(label, model.labels(rows))
    assert max(one.up for one in executor.sent) < 1_000
