"""The same bits in the workers of clusters, for some of the sources of the contract."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contract_table as table
import numpy as np
import pytest

import shoal
from shoal.executors.ray import RayExecutor

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    source.name: source
    for source in (*table.IN_MEMORY, *table.ON_DISK)
    if source.name
    in ("uneven shards", "sparse shards", "dict of columns", "rows and ones", ".npy", ".parquet")
}
#: Those that are tried with every seeding, and by Dask.
EVERY_SEEDING = ("uneven shards", ".parquet")


@pytest.fixture(scope="module")
def ray_workers() -> Iterator[Any]:
    ray_helpers = pytest.importorskip("ray_helpers")
    ray_helpers.started()
    with RayExecutor(3) as executor:
        yield executor
    ray_helpers.ray.shutdown()


@pytest.fixture(scope="module")
def dask_client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
    )
    with cluster, distributed.Client(cluster) as client:
        client.upload_file(str(ROOT / "examples" / "dask_executor.py"))
        yield client


@pytest.fixture(scope="module")
def dask_workers(dask_client: Any) -> Any:
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        return importlib.import_module("dask_executor").DaskExecutor(dask_client, 3)
    finally:
        sys.path.remove(str(ROOT / "examples"))


HOW = {"full": {"steps": 4}, "mini": {"steps": 9, "batch_size": 50}}


@functools.cache
def plain(name: str, seeding: str, metric: str, mode: str) -> Any:
    dtype = SOURCES[name].dtypes[0]
    rows = table.as_floats(table.make_rows(dtype))
    return table.train(rows, rows, table.parameters(seeding, metric, mode, dtype), **HOW[mode])


def check(executor: Any, name: str, seeding: str, mode: str, folder: Path) -> None:
    source = SOURCES[name]
    dtype = source.dtypes[0]
    rows = table.make_rows(dtype)
    metric = table.METRICS[(len(name) + len(seeding) + len(mode)) % 2]
    arguments = table.parameters(seeding, metric, mode, dtype)
    data = source.make(rows, folder)
    found = table.train(data, table.as_floats(rows), arguments, executor, **HOW[mode])
    assert found == plain(name, seeding, metric, mode)


CASES = [
    (name, seeding, mode)
    for name, source in SOURCES.items()
    for seeding in source.seedings
    if name in EVERY_SEEDING or seeding in ("given", "kmeans_plus_plus")
    for mode in HOW
]


@pytest.mark.parametrize(("name", "seeding", "mode"), CASES)
def test_ray_equals_one_machine(
    ray_workers: Any, name: str, seeding: str, mode: str, tmp_path: Path
) -> None:
    check(ray_workers, name, seeding, mode, tmp_path)


@pytest.mark.parametrize(
    ("name", "seeding", "mode"), [case for case in CASES if case[0] in EVERY_SEEDING]
)
def test_dask_equals_one_machine(
    dask_workers: Any, name: str, seeding: str, mode: str, tmp_path: Path
) -> None:
    check(dask_workers, name, seeding, mode, tmp_path)


def test_dask_trains_asynchronously(dask_workers: Any) -> None:
    rows = table.make_rows(np.float64)
    config = shoal.RunConfig(executor=dask_workers, asynchronous=True, max_staleness=4)
    model = shoal.KMeansClustering(1, initial_clusters=rows[:1], config=config)
    ages = []

    class Ages:
        def after_step(self, context: Any) -> None:
            ages.append(context.staleness)

    def input_fn(worker: int, num_workers: int) -> Iterator[Any]:
        return (rows[i : i + 9] for i in range(9 * worker, len(rows), 9 * num_workers))

    model.fit(input_fn=input_fn, monitors=[Ages()])
    assert len(ages) == -(-len(rows) // 9)
    assert 1 <= max(ages) <= 4
    mean = np.concatenate([rows[:1], rows]).mean(axis=0)
    np.testing.assert_allclose(model.clusters()[0], mean, rtol=1e-9)


def test_a_worker_of_dask_that_is_killed_changes_nothing(
    dask_client: Any, dask_workers: Any
) -> None:
    rows = table.make_rows()
    arguments = table.parameters("kmeans_plus_plus", "squared_euclidean", "full", rows.dtype)
    processes = list(dask_client.run(os.getpid).values())

    class Kill(table.Losses):
        def after_step(self, context: Any) -> None:
            super().after_step(context)
            if context.step == 2:
                os.kill(processes[0], signal.SIGKILL)

    expected = table.train(rows, rows, arguments, steps=4)
    model = shoal.KMeansClustering(config=shoal.RunConfig(executor=dask_workers), **arguments)
    losses = Kill()
    model.fit(rows, steps=4, monitors=[losses])
    assert (table.bits_of_model(model), tuple(losses.seen)) == (expected.state, expected.losses)
