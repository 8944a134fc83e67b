"""Inference piece by piece: what iterators read before their first result, and what they hold."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_pages import Disk

import shoal
from shoal.shards import answers
from shoal.sources.limits import Limits
from shoal.sources.paged import PagedSource

ROWS = np.random.default_rng(6).normal(size=(3000, 4)).astype(np.float32)
K = 5
QUIET = shoal.RunConfig(progress=False)


@pytest.fixture(scope="module")
def model() -> shoal.KMeansClustering:
    return shoal.KMeansClustering(K, config=QUIET, use_mini_batch=False).fit(ROWS, steps=3)


#: The methods that give results one after the other, and a result as an array of one row.
METHODS: dict[str, Callable[[shoal.KMeansClustering, Any], Iterator[Any]]] = {
    "predict": lambda model, data: (row["all_scores"] for row in model.predict(data)),
    "predict, batches": lambda model, data: itertools.chain.from_iterable(
        batch["all_scores"] for batch in model.predict(data, iterate_batches=True)
    ),
    "predict_cluster_idx": lambda model, data: model.predict_cluster_idx(data),
    "transform": lambda model, data: model.transform(data, as_iterable=True),
}
methods = pytest.mark.parametrize("method", METHODS)


def expected(model: shoal.KMeansClustering, method: str) -> list[Any]:
    if method == "predict_cluster_idx":
        found: Any = model.predict(ROWS, as_iterable=False)["cluster_idx"]  # type: ignore[call-overload]
    else:
        found = model.transform(ROWS)
    return found.tolist()  # type: ignore[no-any-return]


class Counted:
    """Batches that are made as they are asked for, and counted."""

    def __init__(self, size: int = 100) -> None:
        self.given = 0
        self._size = size

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(ROWS), self._size):
            self.given += 1
            yield ROWS[start : start + self._size]


@methods
@pytest.mark.parametrize("kind", ["iterable", "iterator", "callable", "loader"])
def test_a_stream_is_read_as_far_as_results_are_taken(
    model: shoal.KMeansClustering, kind: str, method: str
) -> None:
    counted = Counted()
    data: Any = {
        "iterable": lambda: counted,
        "iterator": lambda: iter(counted),
        "callable": lambda: lambda: iter(counted),
        "loader": lambda: loader(counted),
    }[kind]()
    results = METHODS[method](model, data)
    first = list(itertools.islice(results, 100))
    assert counted.given == 1
    rest = list(results)
    assert counted.given == 30
    assert np.array_equal([*first, *rest], expected(model, method))


def loader(counted: Counted) -> Any:
    """A torch DataLoader over the same batches."""
    torch_data = pytest.importorskip("torch.utils.data", reason="torch is not installed")

    class Stream(torch_data.IterableDataset):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            return iter(counted)

    return torch_data.DataLoader(Stream(), batch_size=None)


@methods
def test_pages_are_read_as_far_as_results_are_taken(
    model: shoal.KMeansClustering, method: str
) -> None:
    disk = Disk(ROWS, list(range(100, 3000, 100)), piece=50)
    results = METHODS[method](model, PagedSource(disk, None, True))
    first = list(itertools.islice(results, 50))
    assert disk.reads == [0]
    assert np.array_equal([*first, *results], expected(model, method))
    assert disk.reads == list(range(30))


def sparse(rows: Any) -> Any:
    return pytest.importorskip("scipy.sparse", reason="scipy is not installed").csr_matrix(rows)


@methods
@pytest.mark.parametrize("kind", ["array", "shards", "sparse", "wide piece on disk", "stream"])
def test_pieces_are_small_where_no_one_asks_for_batches(
    model: shoal.KMeansClustering, monkeypatch: pytest.MonkeyPatch, kind: str, method: str
) -> None:
    limits = Limits(answer_rows=90, answer_distances=90 * K)
    sizes = []
    for name in ("nearest", "nearest_labels", "all_distances"):
        original = getattr(answers, name)

        def spy(rows: Any, *more: Any, original: Any = original) -> Any:
            sizes.append(len(rows))
            return original(rows, *more)

        monkeypatch.setattr(answers, name, spy)
    data: Any = {
        "array": lambda: ROWS,
        "shards": lambda: [ROWS[:1], ROWS[1:1], ROWS[1:2000], ROWS[2000:]],
        "sparse": lambda: sparse(ROWS),
        "wide piece on disk": lambda: PagedSource(
            Disk(ROWS, [1000], 5000), None, True, limits=limits
        ),
        "stream": lambda: iter([ROWS[:2000], ROWS[2000:]]),
    }[kind]()
    data = data if kind == "wide piece on disk" else shoal.open(data, limits=limits)
    wanted = expected(model, method)
    sizes.clear()
    assert np.array_equal(list(METHODS[method](model, data)), wanted)
    if (kind, method) != ("stream", "predict, batches"):  # whose batches are asked for
        assert max(sizes) <= 90


@pytest.mark.parametrize("batch_size", [70, 1000])
def test_batches_that_are_asked_for_stay_whole(
    model: shoal.KMeansClustering, batch_size: int
) -> None:
    limits = Limits(answer_rows=90)
    disk = PagedSource(Disk(ROWS, [13, 700], 60), None, True, limits=limits)
    arrays = (shoal.open(one, limits=limits) for one in (ROWS, [ROWS[:50], ROWS[50:]]))
    for data in (*arrays, disk):
        batches = model.predict(data, batch_size=batch_size, iterate_batches=True)
        sizes = [len(batch["scores"]) for batch in batches]  # type: ignore[index]
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
        assert sum(sizes) == 3000


@pytest.mark.slow
@methods
def test_memory_does_not_grow_with_the_stream(model: shoal.KMeansClustering, method: str) -> None:
    def stream() -> Iterator[Any]:
        return (ROWS + i for i in range(60))  # 3 MB; distances 4 MB, labels 1.4 MB

    tracemalloc.start()
    try:
        assert sum(1 for _ in METHODS[method](model, stream)) == 180_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5e5, peak


@methods
def test_a_reader_that_is_left_is_closed(
    model: shoal.KMeansClustering, method: str, tmp_path: Path
) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    table = pyarrow.table({f"c{i}": ROWS[:, i] for i in range(4)})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=100)
    before = threading.active_count()
    data = shoal.open(tmp_path, limits=Limits(piece=16 * 100))
    results = METHODS[method](model, data)
    first = list(itertools.islice(results, 30))
    assert np.array_equal(first, expected(model, method)[:30])
    del results
    assert threading.active_count() == before


# ---- Which row is which ----


@pytest.mark.parametrize("kind", ["array", "shards", "batch_size", "disk", "stream"])
@pytest.mark.parametrize("size", [40, 5000])
def test_index_of_rows_where_some_are_left_out(
    model: shoal.KMeansClustering, kind: str, size: int
) -> None:
    limits = Limits(answer_rows=size)
    rows = ROWS.copy()
    bad = [0, 1, 2, 500, 1499, 2999]
    rows[bad, 1] = np.nan
    good = np.delete(np.arange(3000), bad)
    labels = model.predict(ROWS[good], as_iterable=False)["cluster_idx"]  # type: ignore[call-overload]
    skipping = shoal.KMeansClustering(**{**model.get_params(), "on_bad_rows": "skip"})
    skipping.restore(model.state, model.columns)

    def data() -> Any:
        if kind == "disk":
            return PagedSource(Disk(rows, [3, 700, 701], 60), None, True, limits=limits)
        given: Any = {
            "array": lambda: rows,
            "shards": lambda: [rows[:3], rows[3:3], rows[3:1000], rows[1000:]],
            "batch_size": lambda: rows,
            "stream": lambda: iter([rows[:3], [rows[3:600], rows[600:601]], rows[601:]]),
        }[kind]()
        return shoal.open(given, limits=limits)

    given: dict[str, Any] = {"outputs": ["row", "cluster_idx"]}
    if kind == "batch_size":
        given["batch_size"] = 3
    with pytest.warns(UserWarning, match="dropped 6 of 3000 rows"):
        whole: Any = skipping.predict(data(), as_iterable=False, **given)
    with pytest.warns(UserWarning, match="dropped 6 of 3000 rows"):
        each = list(skipping.predict(data(), **given))
    assert list(whole) == ["row", "cluster_idx"]
    assert whole["row"].dtype == np.int64
    assert whole["row"].tolist() == [one["row"] for one in each] == good.tolist()
    assert whole["cluster_idx"].tolist() == [one["cluster_idx"] for one in each] == labels.tolist()


def test_index_of_all_rows(model: shoal.KMeansClustering) -> None:
    found: Any = model.predict(ROWS, outputs="row", as_iterable=False)
    assert found["row"].tolist() == list(range(3000))
    assert "row" not in next(model.predict(ROWS))  # type: ignore[call-overload]
