"""Bits depend on nothing but the data: not on threads, targets, plans or memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from exact_helpers import (
    DTYPES,
    METRICS,
    Data,
    Result,
    assign,
    brute_distances,
    each_target,
    near_ties,
    plain,
    same_bits,
    unit_rows,
)
from helpers import exact_total

from shoal import _core
from shoal.shards.grids import grid_of as chosen
from shoal.state import Grid, Scan

# ---- The same bits, however the work is done and however the rows lie in memory ----

BITS = 45  # of a level of the integer sums


def spread(X: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """`X` as a view into a larger array: every `rows`-th row, every `columns`-th column."""
    n, d = X.shape
    whole = np.full((n * abs(rows), d * abs(columns)), np.nan, X.dtype)
    view = whole[::rows, ::columns]
    view[:] = X
    return view


def inside(X: np.ndarray) -> np.ndarray:
    whole = np.full((len(X), X.shape[1] + 5), np.nan, X.dtype)
    whole[:, 3:-2] = X
    return whole[:, 3:-2]


def unaligned(X: np.ndarray) -> np.ndarray:
    memory = np.zeros(X.nbytes + 1, np.uint8)
    view = np.ndarray(X.shape, X.dtype, memory.data, 1)
    view[:] = X
    assert not view.flags.aligned
    return view


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C order": np.ascontiguousarray,
    "F order": np.asfortranarray,
    "every second row": lambda X: spread(X, 2, 1),
    "every third column": lambda X: spread(X, 1, 3),
    "columns reversed": lambda X: spread(X, 1, -1),
    "rows reversed": lambda X: spread(X, -1, 1),
    "part of a transposed array": lambda X: spread(X.T, -2, 1).T,
    "columns of a wider array": inside,
    "unaligned": unaligned,
}


def unsettled(dtype: type) -> Data:
    """Rows of which float32 alone settles about half."""
    rng = np.random.default_rng(77)
    n, d, k = 5000, 33, 50
    X, C = plain(rng, dtype, (n, d, k))
    X[::4] = near_ties(rng, dtype, (n // 4, d, k))[0]
    X[1::4] = (C[rng.integers(0, k, n // 4)] + C[rng.integers(0, k, n // 4)]) / 2
    X[2::8] = X[0]
    C[-5:] = C[:5]
    X[7], C[11] = 0, 0
    return X, C


class Expected(NamedTuple):
    X: np.ndarray
    C: np.ndarray
    weights: np.ndarray | None
    result: Result
    quantum: np.ndarray
    sums: np.ndarray


@cache
def expected(dtype: type, cosine: bool, weighted: bool) -> Expected:
    X, C = unsettled(dtype)
    weights = np.random.default_rng(78).exponential(size=len(X)) if weighted else None
    if weights is not None:
        weights[::9] = 0
        weights.flags.writeable = False
    matrix = np.concatenate([brute_distances(part, C, cosine) for part in np.split(X, 10)])
    labels, nearest = matrix.argmin(1).astype(np.int32), matrix.min(1)
    w = np.ones(len(X)) if weights is None else weights
    rows = unit_rows(X.astype(np.float64)) if cosine else X.astype(np.float64)
    if cosine and dtype != np.float64:  # the grid of unit rows on one level
        step = 2.0 ** (1 - BITS)
        rows = np.rint(rows / step) * step
    rows = np.column_stack([rows, np.ones(len(X))]) * w[:, None]
    quantum = np.ldexp(1.0, np.frexp(np.abs(rows).max(0))[1] - BITS)
    high = np.rint(rows / quantum)
    low = np.rint((rows - high * quantum) / quantum * 2.0**BITS)
    sums = np.zeros((2, len(C), rows.shape[1]), np.int64)
    np.add.at(sums[0], labels, high.astype(np.int64))
    np.add.at(sums[1], labels, low.astype(np.int64))
    result = Result(labels, nearest, exact_total(w * nearest))
    return Expected(X, C, weights, result, quantum, sums)


def grid_of(quantum: np.ndarray, bits: int, levels: int = 2) -> Grid:
    """The grid of these quanta, with squares on one wide enough for them."""
    with np.errstate(under="ignore", over="ignore"):
        squares = np.clip(quantum * quantum * 2.0**bits, 2.0**-1000, 2.0**950)
    return Grid(np.stack([quantum, squares, 1 / quantum, 1 / squares]), bits, levels)


def in_parts(
    X: np.ndarray,
    C: np.ndarray,
    cosine: bool,
    weights: np.ndarray | None,
    quantum: np.ndarray,
    threads: int,
    parts: int,
) -> tuple[Result, np.ndarray]:
    cuts = [len(X) * part**2 // parts**2 for part in range(parts + 1)]  # of unequal length
    results = []
    sums = np.zeros((2, len(C), X.shape[1] + 1), np.int64)
    for begin, end in pairwise(cuts):
        w = None if weights is None else weights[begin:end]
        part = assign(X[begin:end], C, cosine, w, threads)
        _core.add_sums(
            *(X[begin:end], w, part.labels, cosine, grid_of(quantum, BITS)),
            *(len(C), threads, sums),
        )
        results.append(part)
    labels, distances, losses = zip(*results, strict=True)
    return Result(np.concatenate(labels), np.concatenate(distances), sum(losses)), sums


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@DTYPES
@METRICS
def test_bits_depend_on_the_data_alone(
    dtype: type, cosine: bool, weighted: bool, layout: str
) -> None:
    X, C, weights, expected_result, quantum, expected_sums = expected(dtype, cosine, weighted)
    rows, centers = LAYOUTS[layout](X), LAYOUTS[layout](C)
    rows, centers = rows.view(), centers.view()
    rows.flags.writeable = centers.flags.writeable = False
    assert (rows == X).all()
    for target in each_target():
        for threads, parts in [(1, 1), (2, 5), (3, 2), (7, 1), (7, 5)]:
            about = f"{target}, {threads} threads, {parts} parts"
            result, sums = in_parts(rows, centers, cosine, weights, quantum, threads, parts)
            assert same_bits(result.labels, expected_result.labels), about
            assert same_bits(result.distances, expected_result.distances), about
            assert result.loss == expected_result.loss, about
            assert same_bits(sums, expected_sums), about
    assert (rows == X).all(), "the rows were modified"
    assert (centers == C).all(), "the centers were modified"


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@METRICS
def test_bits_of_the_other_passes(cosine: bool, layout: str) -> None:
    X, C = unsettled(np.float32)
    C = C[:7]
    matrix = brute_distances(X, C, cosine)
    weights = np.random.default_rng(79).exponential(size=len(X))
    directed = X.any(1) if cosine else np.ones(len(X), bool)
    start = np.where(directed, matrix[:, 0], 0.0)
    lower = np.minimum(start[:, None], matrix)
    total = exact_total(weights * start)
    gains = [total - exact_total(weights * column) for column in lower.T]
    magnitude = np.abs(X).max(0).astype(np.float64)
    rows = LAYOUTS[layout](X)
    for target in each_target():
        for threads in (1, 2, 7):
            about = f"{target}, {threads} threads"
            every = np.empty_like(matrix)
            _core.all_distances(rows, C, cosine, threads, every)
            assert same_bits(every, matrix), about
            largest = np.empty_like(magnitude)
            assert _core.scan(rows, threads, largest) == (-1, -1), about
            assert same_bits(largest, magnitude), about
            for room in (0, 10_000, 10**9):
                seeding = _core.Seeding(rows, weights, C[:1], cosine, 0.0, room, threads)
                assert seeding.total() == total, about
                assert seeding.lower(rows, weights, C) == (gains, gains), about
                seeding.choose(rows, weights, 5)
                assert seeding.total() == total - gains[5], about


def test_loss_with_weights_of_zero() -> None:
    X, C = plain(np.random.default_rng(8), np.float64, (100, 3, 4))
    expected = brute_distances(X, C, False).min(1)
    for zero in (0.0, -0.0):
        weights = np.where(np.arange(100) % 3 == 0, zero, 1.5)
        for target in each_target():
            loss = assign(X, C, False, weights).loss
            assert loss == exact_total(weights * expected), f"{target}, weight {zero}"


@pytest.mark.parametrize("layout", LAYOUTS)
@DTYPES
def test_first_bad_value_is_found(dtype: type, layout: str) -> None:
    rng = np.random.default_rng(9)
    clean = rng.standard_normal((9000, 60)).astype(dtype)
    for target in each_target():
        X = clean.copy()
        spots = rng.integers(0, X.shape, (3, 2))
        X[tuple(spots.T)] = rng.choice([np.nan, np.inf, -np.inf], 3)
        first = min((int(row), int(column)) for row, column in spots)
        for threads in (1, 3):
            found = _core.scan(LAYOUTS[layout](X), threads, np.empty(60))
            assert found == first, f"{target}, {threads} threads"


# ---- Memory ----

MEASURE = """
import ml_dtypes
import numpy as np
from shoal import _core
from shoal.state import Grid, Scan

