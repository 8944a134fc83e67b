"""What is lost, hangs, changes or is missing while rows are in the workers of a Ray cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bits, make_rows
from ray_helpers import assert_nothing_left, cluster, ray
from test_asynchronous import assert_each_row_once, one_cluster
from test_ray import FULL, K, rows_of, write

import shoal
from shoal.executors.ray import RayExecutor

__all__ = ["cluster"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]


def test_arrays_are_in_the_object_store_once() -> None:
    rows = make_rows(200_000, 8, K)
    model = shoal.KMeansClustering(K, config=shoal.RunConfig(executor=RayExecutor(3)))
    taken = []

    class Taken:
        def after_step(self, _context: Any) -> None:
            time.sleep(0.3)  # until Ray has counted
            has, free = ray.cluster_resources(), ray.available_resources()
            taken.append(has["object_store_memory"] - free["object_store_memory"])

    model.fit(rows, steps=3, batch_size=100, monitors=[Taken()])
    assert rows.nbytes <= max(taken) < 1.1 * rows.nbytes
    assert_nothing_left()


# ---- Faults ----


class AtStep:
    """A monitor that does something after a step."""

    def __init__(self, step: int, what: Any) -> None:
        self._step, self._what = step, what

    def after_step(self, context: Any) -> None:
        if context.step == self._step:
            self._what()


def workers_of(executor: RayExecutor) -> list[int]:
    return [worker.about.process for worker in executor._workers.values()]


def test_a_killed_worker_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of("dense")
    given, fit = FULL
    expected = bits(shoal.KMeansClustering(K, **given).fit(rows, **fit))
    executor = RayExecutor(3)
    model = shoal.KMeansClustering(K, config=shoal.RunConfig(executor=executor), **given)
    kill = AtStep(2, lambda: os.kill(workers_of(executor)[1], signal.SIGKILL))
    model.fit(rows, monitors=[kill], **fit)
    assert bits(model) == expected
    assert "is lost: process" in caplog.text
    assert_nothing_left()


def test_a_worker_killed_in_asynchronous_training_loses_no_row() -> None:
    rows = make_rows(900)
    executor = RayExecutor(2)
    kill = AtStep(7, lambda: os.kill(workers_of(executor)[1], signal.SIGKILL))
    model = one_cluster(executor, {"max_staleness": 4})
    model.fit(rows, batch_size=40, steps=30, monitors=[kill])
    assert_each_row_once(model, rows)
    assert_nothing_left()


def test_a_worker_that_hangs_is_named_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    rows = rows_of("dense")
    given, fit = FULL
    expected = bits(shoal.KMeansClustering(K, **given).fit(rows, **fit))
    executor = RayExecutor(2, timeout=5)
    model = shoal.KMeansClustering(K, config=shoal.RunConfig(executor=executor), **given)
    stopped = []

    def stop() -> None:
        stopped.append(workers_of(executor)[1])
        os.kill(stopped[0], signal.SIGSTOP)

    model.fit(rows, monitors=[AtStep(2, stop)], **fit)
    assert bits(model) == expected
    assert f"process {stopped[0]} on " in caplog.text
    assert "has not answered within timeout=5 s" in caplog.text
    assert_nothing_left()


def test_workers_lost_again_and_again_end_the_run() -> None:
    executor = RayExecutor(2, max_restarts=0)
    model = shoal.KMeansClustering(3, config=shoal.RunConfig(executor=executor))
    kill = AtStep(1, lambda: os.kill(workers_of(executor)[0], signal.SIGKILL))
    with pytest.raises(shoal.ClusterError, match="more than max_restarts=0"):
        model.fit(rows_of("dense"), steps=5, batch_size=50, monitors=[kill])
    assert_nothing_left()


def test_interrupted_it_leaves_nothing() -> None:
    executor = RayExecutor(2)
    model = shoal.KMeansClustering(K, config=shoal.RunConfig(executor=executor))
    timer = threading.Timer(0, os.kill, [os.getpid(), signal.SIGINT])
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows_of("dense"), steps=10_000, monitors=[AtStep(3, timer.start)])
    assert_nothing_left()


def test_a_file_that_changes_is_told(tmp_path: Path) -> None:
    rows = make_rows(900, 4, K, dtype=np.float32)
    path = write(tmp_path / "rows.parquet", rows, row_group_size=100)
    model = shoal.KMeansClustering(
        K, config=shoal.RunConfig(executor=RayExecutor(2)), memory_budget=0, use_mini_batch=False
    )
    change = AtStep(2, lambda: write(path, rows[::-1], row_group_size=90))
    with pytest.raises(shoal.BadInputError, match="source changed"):
        model.fit(path, steps=9, monitors=[change])
    assert_nothing_left()


def test_workers_that_find_no_room_are_told() -> None:
    executor = RayExecutor(3, resources={"CPU": 1}, start_timeout=4)
    model = shoal.KMeansClustering(3, config=shoal.RunConfig(executor=executor))
    words = r"[1-3] of 3 workers have not started within start_timeout=4 s. Each needs 1 CPU; free"
    with pytest.raises(shoal.ClusterError, match=words):
        model.fit(rows_of("dense"), steps=1)
    assert_nothing_left()


def test_another_cluster_than_the_own_is_refused() -> None:
    model = shoal.KMeansClustering(
        3, config=shoal.RunConfig(executor=RayExecutor(2, "10.0.0.1:6379"))
    )
    with pytest.raises(shoal.BadInputError, match=r"address is '10\.0\.0\.1:6379', but this proc"):
        model.fit(rows_of("dense"), steps=1)


# ---- What ends a cluster, in processes of their own ----

BEGIN = """
import os, signal, sys, threading, time
import numpy as np
import ray, shoal
from pathlib import Path
from shoal.executors import cluster
from shoal.executors.ray import RayExecutor

def started(**options):
    ray.init("local", num_cpus=2, include_dashboard=False, configure_logging=False, **options)

rows = np.random.default_rng(0).normal(size=(200_000, 8))
model = shoal.KMeansClustering(3, config=shoal.RunConfig(executor=RayExecutor(2)))
"""
FULL_STORE = """
started(object_store_memory=80 << 20, _system_config={"local_fs_capacity_threshold": 0.001})
try:
    model.fit(np.tile(rows, (20, 1)), steps=1)
except shoal.ClusterError as error:
    print(error)
"""
GONE = """
cluster.LOOK, cluster.AWAY = 0.5, 2.0
started()

class Kill:
    def after_step(self, context):
        if context.step == 3:
            for one in Path("/proc").glob("[0-9]*/stat"):
                name, rest = one.read_text().partition("(")[2].rsplit(")", 1)
                if name == "gcs_server" and int(rest.split()[1]) == os.getpid():
                    os.kill(int(one.parent.name), signal.SIGKILL)

began = time.monotonic()
try:
    model.fit(rows, steps=100_000, batch_size=100, monitors=[Kill()])
except shoal.ClusterError as error:
    print(error)
sys.stdout.flush()
os._exit(0)  # Ray would look for it for a minute
"""


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (FULL_STORE, "the object store of the cluster is full, and so is the disk that it spills"),
        (GONE, "the cluster is gone: "),
    ],
    ids=["full object store", "cluster gone"],
)
def test_what_a_cluster_cannot_do_is_told(program: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
