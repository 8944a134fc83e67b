"""Ray data sets as data: the bits of the array, block by block, here and in the workers."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import bits, make_rows
from ray_helpers import assert_nothing_left, cluster, ray
from test_ray import FULL, MINI, K, trained

import shoal
from shoal.executors.ray import RayExecutor
from shoal.executors.worker import Packed
from shoal.sources.limits import Limits

__all__ = ["cluster"]

data_sets = pytest.importorskip("ray.data")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of its own
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]


@pytest.fixture(scope="module")
def executor(cluster: None) -> Iterator[RayExecutor]:
    del cluster
    with RayExecutor(3) as made:
        yield made
    gc.collect()
    assert_nothing_left()


def table(rows: Any) -> pa.Table:
    return pa.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})


def blocks(rows: Any, number: int = 5) -> Any:
    """A data set of so many blocks, one of them without rows."""
    tables = [table(some) for some in np.array_split(rows, number - 1)]
    return data_sets.from_arrow([*tables[:2], table(rows[:0]), *tables[2:]]).materialize()


ROWS = make_rows(900, 4, K, dtype=np.float32)


@pytest.mark.parametrize("how", [FULL, MINI], ids=["full", "mini"])
def test_the_bits_are_those_of_the_array(executor: RayExecutor, how: Any) -> None:
    parameters, fit = how
    given = {**parameters, "initial_clusters": "kmeans_plus_plus"}
    expected = trained(ROWS, None, fit, **given)
    data = blocks(ROWS)
    for where in (None, executor):
        for memory_budget in (None, 0):
            found = trained(data, where, fit, memory_budget=memory_budget, **given)
            assert found == expected, (where, memory_budget)


def test_the_columns_are_those_of_a_table(caplog: pytest.LogCaptureFixture) -> None:
    named = table(ROWS).append_column("w", pa.array(np.arange(len(ROWS)) % 3 * 1.0))
    named = named.append_column("day", pa.array(["Monday"] * len(ROWS)))
    data = data_sets.from_arrow(named).materialize()
    assert shoal.open(data, weight="w").columns == ("c0", "c1", "c2", "c3")
    assert "left out because they are not numbers: day" in caplog.text
    chosen = {"feature_columns": ["c3", "c0"], "weight_column": "w", "use_mini_batch": False}
    models = [shoal.KMeansClustering(K, **chosen).fit(one, steps=3) for one in (named, data)]
    assert bits(models[0]) == bits(models[1])
    other = shoal.KMeansClustering(K, feature_columns=["c3", "c0"]).fit(named, steps=2)
    unnamed = other.labels(data.drop_columns(["w", "day"]))
    assert unnamed.tolist() == other.labels(named).tolist()


def test_matrices_in_one_column() -> None:
    assert_same(data_sets.from_numpy(ROWS), ROWS)


def test_a_function_may_return_it() -> None:
    data = blocks(ROWS)
    given = {"use_mini_batch": False, "initial_clusters": ROWS[:K]}
    made = shoal.KMeansClustering(K, **given).fit(input_fn=lambda: data, steps=3)
    assert bits(made) == bits(shoal.KMeansClustering(K, **given).fit(ROWS, steps=3))


def test_what_is_not_computed_is_computed_when_it_is_opened(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "shoal")
    lazy = data_sets.from_arrow(table(ROWS)).map_batches(lambda some: some, batch_format="pandas")
    assert_same(lazy, ROWS)
    assert "not computed yet" in caplog.text
    caplog.clear()
    assert_same(lazy.materialize(), ROWS)
    assert "not computed yet" not in caplog.text


def assert_same(data: Any, rows: Any) -> None:
    source = shoal.open(data)
    assert source.rows == len(rows)
    assert np.array_equal(np.concatenate([some.rows for some in source.stream()]), rows)


def test_a_share_has_the_references_of_its_blocks_alone() -> None:
    source = shoal.open(blocks(ROWS), limits=Limits(batch=800))
    assert set(source.pages.lengths) == {50, 25}  # of four blocks of 225 rows
    shares = source.split(3)
    assert [sum(ref is not None for ref in share.pages._refs) for share in shares] == [2, 2, 2]
    weighted = source.weighted(np.ones(len(ROWS)), "sample_weight").split(3)
    for share, other in zip(shares, weighted, strict=True):
        for one in (share, other):
            found = np.concatenate([rows.rows for rows in one.stream()])
            assert np.array_equal(found, ROWS[one.first : one.last])


def test_rows_do_not_come_to_the_driver(
    executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = blocks(make_rows(20_000, 4, K, dtype=np.float32))
    got, put = [], []
    monkeypatch.setattr(ray, "get", noting(ray.get, got))
    monkeypatch.setattr(ray, "put", noting(ray.put, put))
    config = shoal.RunConfig(executor=executor, progress=False)
    given = {"use_mini_batch": False, "initial_clusters": "kmeans_parallel"}
    model = shoal.KMeansClustering(K, config=config, **given).fit(data, steps=3)
    assert model.score(data) > 0
    assert got
    assert put
    assert max(*got, *put) < 20_000  # bytes; a share has 100,000 of rows


def noting(function: Any, sizes: list[int]) -> Any:
    """The same function, of which the size of what goes through is noted."""

    def noted(value: Any, **options: Any) -> Any:
        found = function(value, **options)
        through = found if function.__name__ == "get" else value
        if isinstance(through, Packed):  # pickled, references would be kept for good
            sizes.append(len(through.content) + sum(map(len, through.buffers)))
        else:
            sizes.append(len(ray.cloudpickle.dumps(through)))
        return found

    return noted


def test_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    data = blocks(ROWS)
    for given, words in (
        ([data, data], r"list of Ray data sets.*\.union"),
        (data.iterator(), r"\.iter_batches"),
        (data_sets.from_arrow(table(ROWS[:0])), "no rows: give at least one"),
        (data_sets.from_items([{"a": "b"}]), "no columns of numbers"),
    ):
        with pytest.raises(shoal.BadInputError, match=words):
            shoal.open(given)
    mixed = data_sets.from_arrow([table(ROWS), table(ROWS[:, :3])]).materialize()
    with pytest.raises(shoal.BadInputError, match="same columns"):
        shoal.open(mixed)
    rows = ROWS.copy()
    rows[777, 2] = np.nan
    with pytest.raises(shoal.BadInputError, match="row 777, column 'c2'"):
        shoal.KMeansClustering(K, use_mini_batch=False).fit(blocks(rows), steps=1)
    monkeypatch.setitem(sys.modules, "shoal.sources.ray_data", None)
    with pytest.raises(shoal.MissingExtraError, match=r"a Ray data set.*pyarrow"):
        shoal.open(data)


def test_blocks_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    source = shoal.open(blocks(ROWS))
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(shoal.ClusterError, match=r"blocks of x, a Ray data set.*materialize"):
        list(source.stream())
