"""``input_fn(worker, num_workers)`` in a Ray cluster: called where the workers are."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bits, make_rows
from ray_helpers import assert_nothing_left, cluster

import shoal
from shoal.executors import LocalExecutor
from shoal.executors.ray import RayExecutor

__all__ = ["cluster"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]

K = 5
ROWS = make_rows(1200, dtype=np.float32)


def of_worker(folder: Path, sleep: float = 0.0) -> Any:
    """A function that gives a worker its batches, and notes which process asked for them."""
    rows = ROWS

    def input_fn(worker: int, num_workers: int) -> Iterator[Any]:
        import os
        import time

        (folder / f"{worker}-{os.getpid()}").touch()
        for start in range(40 * worker, len(rows), 40 * num_workers):
            time.sleep(sleep)
            yield rows[start : start + 40]

    return input_fn


def model(executor: Any, config: Any = None, **options: Any) -> shoal.KMeansClustering:
    run = shoal.RunConfig(executor=executor, progress=False, **(config or {}))
    return shoal.KMeansClustering(K, initial_clusters="kmeans_plus_plus", config=run, **options)


class Kill:
    """Kills a worker behind some steps."""

    def __init__(self, executor: RayExecutor, *steps: int) -> None:
        self._executor, self._steps = executor, steps

    def after_step(self, context: Any) -> None:
        if context.step in self._steps:
            worker = list(self._executor._workers.values())[context.step % 3]
            os.kill(worker.about.process, signal.SIGKILL)


@pytest.mark.parametrize("mini", [True, False])
def test_each_worker_reads_its_own_and_a_kill_changes_nothing(tmp_path: Path, mini: bool) -> None:
    given: Any = {"use_mini_batch": mini}
    limit = {} if mini else {"steps": 6}
    wanted = model(LocalExecutor(3), **given).fit(input_fn=of_worker(tmp_path), **limit)
    assert {path.name.split("-")[1] for path in tmp_path.iterdir()} == {str(os.getpid())}
    for path in tmp_path.iterdir():
        path.unlink()
    with RayExecutor(3) as executor:
        there = model(executor, **given)
        there.fit(input_fn=of_worker(tmp_path), **limit)
        assert bits(there) == bits(wanted)
        readers = dict(path.name.split("-") for path in tmp_path.iterdir())
        assert set(readers) == {"0", "1", "2"}
        assert len({*readers.values(), str(os.getpid())}) == 4

        killed = model(executor, **given)
        killed.fit(input_fn=of_worker(tmp_path), monitors=[Kill(executor, 2, 4)], **limit)
        assert bits(killed) == bits(wanted)
        assert len(list(tmp_path.iterdir())) >= 5
        assert there.score(input_fn=of_worker(tmp_path)) == wanted.score(ROWS)
    assert_nothing_left()


def test_asynchronously_each_batch_is_applied_once_whoever_is_killed(tmp_path: Path) -> None:
    executor = RayExecutor(3)
    one = model(executor, {"asynchronous": True, "max_staleness": 4})
    one.fit(input_fn=of_worker(tmp_path), monitors=[Kill(executor, 7, 20)])
    assert one.get_variable_value("global_step") == 30
    assert one.get_variable_value("counts").sum() == K + len(ROWS)
    assert_nothing_left()


def test_a_run_that_is_interrupted_goes_on(tmp_path: Path) -> None:
    (tmp_path / "read").mkdir()
    input_fn = of_worker(tmp_path / "read", 0.05)
    wanted = model(LocalExecutor(2)).fit(input_fn=of_worker(tmp_path / "read"))
    config = {"save_checkpoints_steps": 1}

    class Interrupt:
        def after_step(self, context: Any) -> None:
            if context.step == 3:
                threading.Timer(0.02, os.kill, [os.getpid(), signal.SIGINT]).start()

    with pytest.raises(KeyboardInterrupt):
        model(RayExecutor(2), config, model_dir=str(tmp_path / "model")).fit(
            input_fn=input_fn, monitors=[Interrupt()]
        )
    assert_nothing_left()
    resumed = model(RayExecutor(2), config, model_dir=str(tmp_path / "model"))
    resumed.fit(input_fn=of_worker(tmp_path / "read"))
    assert bits(resumed) == bits(wanted)
    assert resumed.get_variable_value("global_step") == 15


def test_what_goes_wrong_in_it_is_told() -> None:
    lock = threading.Lock()

    def locked(_worker: int, _num_workers: int) -> Iterator[Any]:
        with lock:
            yield ROWS

    words = r"input_fn\(0, 2\) cannot be sent to workers: cannot pickle '_thread.lock' object"
    with pytest.raises(shoal.BadInputError, match=words):
        model(RayExecutor(2)).fit(input_fn=locked)

    def broken(worker: int, num_workers: int) -> Iterator[Any]:
        yield ROWS
        raise KeyError(f"no file of worker {worker} of {num_workers}")

    with pytest.raises(KeyError, match="no file of worker 0 of 2"):
        model(RayExecutor(2)).fit(input_fn=broken)
    assert_nothing_left()
