"""What rows add to sums and squares, and which are farthest, against plain arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from shoal import _core
from shoal.shards.grids import grid_of
from shoal.state import Grid, Scan

SEED = 20260


def unit(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows of length one, as the core makes them."""
    out = np.empty(rows.shape)
    _core.read_rows(rows, True, out)
    return out


def grid_for(rows: np.ndarray[Any, Any], cosine: bool) -> Grid:
    magnitude = np.abs(rows).max(0).astype(float)
    scan = Scan(len(rows), magnitude, 1.0, False, rows.dtype == np.float64)
    return grid_of(scan, cosine)


def whole_sum(values: np.ndarray[Any, Any]) -> list[int]:
    """Exact sums of columns of whole numbers."""
    return [sum(int(x) for x in column) for column in values.T]


@pytest.mark.parametrize("target", _core.simd_targets())
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize(("columns", "k"), [(1, 3), (2, 3), (3, 3), (8, 2), (13, 3), (20, 300)])
def test_sums_and_squares(
    monkeypatch: pytest.MonkeyPatch, target: str, dtype: Any, cosine: bool, columns: int, k: int
) -> None:
    """Every row is rounded once per column; moved rows leave nothing behind."""
    monkeypatch.setenv("SHOAL_SIMD", target)
    rng = np.random.default_rng(SEED + columns)
    rows = np.abs(rng.standard_normal((300, columns)) * 40).astype(dtype)
    rows[5] = 0
    if dtype == np.float64:
        rows[7] = 1e-200  # needs more than one multiplication to get length one
    grid = grid_for(rows, cosine)
    labels = np.full(len(rows), -1, np.int32)
    sums = np.zeros((grid.levels, k, columns + 1), np.int64)
    squares = np.zeros((2, columns + 1), np.int64)
    keeper = _core.Keeper(len(rows), 1 << 24)
    for _ in range(3):  # moved to and fro
        centers = rng.standard_normal((k, columns)).astype(np.float32) * 40
        _core.assign_again(rows, None, centers, cosine, 2, keeper, labels, grid, sums, squares)
    quantum, square_quantum, inverse, _ = grid.quanta
    seen = unit(rows) if cosine else rows.astype(np.float64)
    in_quanta = seen * inverse[:-1]
    high = np.rint(in_quanta)
    scale = 2**grid.bits
    for j in np.unique(labels):
        mine = labels == j
        assert sums[0, j].tolist() == [*whole_sum(high[mine]), int(mine.sum() * inverse[-1])]
        if grid.levels == 2:
            low = np.rint((in_quanta - high)[mine] * scale)
            assert sums[1, j].tolist() == [*whole_sum(low), 0]
    kept = high * quantum[:-1] if grid.levels == 1 and cosine else seen
    for t in range(columns):
        exact = sum(Fraction(x) ** 2 for x in kept[:, t].tolist())
        found = (int(squares[0, t]) * scale + int(squares[1, t])) * Fraction(square_quantum[t])
        assert abs(found - scale * exact) <= len(rows) * Fraction(square_quantum[t])
    assert squares[:, columns].tolist() == [
        int((~rows.any(1)).sum() / square_quantum[-1]) if cosine else 0,
        0,
    ]


@pytest.mark.parametrize("plan", ["f32", "boxes"])
@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("heavy", [False, True])
def test_farthest(
    monkeypatch: pytest.MonkeyPatch, plan: str, cosine: bool, dtype: Any, heavy: bool
) -> None:
    """As sorting by weight times distance, then by index; no row without one or its weight."""
    monkeypatch.setenv("SHOAL_PLAN", plan)
    rng = np.random.default_rng(SEED)
    rows = np.round(rng.standard_normal((9000, 3)) * 4).astype(dtype)  # many are equal
    rows[3000:3100] = 50  # far, at the same distance
    weights = rng.integers(0, 3, len(rows)).astype(float) if heavy else None
    centers = rows[rng.choice(2000, 12, replace=False)] + dtype(0.25)
    scan = Scan(len(rows), np.abs(rows).max(0).astype(float), 2.0, heavy, dtype == np.float64)
    grid = grid_of(scan, cosine)
    labels = np.full(len(rows), -1, np.int32)
    sums = np.zeros((grid.levels, 12, 4), np.int64)
    squares = np.zeros((2, 4), np.int64)
    keeper = _core.Keeper(len(rows), 1 << 24)
    for _ in range(3):
        centers = centers + dtype(0.01)
        _core.assign_again(rows, weights, centers, cosine, 2, keeper, labels, grid, sums, squares)
    distances = np.empty(len(rows))
    _core.assign(rows, None, centers, cosine, 1, None, distances)
    mass = distances if weights is None else distances * weights
    wanted = np.flatnonzero((mass > 0) & (rows.any(1) | (not cosine)))
    wanted = wanted[np.argsort(-mass[wanted], kind="stable")]
    for number in (1, 13, 700, len(rows)):
        for known in (None, keeper):
            found, far = np.empty(number, np.int64), np.empty(number)
            counts = np.empty(12, np.int64)
            m = _core.farthest(
                rows, weights, labels, centers, cosine, 2, None, known, found, far, counts
            )
            assert found[:m].tolist() == wanted[:number].tolist()
            assert far[:m].tolist() == mass[wanted[:number]].tolist()
            mine = labels if weights is None else labels[weights > 0]
            assert counts.tolist() == np.bincount(mine, minlength=12).tolist()
