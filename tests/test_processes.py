"""Models in other processes and threads."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import make_rows

import shoal

# ---- Processes and threads ----


def train_here(rows):
    model = shoal.KMeansClustering(5, num_threads=3, use_mini_batch=False)
    return model.fit(rows, steps=3).clusters().tobytes()


def answer(connection, rows):
    connection.send(train_here(rows))
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.* was called:RuntimeWarning")  # where JAX is loaded
def test_training_in_a_forked_child():
    rows = make_rows(n=30_000, d=8, dtype=np.float32)
    expected = train_here(rows)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=answer, args=(theirs, rows), daemon=True)
    child.start()
    theirs.close()
    assert ours.poll(60), "the child hangs"
    assert ours.recv() == expected
    child.join(60)
    assert child.exitcode == 0


def test_several_threads_at_once():
    rows = make_rows(n=30_000, d=8, dtype=np.float32)
    expected = train_here(rows)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(train_here, [rows] * 6)) == {expected}
        model = shoal.KMeansClustering(5).partial_fit(rows)
        score = model.score(rows)
        assert set(pool.map(model.score, [rows] * 6)) == {score}


def shuffled_each_time() -> Iterator[np.ndarray]:
    rng = np.random.default_rng()
    x = np.random.default_rng(1).normal(size=(400, 3))
    yield from np.array_split(rng.permutation(x), 4)


def test_full_batches_refuse_a_source_in_another_order_each_time() -> None:
    with pytest.raises(shoal.BadInputError, match="another order"):
        shoal.KMeansClustering(3, use_mini_batch=False).fit(input_fn=shuffled_each_time)


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_rows_changed_between_steps_of_the_program(use_mini_batch: bool) -> None:
    x = np.random.default_rng(2).normal(size=(300, 2))
    graph = shoal.KMeans(x, 3, initial_clusters=x[:3], use_mini_batch=use_mini_batch)
    step = graph.training_graph().training_op
    step()
    x += 5
    before = graph.state.clusters
    loss = step()
    assert loss == pytest.approx(((x[:, None] - before) ** 2).sum(-1).min(1).sum())
    assert np.abs(graph.state.clusters).max() < x.max()


def test_centers_in_single_precision_meet_rows_in_double() -> None:
    x = np.random.default_rng(3).normal(size=(500, 2)) + 1e6
    single = shoal.KMeansClustering(
        4, initial_clusters=x[:4].astype(np.float32), use_mini_batch=False
    ).fit(x)
    assert single.clusters().dtype == np.float64
    sizes = np.bincount(
        single.predict(x, outputs=["cluster_idx"], as_iterable=False)["cluster_idx"], minlength=4
    )
    assert single.score(x) < 2 * len(x)
    assert sizes.sum() == len(x)


def test_equal_centers_and_a_small_move_keep_labels_exact() -> None:
    rng = np.random.default_rng(4)
    x = np.zeros((64, 3), np.float32)
    for _ in range(200):
        c = np.repeat(rng.normal(size=(1, 3)) * 1e-22, 2, axis=0).astype(np.float32)
        moved = c.copy()
        moved[0] *= np.float32(1 + rng.uniform(0, 0.3))
        program = shoal.KMeans(x + c[0], 2, initial_clusters=c).training_graph()
        program.training_op()
        model = shoal.KMeansClustering(2, initial_clusters=moved, use_mini_batch=False)
        model.fit(x + c[0], steps=2)
        expected = ((x[0] + c[0] - model.clusters().astype(float)) ** 2).sum(1).argmin()
        assert next(model.predict_cluster_idx(x + c[0])) == expected


@pytest.mark.parametrize("use_mini_batch", [False, True])
@pytest.mark.parametrize("relative_tolerance", [None, 1e-4])
def test_interrupted_near_the_end_it_ends_where_it_would_have(
    use_mini_batch: bool, relative_tolerance: float | None
) -> None:
    x = np.random.default_rng(5).normal(size=(3000, 4))

    def model() -> shoal.KMeansClustering:
        return shoal.KMeansClustering(
            12, use_mini_batch=use_mini_batch, relative_tolerance=relative_tolerance
        )

    def fit(of: shoal.KMeansClustering, **how: Any) -> shoal.KMeansClustering:
        return of.fit(x, batch_size=200 if use_mini_batch else None, **how)

    whole = fit(model())
    steps = whole.state.global_step

    class Interrupt:
        def before_step(self, context: Any) -> None:
            if context.step == steps - 1:
                raise KeyboardInterrupt

    again = model()
    with pytest.raises(KeyboardInterrupt):
        fit(again, monitors=[Interrupt()])
    fit(again)
    assert (again.clusters() == whole.clusters()).all()
    assert again.state.global_step == steps


def test_a_period_begins_when_training_changes_its_kind() -> None:
    x = np.random.default_rng(6).normal(size=(600, 3))
    model = shoal.KMeansClustering(5, use_mini_batch=False).fit(x)
    model.set_params(mini_batch_steps_per_iteration=3)
    before = model.clusters()
    model.partial_fit(x[:100])
    assert (model.clusters() == before).all()
    assert model.get_variable_value("update_in_steps") == 2
    model.partial_fit(x[100:200]).partial_fit(x[200:300])
    assert not (model.clusters() == before).all()


def test_loss_of_weighted_rows_depends_on_no_split() -> None:
    rng = np.random.default_rng(7)
    x, w = rng.normal(size=(1000, 3)), rng.uniform(0, 1, 1000)
    model = shoal.KMeansClustering(4, use_mini_batch=False).fit(x)
    cut = [shoal.Weighted(x[i : i + 77], w[i : i + 77]) for i in range(0, 1000, 77)]
    assert (
        model.evaluate(shoal.Weighted(x, w))["loss"]
        == model.evaluate(input_fn=lambda: iter(cut))["loss"]
    )


def test_columns_are_known_by_name_after_training() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=200), rng.normal(size=200) + 50
    model = shoal.KMeansClustering(3, use_mini_batch=False).fit({"b": b, "a": a})
    assert model.columns == ("b", "a")
    rows = np.c_[b, a]
    assert model.score({"a": a, "other": b, "b": b}) == model.score(rows)
    with pytest.raises(shoal.BadInputError, match="no column 'a'; it has \\['c', 'b'\\]"):
        model.score({"c": a, "b": b})


def test_names_for_rows_without_are_announced(caplog: pytest.LogCaptureFixture) -> None:
    rows = np.random.default_rng(9).normal(size=(50, 2))
    model = shoal.KMeansClustering(3, use_mini_batch=False).fit(rows)
    assert model.columns == ()
    with caplog.at_level("WARNING", "shoal"):
        assert model.score({"q": rows[:, 0], "p": rows[:, 1]}) == model.score(rows)
    assert "by position, and remembered: ['q', 'p']" in caplog.text
    assert model.columns == ("q", "p")
    caplog.clear()
    assert model.score({"p": rows[:, 1], "q": rows[:, 0]}) == model.score(rows)
    assert not caplog.text


def test_a_column_named_twice_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.eye(3), columns=["a", "a", "b"])
    with pytest.raises(shoal.BadInputError, match="more than one column 'a'"):
        shoal.KMeansClustering(2).fit(frame)


def test_threads_read_a_model_while_one_trains_it(tmp_path: Path) -> None:
    rows = make_rows(n=3000)
    config = shoal.RunConfig(save_checkpoints_steps=1, keep_checkpoint_max=2, tensorboard=False)
    model = shoal.KMeansClustering(5, str(tmp_path), config=config).fit(rows, steps=1)
    over, read = threading.Event(), []

    def reads() -> None:
        while not over.is_set():
            read.append(len(model.labels(rows[:5])))

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(reads) for _ in range(8)]
        try:
            model.fit(rows, steps=60, batch_size=100)
        finally:
            over.set()
        for reader in readers:
            reader.result()
    assert len(read) > 8
    assert model.get_variable_value("global_step") == 61
