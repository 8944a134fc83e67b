"""``input_fn(worker, num_workers)``: each worker reads batches of its own."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bits, make_rows
from test_asynchronous import Uneven

import shoal
from shoal.executors import LocalExecutor, PickledExecutor

K = 5
ROWS = make_rows(1003, dtype=np.float32)
#: Sizes of the batches of three workers: one has fewer, one has an empty one.
SIZES = ((40, 30, 50, 7, 60), (25, 25, 25), (80, 0, 10, 90, 20, 11))
SEEDINGS = ("random", "kmeans_plus_plus", "kmc2", "afkmc2", "kmeans_parallel")


def batches(worker: int, num_workers: int, weighted: bool = False) -> Iterator[Any]:
    """Those of three, dealt out to as many as there are."""
    for one in range(worker, 3, num_workers):
        start = 300 * one
        for size in SIZES[one]:
            rows = ROWS[start : start + size]
            yield shoal.Weighted(rows, np.arange(size) % 4.0) if weighted else rows
            start += size


weighted_batches = functools.partial(batches, weighted=True)


def together(function: Any, num_workers: int) -> Iterator[list[Any]]:
    """The same, read by one: of each worker one batch with rows, as parts of one."""
    streams = [
        (batch for batch in function(worker, num_workers) if len(batch_rows(batch)))
        for worker in range(num_workers)
    ]
    for turn in itertools.zip_longest(*streams):
        yield [batch for batch in turn if batch is not None]


def one_after_the_other(function: Any, num_workers: int) -> Iterator[Any]:
    """All batches of the first worker, then those of the next."""
    return itertools.chain(*(function(worker, num_workers) for worker in range(num_workers)))


def batch_rows(batch: Any) -> Any:
    return batch.rows if isinstance(batch, shoal.Weighted) else batch


def model(executor: Any = None, config: Any = None, **options: Any) -> shoal.KMeansClustering:
    run = {"executor": executor, "progress": False, **(config or {})}
    options = {"initial_clusters": "kmeans_plus_plus", **options}
    return shoal.KMeansClustering(K, config=shoal.RunConfig(**run), **options)


def first_rows(inputs: list[Any], remaining: int) -> Any:
    return np.concatenate(inputs)[:remaining]


# ---- Which rows are trained on ----


@pytest.mark.parametrize("executor", [LocalExecutor, PickledExecutor])
@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("seeding", [*SEEDINGS, first_rows])
def test_a_step_takes_one_batch_of_each_worker(executor: Any, number: int, seeding: Any) -> None:
    for options in ({}, {"distance_metric": "cosine"}, {"mini_batch_steps_per_iteration": 3}):
        options = {"initial_clusters": seeding, **options}
        for function in (batches, weighted_batches) if isinstance(seeding, str) else (batches,):
            wanted = model(**options).fit(input_fn=lambda: together(function, number))  # noqa: B023
            found = model(executor(number), **options).fit(input_fn=function)
            assert bits(found) == bits(wanted)
    assert found.get_variable_value("global_step") == {1: 13, 2: 10, 3: 5, 5: 5}[number]


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("seeding", SEEDINGS)
def test_full_batches_are_those_of_all_workers(number: int, seeding: str) -> None:
    options: Any = {"initial_clusters": seeding, "use_mini_batch": False}
    for function in (batches, weighted_batches):
        # Some ways choose from one batch after the other, some from all rows in their order.
        after = functools.partial(together, function, number)
        in_order = functools.partial(one_after_the_other, function, number)
        of_all = in_order if seeding in ("kmc2", "afkmc2", "kmeans_parallel") else after
        wanted = model(**options).fit(input_fn=of_all, steps=6)
        for executor in (LocalExecutor(number), PickledExecutor(number)):
            found = model(executor, **options).fit(input_fn=function, steps=6)
            assert bits(found) == bits(wanted)


def test_in_this_process_one_worker_reads_all() -> None:
    asked = []

    def input_fn(num_workers: int, worker: int) -> Iterator[Any]:
        asked.append((worker, num_workers))
        return batches(worker, num_workers)

    found = model().fit(input_fn=input_fn)
    assert bits(found) == bits(model().fit(input_fn=lambda: batches(0, 1)))
    assert set(asked) == {(0, 1)}
    rows = np.concatenate(list(batches(0, 1)))
    assert found.score(input_fn=input_fn) == found.score(rows)
    assert found.labels(input_fn).tolist() == found.labels(rows).tolist()
    assert sum(map(len, itertools.chain(*shoal.open(input_fn).batches()))) == len(rows)


def test_workers_evaluate_their_own() -> None:
    trained = model().fit(ROWS)
    rows = np.concatenate(list(batches(0, 1)))
    executor = PickledExecutor(3)
    trained.set_params(config=shoal.RunConfig(executor=executor))
    assert trained.evaluate(input_fn=batches)["scores"] == trained.evaluate(rows)["scores"]
    assert "measure" in [sent.message for sent in executor.sent]


# ---- What may happen ----


@pytest.mark.parametrize("mini", [True, False])
def test_a_shard_that_is_lost_changes_nothing(mini: bool) -> None:
    executor = PickledExecutor(3)
    options: Any = {"use_mini_batch": mini}
    limit = {} if mini else {"steps": 5}
    wanted = bits(model(executor, **options).fit(input_fn=batches, **limit))
    for at in range(0, len(executor.sent), 1 if mini else 5):
        losing = PickledExecutor(3, lose_at=at)
        assert bits(model(losing, **options).fit(input_fn=batches, **limit)) == wanted


class Interrupt:
    """A monitor that ends a run behind a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self._step = step

    def after_step(self, context: Any) -> None:
        if context.step == self._step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_goes_on_behind_the_batches_it_has_trained_on(
    tmp_path: Path, asynchronous: bool
) -> None:
    config: Any = {"save_checkpoints_steps": 1, "asynchronous": asynchronous}
    if asynchronous:
        config["max_staleness"] = 2
    for number in (1, 3):
        executor = PickledExecutor(number)
        wanted = model(executor, config).fit(input_fn=batches)
        for step in (1, 3, wanted.get_variable_value("global_step") - 1):
            folder = str(tmp_path / f"{number} {step}")
            with pytest.raises(KeyboardInterrupt):
                model(executor, config, model_dir=folder).fit(
                    input_fn=batches, monitors=[Interrupt(step)]
                )
            resumed = model(executor, config, model_dir=folder)
            resumed.fit(input_fn=batches)
            if not asynchronous or number == 1:
                assert bits(resumed) == bits(wanted)
            assert resumed.get_variable_value("counts").sum() == K + sum(map(sum, SIZES))
            assert not resumed.is_interrupted