def kilobytes(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))

n, d, k = 800_000, 64, 8
flat = np.empty(n * d, np.float32)
np.random.default_rng(1).random(out=flat, dtype=np.float32)
bits, longs = flat.view(np.uint16), flat.view(np.int64)
rows = {order}
C = rows[:k].copy()
labels, distances = np.full(len(rows), 0, np.int32), np.full(len(rows), 0.0)
quantum = np.full(rows.shape[1] + 1, 2.0**-40)
grid = Grid(np.stack([quantum, quantum, 1 / quantum, 1 / quantum]), 40, 1)
sums = np.zeros((1, k, rows.shape[1] + 1), np.int64)
before = kilobytes("VmRSS")
for cosine in (False, True):
    _core.assign(rows, None, C, cosine, 2, labels, distances)
    _core.add_sums(rows, None, labels, cosine, grid, k, 2, sums)
_core.scan(rows, 2, np.empty(rows.shape[1]))
room = 20_000_000
seeding = _core.Seeding(rows, None, C[:1], False, 0.0, room, 2)
seeding.pick(rows, None, np.full((2, 3), 2**52, np.uint64), np.empty(2, np.int64))
print(rows.nbytes, kilobytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    "order",
    [
        "flat.reshape(n, d)",
        "flat.reshape(d, n).T",
        "flat.reshape(n, d)[:, ::-1]",
        "flat.reshape(n // 2, 2 * d)[:, 1:]",
        "flat.view(np.float64).reshape(n // 2, d)",
        "np.minimum(bits, 0x7BFF, out=bits).view(np.float16).reshape(2 * n, d)",
        "np.bitwise_and(bits, 0x3FFF, out=bits).view(ml_dtypes.bfloat16).reshape(2 * n, d)",
        "flat.view(np.uint8).reshape(n, 4 * d)",
        "flat.view(np.int8).reshape(4 * d, n).T",
        "flat.view(np.int32).reshape(n, d)",
        "np.right_shift(longs, 11, out=longs).reshape(n // 2, d)",
    ],
)
def test_rows_are_not_copied(order: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.replace("{order}", order)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    size, growth = (int(word) for word in done.stdout.split())
    assert size > 200e6
    assert growth < 64 * 1024, f"{growth} kB more than before"


@pytest.mark.parametrize("plan", ["f32", "boxes"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.int32])
def test_rows_of_few_columns_add_up_as_one_by_one(
    dtype: type, plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, k = 1500, 9  # enough rows per cluster for sums of each thread's own
    monkeypatch.setenv("SHOAL_PLAN", plan)
    double = dtype in (np.float64, np.int32)
    for target in each_target():
        for d in range(1, 9):
            rng = np.random.default_rng(d)
            near = rng.normal(0, 50, (k, d))[rng.integers(k, size=n)]
            X = (near + rng.normal(size=(n, d))).astype(dtype)
            grid = chosen(Scan(n, np.abs(X.astype(float)).max(0), 1.0, False, double), False)
            kept = []
            for _ in range(2):
                sums = np.zeros((grid.levels, k, d + 1), np.int64)
                labels, squares = np.full(n, -1, np.int32), np.zeros((2, d + 1), np.int64)
                kept.append((_core.Keeper(n, 1 << 30), labels, grid, sums, squares))
            C = X[rng.integers(0, n, k)].astype(np.float64)
            for number in range(4):
                about = f"seed {d}, {target}, {d} columns, pass {number}"
                _core.assign_again(X, None, C, False, 2, *kept[0])
                # Rows with weights are added one by one.
                _core.assign_again(X, np.ones(n), C, False, 1, *kept[1])
                for position in (1, 3, 4):
                    assert same_bits(kept[0][position], kept[1][position]), about
                C = C + rng.normal(0, 10.0 ** (1 - number), C.shape)


def moves(rng: np.random.Generator, X: np.ndarray, k: int, passes: int) -> Iterator[np.ndarray]:
    """Centers that settle, jump, swap, meet and part."""
    C = X[rng.integers(0, len(X), k)].copy()
    spread = np.abs(X - X.mean(0)).mean()
    for number in range(passes):
        yield C.astype(X.dtype)
        C = C + rng.normal(0, spread * 10.0 ** -rng.integers(1, 9), C.shape)
        if number % 3 == 1:
            C[rng.integers(k)] = X[rng.integers(len(X))] * rng.choice([1, 1, 50])
        if number % 4 == 2:
            C[rng.integers(k)] = C[rng.integers(k)]


@pytest.mark.slow
@METRICS
@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(700, 3, 7), (600, 40, 30), (500, 70, 5), (300, 9, 1)])
def test_what_is_kept_from_pass_to_pass_changes_nothing(
    n: int, d: int, k: int, weighted: bool, dtype: type, cosine: bool
) -> None:
    for target in each_target():
        rng = np.random.default_rng(11)
        blobs = rng.normal(0, 3, (6, d))
        X = (blobs[rng.integers(6, size=n)] + rng.normal(size=(n, d))).astype(dtype)
        X[::50] = 0
        weights = rng.uniform(0, 2, n) if weighted else None
        largest = np.append(np.ones(d) if cosine else np.abs(X).max(0), 1.0) * 2
        quantum = np.ldexp(1.0, np.frexp(largest)[1] - 40)
        grid = grid_of(quantum, 40)
        keepers = {budget: _core.Keeper(n, budget) for budget in (0, 8 * n, 1 << 30)}
        labels = {budget: np.full(n, -1, np.int32) for budget in keepers}
        sums = {budget: np.zeros((2, k, d + 1), np.int64) for budget in keepers}
        squares = {budget: np.zeros((2, d + 1), np.int64) for budget in keepers}
        settled = 0
        for number, C in enumerate(moves(rng, X, k, 14)):
            fresh = assign(X, C, cosine, weights)
            for budget, keeper in keepers.items():
                about = f"seed 11, {target}, pass {number}, budget {budget}"
                kept = labels[budget], grid, sums[budget], squares[budget]
                changes, _, still = _core.assign_again(X, weights, C, cosine, 2, keeper, *kept)
                assert keeper.bytes <= budget
                assert same_bits(labels[budget], fresh.labels), about
                again = np.zeros_like(sums[budget])
                _core.add_sums(X, weights, labels[budget], cosine, grid, k, 1, again)
                assert same_bits(sums[budget], again), about
                assert changes <= n
                settled += still
                loss, error = _core.loss(sums[budget], squares[budget], grid, n, C, cosine, 1)
                exact = fresh.loss / 2**1074
                assert loss == pytest.approx(exact, rel=1e-9, abs=1e-12), about
                assert abs(loss - exact) <= error + exact * 1e-13, about
                assert (loss, error) == _core.loss(sums[0], squares[0], grid, n, C, cosine, 3)
                measured = _core.measure(X, weights, labels[budget], C, cosine, 2)
                assert measured == fresh.loss, about
        assert settled > 0, f"{target}: no bound ever settled a row"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int16", "int64"])
