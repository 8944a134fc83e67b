"""Distances kept for seeding: the same answers for any parts, and those of plain NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import shoal
from shoal import _core
from shoal.executors.local import LocalExecutor
from shoal.shards.potential import Nearest, NearestOfParts, pick_by_turns
from shoal.shards.rows import Held, Reread, Tally, make_block
from shoal.shards.shard import Shard
from shoal.sources.array import Rows
from shoal.steps.random import SEEDING, Stream

Array = Any
METRICS = ("squared_euclidean", "cosine")
ROOMS = (0, 30_000, 10**9)
UNIT = 2**1074


def exact(values: Array) -> list[int]:
    """Each value as a whole number, in units of 2**-1074."""
    ratios = [float(value).as_integer_ratio() for value in values]
    return [numerator * (UNIT // denominator) for numerator, denominator in ratios]


def between(rows: Array, centers: Array, metric: str) -> Array:
    """Distances [n, k] in float64; 0 for rows without direction."""
    x, c = np.array(rows, np.float64, order="C"), np.array(centers, np.float64, order="C")
    if metric == "squared_euclidean":
        return ((x[:, None] - c) ** 2).sum(-1)
    unit_x, unit_c = np.empty(x.shape), np.empty(c.shape)
    _core.read_rows(rows, True, unit_x)
    _core.read_rows(centers, True, unit_c)
    half = 0.5 * ((unit_x[:, None] - unit_c) ** 2).sum(-1)
    return np.where(x.any(1)[:, None], np.where(c.any(1), np.minimum(half, 2.0), 1.0), 0.0)


def negligible_of(rows: Array, metric: str) -> float:
    """The distance of a row to itself, rounded to length one in the dtype of centers."""
    dtype = np.float64 if rows.dtype == np.float64 else np.float32
    return float(2 * np.finfo(dtype).eps) ** 2 if metric == "cosine" else 0.0


def reference_picks(rows: Array, weights: Array, first: Array, metric: str, draws: Array) -> Array:
    """The rule in plain NumPy and Python's own integers."""
    nearest, picked = between(rows, first, metric)[:, 0], []
    negligible = negligible_of(rows, metric)
    for shares in draws.tolist():
        mass = exact(weights * np.where(nearest > negligible, nearest, 0.0))
        running = list(itertools.accumulate(mass))
        if running[-1] == 0:
            break
        drawn = [
            next(i for i, sum_ in enumerate(running) if sum_ > running[-1] * share >> 53)
            for share in shares
        ]
        lowered = np.minimum(nearest[:, None], between(rows, rows[drawn], metric))
        potentials = [sum(exact(weights * column)) for column in lowered.T]
        best = potentials.index(min(potentials))
        picked.append(drawn[best])
        nearest = lowered[:, best]
    return np.array(picked, np.int64)


def made(rows: Array, weights: Array | None, metric: str, cuts: list[int]) -> LocalExecutor:
    """Shards of the rows between the cuts."""
    bounds = [0, *cuts, len(rows)]
    blocks = [
        make_block(Rows(rows[a:b], None if weights is None else weights[a:b]), metric, 2)
        for a, b in itertools.pairwise(bounds)
    ]
    return LocalExecutor([Shard(Held(b), metric, 2) for b in blocks], metric == "cosine")


def start(executor: LocalExecutor, first: Array, metric: str, room: int = 10**9) -> Nearest:
    return executor.nearest(first, negligible_of(first, metric), room)


def some_rows(kind: str, dtype: type) -> Array:
    rng = np.random.default_rng(41)
    n, d = 700, 9
    rows = rng.standard_normal((n, d))
    if kind == "offset":
        rows += 1e4 if dtype == np.float16 else 1e5
    if kind == "blobs":
        rows = rng.standard_normal((6, d))[rng.integers(6, size=n)] * 100 + rows * 0.01
    if kind == "duplicates":
        rows = rows[rng.integers(20, size=n)]
    if kind == "zeros":
        rows[::3] = 0
    return rows.astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["plain", "offset", "blobs", "duplicates", "zeros"])
