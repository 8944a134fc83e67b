"""Distances kept for seeding: the same answers for any parts, and those of plain NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import shoal
from shoal import _core
from shoal.executors import LocalExecutor, PickledExecutor
from shoal.executors.data import Data
from shoal.executors.potential import Potential
from shoal.shards.part import Part
from shoal.sources.columns import Columns
from shoal.sources.rows import Rows
from shoal.sources.stream import StreamSource
from shoal.steps.random import SEEDING, Random

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


def reference_picks(
    rows: Array, weights: Array, first: Array, metric: str, draws: Array
) -> list[int]:
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
    return picked


def made(
    rows: Array, weights: Array | None, metric: str, cuts: list[int], executor: Any = None
) -> Data:
    """Shards of the rows between the cuts."""
    bounds = [0, *cuts, len(rows)]
    parts = [
        Part(None, metric, 2, rows=[Rows(rows[a:b], None if weights is None else weights[a:b])])
        for a, b in itertools.pairwise(bounds)
    ]
    return Data.of(executor or LocalExecutor(), parts)


def start(data: Data, first: Array, metric: str, room: int = 10**9) -> Potential:
    return data.potential(first, negligible_of(first, metric), room)


def indices(drawn: Any, rows: Array) -> list[int]:
    """Which rows were drawn; they are those rows."""
    if drawn is None:
        return []
    assert drawn.rows.tobytes() == rows[drawn.indices].tobytes()
    return list(drawn.indices.tolist())


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
    draws = Random(3, SEEDING).shares(25, 4)
    first = rows[1:2]
    for given in (weights, None):
        mass = np.ones(len(rows)) if given is None else given
        expected = reference_picks(rows, mass, first, metric, draws)
        assert len(expected) == 25 or kind == "duplicates" or dtype == np.float16
        for target in _core.simd_targets():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SHOAL_SIMD", target)
                for room in ROOMS:
                    potential = start(made(rows, given, metric, []), first, metric, room)
                    assert indices(potential.pick(draws), rows) == expected, (target, room)
        for cuts in ([1], [300, 301, 650], list(range(50, 700, 50))):
            for executor in (LocalExecutor(), PickledExecutor()):
                several = start(made(rows, given, metric, cuts, executor), first, metric)
                assert indices(several.pick(draws), rows) == expected, cuts
        turns = start(made(rows, given, metric, []), first, metric).pick_by_turns(draws)
        assert indices(turns, rows) == expected


def test_blocks_of_one_shard_are_one() -> None:
    rows = some_rows("plain", np.float32)
    batches = np.split(rows, [200, 333])
    source = StreamSource(lambda: iter(batches), True, Columns(None, None))
    data = Data.of(LocalExecutor(), [Part(source, "squared_euclidean", 2)])
    draws = Random(4, SEEDING).shares(10, 3)
    whole = start(made(rows, None, "squared_euclidean", []), rows[:1], "squared_euclidean")
    found = data.potential(rows[:1], 0.0, 10**9).pick(draws)
    assert indices(found, rows) == indices(whole.pick(draws), rows)


def test_draws_reach_every_row_with_mass_and_no_other() -> None:
    rows = np.arange(5.0)[:, None]
    weights = np.array([3.0, 0.0, 1.0, 0.0, 0.5])
    potential = made(rows, weights, "squared_euclidean", [2]).potential(rows[:1])
    mass = potential.mass()
    assert mass == UNIT * 12  # 1 * 4 + 0.5 * 16
    edges = [0, UNIT * 4 - 1, UNIT * 4, mass - 1]
    assert potential.draw(edges).indices.tolist() == [2, 2, 4, 4]
    assert potential.draw(edges[::-1]).weights.tolist() == [0.5, 0.5, 1.0, 1.0]
    assert potential.gains(rows[[4, 2, 0]]) == [UNIT * 8, UNIT * 10, 0]
    potential.choose(1)
    assert potential.mass() == UNIT * 2
    assert potential.draw([0]).indices.tolist() == [4]


def test_rows_are_drawn_by_their_weight_alone_and_some_not_at_all() -> None:
    rows = np.zeros((5, 1))
    weights = np.array([3.0, 0.0, 1.0, 0.0, 0.5])
    data = made(rows, weights, "cosine", [1, 3])
    even = data.potential(None)
    assert even.mass() == UNIT * 9 // 2
    assert even.draw([0, UNIT * 3, UNIT * 4]).indices.tolist() == [0, 2, 4]
    rest = data.potential(None, without=np.array([2, 0]))
    assert rest.mass() == UNIT // 2
    assert rest.draw([0]).indices.tolist() == [4]


@pytest.mark.parametrize("metric", METRICS)
def test_the_mass_that_is_left_is_known_before_a_candidate_is_taken(metric: str) -> None:
    rows = some_rows("duplicates", np.float32)
    for executor in (LocalExecutor(), PickledExecutor()):
        data = made(rows, None, metric, [100, 400], executor)
        potential = start(data, rows[:1], metric)
        first = rows[:1]
        for which in (1, 0, 2):
            candidates = rows[[5 * which + 1, 17, 40 + which]]
            potential.gains(candidates)
            potential.choose(which)
            first = np.concatenate([first, candidates[which : which + 1]])
            assert potential.mass() == start(data, first, metric).mass()


def test_rows_are_at_distance_one_before_there_is_a_center() -> None:
    rows = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0], [5.0, 0.0]], np.float32)
    for metric, total in (("squared_euclidean", 4), ("cosine", 2)):
        potential = made(rows, None, metric, [1]).potential(rows[:0])
        assert potential.mass() == UNIT * total
    assert potential.draw([0, UNIT]).indices.tolist() == [1, 3]


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
