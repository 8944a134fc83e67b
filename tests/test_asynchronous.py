"""Asynchronous mini-batches: every part of the data at a pace of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asynchronous_helpers import assert_each_row_once, one_cluster
from helpers import bits, make_rows

import shoal
from shoal.cli import main
from shoal.executors import LocalExecutor, PickledExecutor
from shoal.steps.order import Order

K = 5
Array = Any


class Uneven(PickledExecutor):
    """Answers come in an order that a seed draws: some shards are faster than others."""

    def __init__(self, num_parts: int, seed: int = 0, lose_at: int | None = None) -> None:
        super().__init__(num_parts, lose_at)
        self._random = np.random.default_rng(seed)
        self._pace = self._random.exponential(size=num_parts)

    def first(self, answers: Sequence[Any]) -> int:
        pace = self._pace[[answer.which % self.num_parts for answer in answers]]
        return int(self._random.choice(len(answers), p=pace / pace.sum()))


class Seen:
    """The steps of a run."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.staleness: list[Any] = []
        self.rows = 0

    def after_step(self, context: Any) -> None:
        self.losses.append(context.loss)
        self.staleness.append(context.staleness)
        self.rows += context.rows


def model(executor: Any, config: Any = None, **options: Any) -> shoal.KMeansClustering:
    run = {"asynchronous": True, "executor": executor, **(config or {})}
    options = {"initial_clusters": "kmeans_plus_plus", **options}
    return shoal.KMeansClustering(K, config=shoal.RunConfig(**run), **options)


def passes(rows: Array, parts: int, size: int, number: int = 1) -> int:
    """Steps of so many passes of all parts over their rows."""
    edges = [len(rows) * i // parts for i in range(parts + 1)]
    return number * sum(-(-n // size) for n in np.diff(edges))


# ---- One part: the bits of synchronous training ----


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("period", [1, 3])
def test_one_part_gives_the_bits_of_synchronous_training(
    metric: str, weighted: bool, period: int
) -> None:
    rows = make_rows(700, dtype=np.float32)
    weights = np.random.default_rng(2).exponential(size=len(rows))
    data = shoal.Weighted(rows, weights) if weighted else rows
    options = {"distance_metric": metric, "mini_batch_steps_per_iteration": period}
    for ends in ({"steps": 11}, {}):  # in the second pass; by itself
        wanted, found = [], []
        for executor in (None, LocalExecutor(1), PickledExecutor(1), Uneven(1)):
            for asynchronous in (False, True):
                seen = Seen()
                one = model(executor, {"asynchronous": asynchronous}, **options)
                one.fit(data, batch_size=90, monitors=[seen], **ends)
                (found if asynchronous else wanted).append((bits(one), seen.losses))
                assert seen.staleness == [0 if asynchronous else None] * len(seen.losses)
        assert all(one == wanted[0] for one in wanted + found)


def test_one_part_of_a_file_gives_the_bits_of_synchronous_training(tmp_path: Path) -> None:
    rows = make_rows(3000)
    table = pa.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=400)
    found = []
    for asynchronous in (False, True):
        one = model(PickledExecutor(1), {"asynchronous": asynchronous}, memory_budget=0)
        found.append(bits(one.fit(tmp_path / "rows.parquet", batch_size=500, steps=14)))
    assert found[0] == found[1]


# ---- Every update once ----


@pytest.mark.parametrize("parts", [2, 3, 5])
@pytest.mark.parametrize("kind", ["array", "parquet"])
def test_every_row_is_trained_on_once_in_a_pass(parts: int, kind: str, tmp_path: Path) -> None:
    rows = make_rows(1003)
    data: Any = rows
    if kind == "parquet":
        table = pa.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})
        pq.write_table(table, tmp_path / "rows.parquet", row_group_size=1)
        data = tmp_path / "rows.parquet"
    for seed in range(4):
        # None may be ahead by more than the others: all come to the end of the pass together.
        one = one_cluster(Uneven(parts, seed), {"max_staleness": parts - 1}, random_seed=seed)
        one.fit(data, batch_size=60, steps=passes(rows, parts, 60))
        assert one.get_variable_value("counts").tolist() == [1 + len(rows)]
        np.testing.assert_allclose(one.clusters()[0], rows.sum(axis=0) / (1 + len(rows)), rtol=1e-9)