def test_other_numbers_of_workers_begin_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"save_checkpoints_steps": 1}
    with pytest.raises(KeyboardInterrupt):
        model(PickledExecutor(3), config, model_dir=str(tmp_path)).fit(
            input_fn=batches, monitors=[Interrupt(2)]
        )
    resumed = model(PickledExecutor(2), config, model_dir=str(tmp_path)).fit(input_fn=batches)
    assert "training had come to batch 2 of 3 workers, each with a stream of its own; now there are"
    assert "there are 2, which have others: each begins at its first batch" in caplog.text
    assert resumed.get_variable_value("global_step") == 2 + 10


def test_fewer_batches_than_before_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"save_checkpoints_steps": 1}
    with pytest.raises(KeyboardInterrupt):
        model(PickledExecutor(3), config, model_dir=str(tmp_path)).fit(
            input_fn=batches, monitors=[Interrupt(3)]
        )
    resumed = model(LocalExecutor(3), config, model_dir=str(tmp_path))
    resumed.fit(input_fn=lambda worker, n: itertools.islice(batches(worker, n), 2))
    assert "worker 0 has 2 batches, fewer than the 3 that were trained on" in caplog.text
    assert resumed.get_variable_value("global_step") == 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("most", [None, 0, 1, 7])
def test_asynchronously_each_batch_is_applied_once(
    seed: int, most: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    ages = []

    class Ages:
        def after_step(self, context: Any) -> None:
            ages.append(context.staleness)

    for lost in (None, *range(0, 40, 3)):
        executor = Uneven(3, seed, lose_at=lost)
        one = model(executor, {"asynchronous": True, "max_staleness": most}, random_seed=seed)
        one.fit(input_fn=batches, monitors=[Ages()])
        assert one.get_variable_value("counts").sum() == K + sum(map(sum, SIZES))
        assert one.get_variable_value("global_step") == 5 + 3 + 5
    assert max(ages) <= (12 if most is None else most)


def test_one_worker_alone_gives_the_bits_of_synchronous_training() -> None:
    found = [
        bits(model(executor, {"asynchronous": executor is not None}).fit(input_fn=batches))
        for executor in (None, LocalExecutor(1), PickledExecutor(1))
    ]
    assert found[1:] == found[:1] * 2


# ---- What cannot be read ----


def test_streams_need_not_end() -> None:
    def endless(worker: int, _num_workers: int) -> Iterator[Any]:
        return itertools.cycle([ROWS[100 * worker : 100 * worker + 50]])

    one = model(LocalExecutor(3)).fit(input_fn=endless, steps=20)
    assert one.get_variable_value("counts").sum() == K + 20 * 150
    with pytest.raises(shoal.BadInputError, match=r"input_fn\(0, 3\) never ends"):
        model(LocalExecutor(3), use_mini_batch=False).fit(input_fn=endless, steps=2)
    nothing = shoal.Weighted(ROWS[:3], np.zeros(3))
    with pytest.raises(shoal.BadInputError, match="1000 batches on end had no row to use"):
        model(LocalExecutor(2)).fit(
            input_fn=lambda _worker, _n: itertools.cycle([nothing]), steps=2
        )


def frames(*names: str) -> Any:
    """Each worker has columns of one of these names, in that order."""

    def input_fn(worker: int, _num_workers: int) -> Iterator[Any]:
        yield {name: ROWS[:, i] for i, name in enumerate(names[worker])}

    return input_fn


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("mini", [True, False])
def test_workers_must_have_the_same_columns(asynchronous: bool, mini: bool) -> None:
    if asynchronous and not mini:
        return
    options: Any = {"use_mini_batch": mini, "initial_clusters": "kmc2"}
    config = {"asynchronous": asynchronous}
    swapped = frames("abc", "abc", "bac")
    with pytest.raises(shoal.BadInputError, match=r"worker 2 has the columns .*'b', 'a', 'c'"):
        model(LocalExecutor(3), config, **options).fit(input_fn=swapped, steps=5)
    with pytest.raises(shoal.BadInputError, match="worker 1 has rows of 2 columns, worker 0 of 3"):
        model(LocalExecutor(2), config, **options).fit(input_fn=frames("abc", "ab"), steps=5)
    named = model(LocalExecutor(3), config, feature_columns=["a", "b", "c"], **options)
    assert named.fit(input_fn=swapped, steps=1).columns == ("a", "b", "c")
    learned = model(LocalExecutor(2), config, **options).fit(input_fn=frames("ca", "ca"), steps=1)
    assert learned.columns == ("c", "a")
    learned.fit(input_fn=frames("ca", "ac"), steps=1)  # found by name
    with pytest.raises(shoal.BadInputError, match="has no column 'c'"):
        learned.fit(input_fn=frames("ab", "ab"), steps=1)


def test_workers_whose_rows_do_not_fit_the_centers() -> None:
    narrow = frames("ab", "ab")
    trained = model(LocalExecutor(2), initial_clusters=ROWS[:K]).fit(ROWS, steps=1)
    with pytest.raises(shoal.BadInputError, match="input_fn has 2 columns, the centers"):
        trained.fit(input_fn=narrow)
    with pytest.raises(shoal.BadInputError, match="has 2 columns, the centers have 4"):
        trained.evaluate(input_fn=narrow)


def test_a_function_of_other_arguments_is_refused() -> None:
    words = r"input_fn is a callable that takes \(_mode\); it must take nothing, or two arguments"
    with pytest.raises(shoal.BadInputError, match=words):
        model().fit(input_fn=lambda _mode: batches(0, 1))
    with pytest.raises(shoal.BadInputError, match=r"x is a callable that takes \(_a, _b, _c\)"):
        model().fit(lambda _a, _b, _c: batches(0, 1))
    with pytest.raises(shoal.BadInputError, match="input_fn gives batches of its own"):
        model().fit(input_fn=batches, batch_size=10)


def test_what_the_function_returns_must_be_batches() -> None:
    for wrong, name in ((ROWS, "ndarray"), ([ROWS], "list"), ({"a": ROWS[:, 0]}, "dict")):
        with pytest.raises(shoal.BadInputError, match=rf"input_fn\(0, 2\) returned a {name}; it"):
            model(LocalExecutor(2)).fit(input_fn=lambda _worker, _n, wrong=wrong: wrong)
    with pytest.raises(shoal.BadInputError, match="input_fn has no rows: give at least one"):
        model(LocalExecutor(2)).fit(input_fn=lambda _worker, _n: iter(()))
    once = [batches(0, 2), batches(1, 2)]
    with pytest.raises(shoal.BadInputError, match="returned the same iterator again"):
        model(LocalExecutor(2), use_mini_batch=False).fit(input_fn=lambda worker, _n: once[worker])


def test_what_cannot_be_pickled_cannot_be_sent() -> None:
    words = r"input_fn\(0, 2\) cannot be sent to workers: .*. It is called where the worker is"
    with pytest.raises(shoal.BadInputError, match=words):
        model(PickledExecutor(2)).fit(input_fn=lambda worker, n: batches(worker, n))


def test_errors_name_the_worker_and_the_batch() -> None:
    def input_fn(worker: int, _num_workers: int) -> Iterator[Any]:
        yield ROWS[:20]
        yield ROWS[:20] if worker == 0 else ROWS[:20] * np.inf

    words = r"input_fn\(1, 2\): batch 1 holds -?inf in row 0"
    with pytest.raises(shoal.BadInputError, match=words):
        model(LocalExecutor(2)).fit(input_fn=input_fn)
