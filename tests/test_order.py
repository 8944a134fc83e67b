"""The order of an epoch: every row once, the same for arrays and files, found without an array."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import shoal
from shoal.steps import order as order_module
from shoal.steps.order import Order, Permutation
from shoal.steps.random import Random


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 16, 17, 99, 100, 1000, 4096, 4097, 70_001])
def test_a_permutation_has_every_number_once_and_any_part_of_it_is_found_alone(n: int) -> None:
    permutation = Permutation(n, Random(3, 1, 0))
    whole = permutation(0, n)
    np.testing.assert_array_equal(np.sort(whole), np.arange(n))
    for first in (0, n // 3, n - 1):
        np.testing.assert_array_equal(permutation(first, n), whole[first:])


@pytest.mark.slow
def test_permutations_of_few_are_about_equally_likely() -> None:
    draws = 6000
    found = Counter(tuple(Permutation(4, Random(seed, 1, 0))(0, 4)) for seed in range(draws))
    assert len(found) == 24
    expected = draws / 24  # standard deviation: 15.5
    assert max(abs(count - expected) for count in found.values()) < 5 * 15.5


def test_permutations_of_many_show_no_pattern() -> None:
    n = 200_000
    drawn = Permutation(n, Random(11, 1, 0))(0, n)
    for lag in (1, 2, 64, 4096):
        assert abs(np.corrcoef(drawn[lag:], drawn[:-lag])[0, 1]) < 5 / np.sqrt(n)
    low, high = drawn[: n // 2] % 2, drawn[n // 2 :] < n // 2
    assert abs(low.mean() - 0.5) < 0.01
    assert abs(high.mean() - 0.5) < 0.01


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 100 rows of 4 columns."""
    monkeypatch.setattr(order_module, "WINDOW_VALUES", 400)
    monkeypatch.setattr(order_module, "LEAST_ROWS", 1)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("rows", [1, 8, 99, 100, 101, 399, 400, 801, 12_345])
def test_every_window_is_its_strips_in_random_order(rows: int) -> None:
    for epoch in range(3):
        order = Order(3, epoch, rows, 4)
        whole = order.at(0, rows)
        np.testing.assert_array_equal(np.sort(whole), np.arange(rows))
        for window in range(order.windows):
            start, end = order.start(window), order.start(window + 1)
            assert order.window_at(start) == order.window_at(end - 1) == window
            strips = [np.arange(*one) for ranges in order.strips(window) for one in ranges]
            inside = np.concatenate(strips)
            assert len(inside) == end - start <= 104
            np.testing.assert_array_equal(
                inside[order.within(window, 0, end - start)], whole[start:end]
            )
        parts = [order.at(at, min(at + 37, rows)) for at in range(0, rows, 37)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.usefixtures("small_windows")
def test_windows_mix_rows_from_all_over_the_data_and_epochs_differ() -> None:
    first, second = (Order(3, epoch, 10_000, 4).at(0, 10_000) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    for start in range(0, 9_900, 100):
        assert np.ptp(first[start : start + 100]) > 7_000


@pytest.mark.slow
@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("group", [1000, 64, 7])
@pytest.mark.parametrize("batch_size", [50, 330])
def test_files_and_arrays_larger_than_a_window_give_the_same_mini_batches(
    tmp_path: Path, group: int, batch_size: int
) -> None:
    rng = np.random.default_rng(7)
    x = (rng.normal(size=(1000, 4)) + rng.integers(0, 9, (1000, 1))).astype(np.float32)
    names = list("abcd")
    table = pa.table({name: x[:, i] for i, name in enumerate(names)})
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=group)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=group)

    def fitted(data: object, steps: int = 47) -> list[bytes]:
        model = shoal.KMeansClustering(5, initial_clusters=x[:5].copy(), memory_budget=0)
        state = model.fit(data, steps=steps, batch_size=batch_size).state
        assert state is not None
        return [state.clusters.tobytes(), state.counts.tobytes()]

    want = fitted(x)
    assert fitted(str(tmp_path / "x.parquet")) == want
    assert fitted(str(tmp_path / "x.arrow")) == want
    assert fitted([x[:300], x[300:301], x[301:]]) == want


def test_an_order_is_gone_when_nobody_has_it() -> None:
    order = Order(3, 0, 10_000, 4)
    order.at(0, 100)
    watched = weakref.ref(order)
    gc.disable()
    try:
        del order
        assert watched() is None
    finally:
        gc.enable()