def test_a_part_has_an_order_of_its_own_in_each_pass() -> None:
    rows = np.arange(40.0)[:, None]
    first = np.zeros((1, 1))
    means = []

    class Means:
        def after_step(self, context: Any) -> None:
            means.append(float(context.clusters[0, 0] * (context.step * 10 + 1)))

    config = shoal.RunConfig(asynchronous=True, max_staleness=1, executor=PickledExecutor(2))
    one = shoal.KMeansClustering(1, initial_clusters=first, config=config, random_seed=3)
    one.fit(rows, batch_size=10, steps=8, monitors=[Means()])
    sums = np.round(np.diff([0.0, *means])).reshape(4, 2)
    for part, seed in ((0, 3), (1, 3 + 2**128)):
        for epoch in range(2):
            order = Order(seed, epoch, 20, 1).at(0, 20).reshape(2, 10) + 20 * part
            assert sums[2 * epoch : 2 * epoch + 2, part].tolist() == order.sum(axis=1).tolist()


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize("most", [None, 0, 1, 2, 7])
def test_staleness_is_bounded_and_recorded(parts: int, most: int | None) -> None:
    rows = make_rows(900)
    largest = []
    for seed in range(6):
        seen = Seen()
        one = model(Uneven(parts, seed), {"max_staleness": most})
        one.fit(rows, batch_size=30, steps=60, monitors=[seen])
        assert one.get_variable_value("global_step") == 60 == len(seen.staleness)
        assert one.get_variable_value("counts").sum() == K + seen.rows
        largest.append(max(seen.staleness))
    print(largest)
    assert max(largest) <= (4 * parts if most is None else most)
    if most is None and parts > 1:
        assert max(largest) >= parts  # some were behind
    if most is not None and most < parts:
        assert max(largest) == most


