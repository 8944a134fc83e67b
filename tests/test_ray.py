"""Rows in the workers of a Ray cluster: the bits of one machine, whatever is lost."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import bits, make_rows
from pyarrow import parquet
from ray_helpers import assert_nothing_left, cluster

import shoal
from shoal.config import SEEDINGS
from shoal.executors.ray import RayExecutor

__all__ = ["cluster"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]

Array = Any
K = 6
WORKERS = (1, 2, 3, 5)


@pytest.fixture(scope="module")
def kept(cluster: None) -> Iterator[dict[int, RayExecutor]]:
    """Executors whose workers are used by test after test."""
    del cluster
    made = {number: RayExecutor(number) for number in WORKERS}
    for executor in made.values():
        executor.__enter__()
    yield made
    for executor in made.values():
        executor.__exit__()
    assert_nothing_left()


class Losses:
    """A monitor that keeps the loss of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_step(self, context: Any) -> None:
        self.seen.append(context.loss)


def trained(data: Any, executor: Any, fit: dict[str, Any], **options: Any) -> list[Any]:
    """All bits of a model, its losses, and what it says of the data."""
    losses = Losses()
    model = shoal.KMeansClustering(
        K, config=shoal.RunConfig(executor=executor), kmc2_chain_length=20, **options
    )
    model.fit(data, monitors=[losses], **fit)
    return [bits(model), losses.seen, model.score(data), model.labels(data).tobytes()]


FULL = ({"use_mini_batch": False}, {"steps": 4})
MINI = ({"use_mini_batch": True}, {"steps": 9, "batch_size": 70})
TWO_COPIES = ({"use_mini_batch": True, "mini_batch_steps_per_iteration": 3}, MINI[1])


def rows_of(kind: str) -> Any:
    rows = make_rows(300, 4, K, dtype=np.float32)
    if kind == "weighted":
        return shoal.Weighted(rows, np.random.default_rng(3).exponential(size=len(rows)))
    if kind == "sparse":
        scipy = pytest.importorskip("scipy.sparse")
        rows[np.abs(rows) < 1] = 0
        return scipy.csr_matrix(rows)
    return rows


KINDS = [
    pytest.param(kind, marks=[] if kind == "dense" else pytest.mark.slow)
    for kind in ("dense", "weighted", "sparse")
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize("seeding", SEEDINGS)
@pytest.mark.parametrize("how", [FULL, MINI, TWO_COPIES], ids=["full", "mini", "mini-3"])
def test_any_number_of_workers_gives_the_bits_of_one_machine(
    kept: dict[int, RayExecutor], how: Any, seeding: str, metric: str, kind: str
) -> None:
    parameters, fit = how
    data = rows_of(kind)
    given = {**parameters, "initial_clusters": seeding, "distance_metric": metric}
    expected = trained(data, None, fit, **given)
    # Every number with every one of these, though not with all of them together.
    turn = SEEDINGS.index(seeding) + len(metric) + len(kind) + parameters["use_mini_batch"]
    several = WORKERS if kind == "dense" and metric == "squared_euclidean" else ()
    for number in several or (WORKERS[turn % len(WORKERS)],):
        assert trained(data, kept[number], fit, **given) == expected, f"{number} workers"


def test_empty_clusters_take_the_same_rows(kept: dict[int, RayExecutor]) -> None:
    rows = rows_of("dense")
    far = np.concatenate([rows[:3], np.full((K - 3, 4), 1e3, np.float32)])
    given = {"use_mini_batch": False, "initial_clusters": far}
    expected = trained(rows, None, {"steps": 3}, **given)
    for number in WORKERS:
        assert trained(rows, kept[number], {"steps": 3}, **given) == expected


def write(path: Path, rows: Array, **more: Any) -> Path:
    table = pa.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})
    parquet.write_table(table, path, **more)
    return path


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_workers_read_their_own_files(
    kept: dict[int, RayExecutor], tmp_path: Path, use_mini_batch: bool
) -> None:
    rows = make_rows(900, 4, K, dtype=np.float32)
    (tmp_path / "many").mkdir()
    for number, some in enumerate(np.array_split(rows, 4)):
        write(tmp_path / "many" / f"{number}.parquet", some, row_group_size=60)
    np.save(tmp_path / "c.npy", rows)
    np.save(tmp_path / "f.npy", np.asfortranarray(rows))
    pa_path = write(tmp_path / "rows.parquet", rows, row_group_size=100)
    given = {"use_mini_batch": use_mini_batch, "initial_clusters": "kmeans_plus_plus"}
    fit = {"steps": 8, "batch_size": 150}
    expected = trained(rows, None, fit, **given)
    url = f"local://{pa_path}"
    for data in ("many", "c.npy", "f.npy", "rows.parquet", url):
        path = data if "://" in data else tmp_path / data
        for memory_budget in (None, 0):
            found = trained(path, kept[3], fit, memory_budget=memory_budget, **given)
            assert found == expected, (data, memory_budget)


