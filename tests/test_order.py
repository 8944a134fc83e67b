"""The order of an epoch: every row once, the same for arrays and files, found without an array."""

from __future__ import annotations

import gc
import math
import weakref
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import shoal
from shoal.shards.permutation import Permutation
from shoal.steps.order import Order, rows_of_a_window
from shoal.steps.random import SHUFFLING, Random

SEED = 20_261_201


def reference_permutation(n: int, path: tuple[int, ...]) -> np.ndarray:
    """What the core computes, written down in NumPy: all of it."""
    factors = np.array([0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93], np.uint64)
    half = np.uint64(32)
    keys = Random(*path).shares(10 if n <= 4096 else 6)
    high = max(1, math.isqrt(max(n, 1) - 1) + 1)
    low = -(-n // high)

    def once(places: np.ndarray) -> np.ndarray:
        a, b = np.uint64(high), np.uint64(low)
        left, right = np.divmod(places, b)
        for key in keys:
            mixed = (right + key) * factors[0]
            mixed = (mixed ^ (mixed >> half)) * factors[1]
            left, right, a, b = right, (left + ((mixed >> half) * a >> half)) % a, b, a
        return left * b + right

    out = once(np.arange(n, dtype=np.uint64))
    while len(outside := np.flatnonzero(out >= n)):
        out[outside] = once(out[outside])
    return out.astype(np.int64)


def reference_order(seed: int, epoch: int, rows: int, room: int) -> np.ndarray:
    """An epoch, window after window: 8 strips each, that turn around in their segments."""
    path = (seed, SHUFFLING, epoch)
    if rows <= room:
        return reference_permutation(rows, path)
    edges = np.arange(9) * rows // 8
    turns = (Random(*path, 0).uniform(8) * np.diff(edges)).astype(np.int64)
    strip = max(1, room // 8)
    found = []
    for window, start in enumerate(range(0, int(np.diff(edges).max()), strip)):
        strips = [
            begin + (np.arange(start, min(start + strip, end - begin)) + turn) % (end - begin)
            for begin, end, turn in zip(edges, edges[1:], turns, strict=False)
        ]
        inside = np.concatenate(strips)
        found.append(inside[reference_permutation(len(inside), (*path, 1 + window))])
    return np.concatenate(found)


SIZES = [*range(1, 30), 99, 100, 101, 1000, 4095, 4096, 4097, 16_384, 99_856, 99_857, 700_001]


def test_permutations_are_those_of_the_reference() -> None:
    rng = np.random.default_rng(SEED)
    print(f"seed {SEED}")
    for n in [*SIZES, *rng.integers(1, 9_000, 40).tolist()]:
        path = (int(rng.integers(2**32)), SHUFFLING, int(rng.integers(100)))
        drawn = Permutation(n, Random(*path))
        want = reference_permutation(n, path)
        np.testing.assert_array_equal(drawn(0, n), want)
        first, last = sorted(rng.integers(0, n + 1, 2).tolist())
        np.testing.assert_array_equal(drawn(first, last), want[first:last])


@pytest.mark.parametrize("n", [2**31 - 1, 2**32 + 1, 2**52 + 1, 2**60 - 1, 2**60])
def test_parts_of_very_large_permutations_are_found_alone(n: int) -> None:
    permutation = Permutation(n, Random(3, 1, 0))
    found = permutation(n - 5_000, n)
    assert len(np.unique(found)) == 5_000
    assert 0 <= found.min() <= n // 100
    assert n - n // 100 <= found.max() < n
    np.testing.assert_array_equal(permutation(n - 7, n - 3), found[-7:-3])


def test_places_outside_of_a_permutation_are_refused() -> None:
    for first, last, n in ((-1, 3, 10), (8, 11, 10), (0, 1, 0), (0, 1, 2**60 + 1)):
        with pytest.raises(ValueError, match="places must be among n"):
            Permutation(n, Random(3, 1, 0))(first, last)
    assert len(Permutation(0, Random(3, 1, 0))(0, 0)) == 0


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


def small_windows(seed: int, epoch: int, rows: int) -> Order:
    """Windows of 100 rows."""
    return Order(seed, epoch, rows, 4, room=100)


@pytest.mark.parametrize("rows", [1, 8, 99, 100, 101, 399, 400, 801, 12_345])
def test_every_window_is_its_strips_in_random_order(rows: int) -> None:
    for epoch in range(3):
        order = small_windows(3, epoch, rows)
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


@pytest.mark.parametrize("rows", [1, 99, 100, 101, 102, 107, 108, 399, 400, 801, 4_321])
def test_orders_are_those_of_the_reference(rows: int) -> None:
    for seed, epoch in ((3, 0), (3, 7), (2**31, 1)):
        want = reference_order(seed, epoch, rows, 100)
        np.testing.assert_array_equal(np.sort(want), np.arange(rows))
        np.testing.assert_array_equal(small_windows(seed, epoch, rows).at(0, rows), want)


def test_windows_mix_rows_from_all_over_the_data_and_epochs_differ() -> None:
    first, second = (small_windows(3, epoch, 10_000).at(0, 10_000) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    for start in range(0, 9_900, 100):
        assert np.ptp(first[start : start + 100]) > 7_000


@pytest.mark.slow
@pytest.mark.parametrize("group", [1000, 64, 7])
@pytest.mark.parametrize("batch_size", [130, 850])
def test_files_and_arrays_larger_than_a_window_give_the_same_mini_batches(
    tmp_path: Path, group: int, batch_size: int
) -> None:
    rng = np.random.default_rng(7)
    wide = (2500, 8192)  # so wide that 1024 rows are shuffled together
    x = rng.integers(0, 50, wide, np.uint8) + rng.integers(0, 200, (wide[0], 1), np.uint8)
    table = pa.table({"x": pa.FixedSizeListArray.from_arrays(x.reshape(-1), x.shape[1])})
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=group)
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=group)

    def fitted(data: object) -> list[bytes]:
        model = shoal.KMeansClustering(
            5, initial_clusters=x[:5].astype(np.float32), memory_budget=0
        )
        state = model.fit(data, steps=3000 // batch_size, batch_size=batch_size).state
        assert state is not None
        return [state.clusters.tobytes(), state.counts.tobytes()]

    want = fitted(x)
    assert rows_of_a_window(x.shape[1]) < len(x) // 2
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