def test_picks_are_those_of_the_rule(kind: str, metric: str, dtype: type) -> None:
    rows = some_rows(kind, dtype)
    weights = np.random.default_rng(42).exponential(size=len(rows))
    weights[::5] = 0
    draws = Stream(3, SEEDING).shares(25, 4)
    first = rows[1:2]
    for given in (weights, None):
        mass = np.ones(len(rows)) if given is None else given
        expected = reference_picks(rows, mass, first, metric, draws)
        assert len(expected) == 25 or kind == "duplicates" or dtype == np.float16
        for target in _core.simd_targets():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SHOAL_SIMD", target)
                for room in ROOMS:
                    nearest = start(made(rows, given, metric, []), first, metric, room)
                    assert np.array_equal(nearest.pick(draws), expected), (target, room)
        for cuts in ([1], [300, 301, 650], list(range(50, 700, 50))):
            joined = start(made(rows, given, metric, cuts), first, metric)
            assert isinstance(joined, NearestOfParts)
            assert np.array_equal(joined.pick(draws), expected), cuts
        executor = made(rows, given, metric, [])
        turns = pick_by_turns(start(executor, first, metric), executor.take, draws)
        assert np.array_equal(turns, expected)


def test_blocks_of_one_shard_are_one() -> None:
    rows = some_rows("plain", np.float32)
    cuts = [0, 200, 333, 700]
    blocks = [
        make_block(Rows(rows[a:b]), "squared_euclidean", 2) for a, b in itertools.pairwise(cuts)
    ]
    shard = Shard(Reread(Tally("x"), lambda: blocks), "squared_euclidean", 2)
    draws = Stream(4, SEEDING).shares(10, 3)
    whole = start(made(rows, None, "squared_euclidean", []), rows[:1], "squared_euclidean")
    assert np.array_equal(shard.nearest(rows[:1], 0.0, 10**9).pick(draws), whole.pick(draws))


def test_draws_reach_every_row_with_mass_and_no_other() -> None:
    rows = np.arange(5.0)[:, None]
    weights = np.array([3.0, 0.0, 1.0, 0.0, 0.5])
    nearest = made(rows, weights, "squared_euclidean", [2]).nearest(rows[:1], 0.0, 0)
    total = nearest.total()
    assert total == UNIT * 12  # 1 * 4 + 0.5 * 16
    edges = [0, UNIT * 4 - 1, UNIT * 4, total - 1]
    assert nearest.find(edges).tolist() == [2, 2, 4, 4]
    assert nearest.lower(rows[[4, 2, 0]]) == [UNIT * 8, UNIT * 10, 0]


def test_rows_are_at_distance_one_before_there_is_a_center() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [5.0, 0.0]], np.float32)
    for metric, total in (("squared_euclidean", 4), ("cosine", 2)):
        nearest = made(rows, None, metric, [1]).nearest(rows[:0], 0.0, 0)
        assert nearest.total() == UNIT * total
    assert nearest.find([0, UNIT]).tolist() == [1, 3]


def test_memory_budget_changes_no_center() -> None:
    rows = np.random.default_rng(5).standard_normal((3000, 20)).astype(np.float32)
    found = []
    for budget in (None, 0, 20_000):
        model = shoal.KMeansClustering(
            12,
            initial_clusters="kmeans_plus_plus",
            use_mini_batch=False,
            kmeans_plus_plus_num_retries=-1,
            memory_budget=budget,
        )
        found.append(model.fit(rows, steps=1).clusters())
    assert all(np.array_equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, x: s.lower(x[:5], None, x[:2]), "other rows"),
        (lambda s, x: s.choose(x, None, 0), "no such candidate"),
        (lambda s, x: s.lower(x, None, x[:2, :2]), "differ in columns"),
        (lambda s, x: s.pick(x, None, np.zeros((2, 2)), np.zeros(2, np.int64)), "wrong dtype"),
        (
            lambda s, x: s.pick(x, None, np.zeros((3, 2), np.uint64), np.zeros(2, np.int64)),
            "wrong size",
        ),
    ],
)
def test_memory_is_guarded(call: Any, message: str) -> None:
    rows = np.ones((10, 3))
    seeding = _core.Seeding(rows, None, rows[:1], False, 0.0, 0, 1)
    with pytest.raises(ValueError, match=message):
        call(seeding, rows)