@pytest.mark.parametrize("resumed_on", [None, 1, 3])
def test_a_run_goes_on_with_another_number_of_workers(
    kept: dict[int, RayExecutor], tmp_path: Path, resumed_on: int | None
) -> None:
    rows = rows_of("dense")
    for name, (parameters, fit) in {"full": FULL, "mini": MINI}.items():
        given = {**parameters, "initial_clusters": "kmeans_plus_plus"}
        fit = {**fit, "max_steps": fit["steps"], "steps": None}
        whole = shoal.KMeansClustering(K, **given).fit(rows, **fit)
        folder = str(tmp_path / name)
        for last, number in ((3, 2), (fit["max_steps"], resumed_on)):
            config = shoal.RunConfig(executor=None if number is None else kept[number])
            model = shoal.KMeansClustering(K, folder, config=config, **given)
            model.fit(rows, **{**fit, "max_steps": last})
        assert bits(model) == bits(whole)


def test_one_worker_that_is_asynchronous_gives_the_bits_of_synchronous_training(
    kept: dict[int, RayExecutor],
) -> None:
    rows = rows_of("dense")
    found = []
    for asynchronous in (False, True):
        config = shoal.RunConfig(executor=kept[1], asynchronous=asynchronous)
        model = shoal.KMeansClustering(K, initial_clusters="kmeans_parallel", config=config)
        found.append(bits(model.fit(rows, steps=11, batch_size=70)))
    assert found[0] == found[1]


def test_the_training_program_gives_the_same_steps(kept: dict[int, RayExecutor]) -> None:
    rows = rows_of("dense")
    found = []
    for executor in (None, kept[3]):
        program = shoal.KMeans([rows[:70], rows[70:]], K, "kmeans_plus_plus", executor=executor)
        graph = program.training_graph()
        graph.init_op()
        losses = [graph.training_op() for _ in range(3)]
        found.append((losses, program.clusters.tobytes()))
    assert found[0] == found[1]


def test_errors_of_the_data_are_those_of_one_machine(kept: dict[int, RayExecutor]) -> None:
    rows = rows_of("dense")
    rows[277, 2] = np.nan
    told = []
    for executor in (None, kept[1], kept[3]):
        with pytest.raises(shoal.BadInputError, match="row 277, column 2") as caught:
            trained(rows, executor, {"steps": 2}, use_mini_batch=False)
        told.append(str(caught.value))
    assert len(set(told)) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_workers": 0}, "num_workers is 0"),
        ({"num_workers": 2, "address": 5}, "address is 5"),
        ({"num_workers": 2, "resources": 4}, "resources is 4; it must be a dict"),
        ({"num_workers": 2, "resources": {"CPU": -1}}, r"resources\['CPU'\] is -1"),
        ({"num_workers": 2, "max_restarts": -1}, "max_restarts is -1"),
        ({"num_workers": 2, "timeout": 0}, "timeout is 0"),
        ({"num_workers": 2, "num_threads": 0}, "num_threads is 0"),
    ],
)
def test_wrong_parameters_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(shoal.BadInputError, match=words):
        RayExecutor(**given)


def test_parameters_of_an_executor_are_kept_by_a_copy() -> None:
    one = RayExecutor(3, resources={"CPU": 2}, timeout=7, num_threads=2)
    other = copy.deepcopy(one)
    names = ("num_parts", "address", "resources", "max_restarts", "timeout", "num_threads")
    assert [getattr(other, name) for name in names] == [getattr(one, name) for name in names]