def test_sums_are_those_of_numpy_for_any_number_of_columns(dtype: str) -> None:
    rng = np.random.default_rng(5)
    for d in (1, 2, 7, 8, 9, 15, 16, 17, 33, 63, 64, 65):
        n, k = 700, 5
        X = (rng.normal(size=(n, d)) * 50).astype(dtype)
        values = X.astype(np.float64)
        double = X.dtype.itemsize == 8
        grid = chosen(Scan(n, np.abs(values).max(0), 1.0, False, double), unit_rows=False)
        (quantum, _, inverse, _), unit = grid.quanta[:, :-1], 2.0**grid.bits
        high = np.rint(values * inverse)
        low = np.rint((values - high * quantum) * inverse * unit)
        sums = np.zeros((grid.levels, k, d + 1), np.int64)
        squares = np.zeros((2, d + 1), np.int64)
        labels = np.full(n, -1, np.int32)
        keeper = _core.Keeper(n, 1 << 20)
        for _ in range(3):
            C = rng.normal(size=(k, d)) * 40
            kept = labels, grid, sums, squares
            _core.assign_again(X, None, C, False, 2, keeper, *kept)
            expected = np.zeros_like(sums)
            np.add.at(expected[0][:, :-1], labels, high.astype(np.int64))
            np.add.at(expected[0][:, -1], labels, int(grid.quanta[2, -1]))
            if grid.levels == 2:
                np.add.at(expected[1][:, :-1], labels, low.astype(np.int64))
            assert same_bits(sums, expected), f"seed 5, {dtype}, {d} columns"
            exact = (squares[0] + squares[1] / unit)[:-1] * grid.quanta[1, :-1]
            np.testing.assert_allclose(exact, (values**2).sum(0), rtol=1e-12)