def in_numpy(rows: Array, first: Array, parts: int, size: int, steps: int) -> Array:
    """Parts in turn, each with the centers of the step behind its own last one."""
    edges = [len(rows) * i // parts for i in range(parts + 1)]
    states = [first]
    center, counts = first.copy(), np.ones(len(first))
    for step in range(steps):
        part, turn = step % parts, step // parts
        mine = rows[edges[part] : edges[part + 1]]
        epoch, batch = divmod(turn, -(-len(mine) // size))
        order = Order(part * 2**128, epoch, len(mine), rows.shape[1]).at(0, len(mine))
        taken = mine[order[batch * size : (batch + 1) * size]]
        known = states[0 if step < parts else step - parts + 1]
        labels = ((taken[:, None] - known) ** 2).sum(axis=2).argmin(axis=1)
        for label in range(len(first)):
            if (labels == label).any():
                found = taken[labels == label]
                counts[label] += len(found)
                center[label] += (found - center[label]).sum(axis=0) / counts[label]
        states.append(center.copy())
    return center


@pytest.mark.parametrize("parts", [2, 3])
def test_an_update_is_made_with_older_centers_and_applied_to_the_newest(parts: int) -> None:
    rows = make_rows(600)
    first = rows[:K].copy()
    config = shoal.RunConfig(asynchronous=True, executor=PickledExecutor(parts))
    one = shoal.KMeansClustering(K, initial_clusters=first, config=config)
    one.fit(rows, batch_size=40, steps=31)
    np.testing.assert_allclose(one.clusters(), in_numpy(rows, first, parts, 40, 31), rtol=1e-9)


# ---- What may happen ----


@pytest.mark.parametrize("seed", range(3))
def test_a_shard_that_is_lost_is_replaced_and_no_row_is_lost_or_counted_twice(seed: int) -> None:
    rows = make_rows(603)
    for lost in (None, *range(0, 25, 2)):
        losing = Uneven(3, seed, lose_at=lost)
        one = one_cluster(losing, {"max_staleness": 5}).fit(rows, batch_size=40, steps=30)
        assert len(losing.parts) == 3 + (lost is not None)
        assert_each_row_once(one, rows)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_run_that_was_interrupted_goes_on_where_each_part_was(parts: int, tmp_path: Path) -> None:
    rows = make_rows(900)
    steps = passes(rows, parts, 50)

    class StopError(Exception):
        pass

    class At:
        def __init__(self, step: int) -> None:
            self._step = step

        def after_step(self, context: Any) -> None:
            if context.step == self._step:
                raise StopError

    for at in (1, 4, 8):
        folder = tmp_path / f"{parts} {at}"
        config = {"save_checkpoints_steps": 1}
        with pytest.raises(StopError):
            one_cluster(Uneven(parts, at), config, model_dir=folder).fit(
                rows, batch_size=50, steps=steps, monitors=[At(at)]
            )
        one = one_cluster(Uneven(parts, at + 1), config, model_dir=folder)
        one.fit(rows, batch_size=50, max_steps=steps)
        # What was under way is computed again.
        assert one.get_variable_value("global_step") == steps
        if parts > 1:
            assert_each_row_once(one, rows)
        else:
            assert bits(one) == bits(one_cluster(None, {}).fit(rows, batch_size=50, steps=steps))


def test_another_number_of_parts_begins_the_pass_anew_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = make_rows(900)
    one_cluster(PickledExecutor(3), {}, model_dir=tmp_path).fit(rows, batch_size=50, steps=5)
    with caplog.at_level("WARNING", "shoal"):
        one_cluster(PickledExecutor(2), {}, model_dir=tmp_path).fit(rows, batch_size=50, steps=5)
    assert "by 3 workers" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", "shoal"):
        one_cluster(PickledExecutor(2), {}, model_dir=tmp_path).fit(rows, batch_size=50, steps=5)
        config = shoal.RunConfig()
        synchronous = shoal.KMeansClustering(1, tmp_path, config=config)
        synchronous.fit(rows, batch_size=50, steps=5)
    assert caplog.text == ""
    assert synchronous.get_variable_value("global_step") == 20


def test_a_part_without_a_row_to_use_ends_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = make_rows(300)
    weights = np.r_[np.ones(100), np.zeros(100), np.ones(100)]
    with caplog.at_level("INFO", "shoal"):
        one = model(PickledExecutor(3)).fit(rows, sample_weight=weights, batch_size=25, steps=40)
    assert "worker 1 has no rows with a weight" in caplog.text
    assert one.get_variable_value("global_step") == 40
    few = model(PickledExecutor(9)).fit(make_rows(7), batch_size=2, steps=20)
    assert few.get_variable_value("global_step") == 20


def test_a_bad_row_is_named_by_its_index() -> None:
    rows = make_rows(300)
    rows[170, 2] = np.nan
    with pytest.raises(shoal.BadInputError, match=r"x holds nan in row 170, column 2"):
        model(PickledExecutor(4), initial_clusters=rows[:K].copy()).fit(rows, batch_size=10)


def test_it_ends_by_itself() -> None:
    rows = make_rows(2000)
    for parts in (2, 4):
        one = model(Uneven(parts)).fit(rows, batch_size=100)
        assert one.score(rows) < 1.15 * model(None).fit(rows, batch_size=100).score(rows)
    short = model(Uneven(3), {"max_epochs": 2, "max_no_improvement": 1000})
    seen = Seen()
    short.fit(rows, batch_size=100, monitors=[seen])
    assert 2 * len(rows) <= seen.rows < 2 * len(rows) + 100


# ---- What is written ----


def test_staleness_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tensorboardX")
    rows = make_rows(600)
    config = {"save_summary_steps": 1, "tensorboard": True}
    with caplog.at_level(logging.INFO, "shoal"):
        model(Uneven(3), config, model_dir=tmp_path).fit(rows, batch_size=20, steps=30)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    ages = [line["staleness"] for line in lines]
    assert len(ages) == 30
    assert [line["largest_staleness"] for line in lines] == np.maximum.accumulate(ages).tolist()
    assert max(ages) > 0
    events = b"".join(path.read_bytes() for path in tmp_path.rglob("events*"))
    assert b"asynchronous/staleness" in events
    plain = model(None, {"asynchronous": False}, model_dir=tmp_path / "plain")
    plain.fit(rows, batch_size=20, steps=100)
    assert "staleness" not in (tmp_path / "plain" / "metrics.jsonl").read_text()


def test_the_command_line_has_it_with_workers_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "rows.npy", make_rows(900))
    command = f"fit {tmp_path}/rows.npy -k 5 --mini-batch -m {tmp_path}/m.safetensors -q"
    assert main(f"{command} --max-staleness 2".split()) == 1
    assert "--asynchronous is not given" in capsys.readouterr().err
    assert main(f"{command} --asynchronous".split()) == 1
    assert "--asynchronous is given without --ray ADDRESS" in capsys.readouterr().err
    assert main(f"{command} --steps 3".split()) == 0
    more = command.replace(" -k 5 --mini-batch", " --resume --steps 2")
    assert main(f"{more} --asynchronous".split()) == 1
    assert "--asynchronous is given without --ray ADDRESS" in capsys.readouterr().err


# ---- How good ----


@pytest.mark.parametrize("parts", [2, 4])
def test_the_loss_is_about_that_of_synchronous_training(parts: int) -> None:
    """After the same number of rows, from the same first centers."""
    rows = make_rows(4000, 8, 20, spread=1.0)
    ratios = []
    for seed in range(5):
        first = rows[np.random.default_rng(seed).choice(len(rows), 20, replace=False)]
        losses = []
        for executor, asynchronous in ((None, False), (Uneven(parts, seed), True)):
            config = shoal.RunConfig(executor=executor, asynchronous=asynchronous)
            one = shoal.KMeansClustering(20, initial_clusters=first, config=config)
            losses.append(one.fit(rows, batch_size=200, steps=100).score(rows))
        ratios.append(losses[1] / losses[0])
    print(ratios)
    assert abs(np.mean(ratios) - 1) < 0.02


# ---- What it is not for ----


def test_what_cannot_be_trained_asynchronously_is_refused() -> None:
    rows = make_rows(100)
    with pytest.raises(ValueError, match=r"asynchronous=True .* use_mini_batch is False"):
        model(None, use_mini_batch=False).fit(rows)
    with pytest.raises(ValueError, match=r"asynchronous=True .* is a stream: give arrays, files"):
        model(None).fit(lambda: iter([rows]))
    with pytest.raises(ValueError, match=r"asynchronous=True .* reassignment_ratio=0.01"):
        model(None, reassignment_ratio=0.01).fit(rows)
    with pytest.raises(ValueError, match=r"max_staleness is 3, and asynchronous is False"):
        shoal.RunConfig(max_staleness=3)
    with pytest.raises(ValueError, match=r"max_staleness is -1; it must be >= 0, or None"):
        shoal.RunConfig(asynchronous=True, max_staleness=-1)
    with pytest.raises(ValueError, match="asynchronous is 'yes'"):
        shoal.RunConfig(asynchronous="yes")  # type: ignore[arg-type]
