"""The first centers: their distribution, and what holds for every seed."""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import seeding_helpers
from seeding_helpers import (
    BETWEEN,
    BY_DISTANCE,
    BY_MASS,
    FEWER,
    METRICS,
    RECORDED,
    RETRIES,
    ROWS,
    SEEDS,
    Array,
    K,
    assert_likely,
    assert_same_mean,
    continued,
    counts,
    indices_of,
    potentials,
    seeded,
)
from statistics_helpers import LEVEL, chi_square, kolmogorov_smirnov, same_counts

import shoal
from shoal.shards.passes import Passes
from shoal.steps.random import SEEDING, SHUFFLING, Random
from shoal.steps.seeding import METHODS

pytestmark = pytest.mark.usefixtures("placed")

# ---- k-means++ ----


@pytest.fixture(scope="module")
def picks() -> dict[str, Array]:
    """Rows picked [2000, 4] for each number of retries."""
    found = {}
    for name, retries in RETRIES.items():
        options = {"kmeans_plus_plus_num_retries": retries}
        found[name] = np.array(
            [
                indices_of(
                    ROWS,
                    seeded(ROWS, K, "kmeans_plus_plus", random_seed=seed, **options).clusters,
                )
                for seed in SEEDS
            ]
        )
    return found


def reference_plus_plus(generator: np.random.Generator, retries: int) -> list[int]:
    """The rule in plain NumPy."""
    if retries < 0:
        retries = 2 + math.floor(math.log(K))
    chosen = [int(generator.integers(len(ROWS)))]
    nearest = BETWEEN[chosen[0]]
    while len(chosen) < K:
        drawn = generator.choice(len(ROWS), size=1 + retries, p=nearest / nearest.sum())
        lowered = np.minimum(nearest, BETWEEN[drawn])
        best = int(lowered.sum(axis=1).argmin())
        chosen.append(int(drawn[best]))
        nearest = lowered[best]
    return chosen


@pytest.mark.slow
def test_plus_plus_without_retries_is_as_recorded(picks: dict[str, Array]) -> None:
    recorded = RECORDED["picks_retries_0"]
    found = potentials(picks["0"])
    assert np.allclose(potentials(recorded), RECORDED["potential_retries_0"], rtol=1e-5)
    assert_likely(kolmogorov_smirnov(found, RECORDED["potential_retries_0"]), "potentials")
    assert_same_mean(found, RECORDED["potential_retries_0"], "potentials")
    for i in range(K):
        first, second = (counts(sample[:, i], 40) for sample in (picks["0"], recorded))
        assert_likely(same_counts(first, second), f"pick {i}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1", "2", "5", "neg"])
def test_plus_plus_with_retries_follows_the_rule(picks: dict[str, Array], name: str) -> None:
    generator = np.random.default_rng(20_000 + RETRIES[name])
    reference = np.array([reference_plus_plus(generator, RETRIES[name]) for _ in SEEDS])
    assert_likely(kolmogorov_smirnov(potentials(picks[name]), potentials(reference)), "potentials")
    assert_same_mean(potentials(picks[name]), potentials(reference), "potentials")
    for i in range(K):
        first, second = (counts(sample[:, i], 40) for sample in (picks[name], reference))
        assert_likely(same_counts(first, second), f"pick {i}")


@pytest.mark.parametrize("name", RETRIES)
def test_first_pick_is_uniform(picks: dict[str, Array], name: str) -> None:
    # The original is greedy here too; that difference is wanted.
    assert_likely(chi_square(counts(picks[name][:, 0], 40), np.ones(40)), "first pick")
    if name == "5":
        recorded = counts(RECORDED["picks_retries_5"][:, 0], 40)
        assert chi_square(recorded, np.ones(40)) < LEVEL


@pytest.mark.slow
@pytest.mark.parametrize("name", RETRIES)
def test_later_picks_are_as_recorded(name: str) -> None:
    """From the recorded first center on, there is no difference left."""
    recorded = RECORDED[f"picks_retries_{name}"]
    retries = RETRIES[name] if name != "neg" else 2 + math.floor(math.log(K))
    found = np.array(
        [
            indices_of(
                ROWS,
                continued(
                    ROWS,
                    K,
                    "kmeans_plus_plus",
                    ROWS[recorded[seed, :1]],
                    random_seed=seed,
                    kmeans_plus_plus_num_retries=retries,
                ),
            )
            for seed in SEEDS
        ]
    )
    assert np.array_equal(found[:, 0], recorded[:, 0])
    wanted = RECORDED[f"potential_retries_{name}"]
    assert_likely(kolmogorov_smirnov(potentials(found), wanted), "potentials")
    assert_same_mean(potentials(found), wanted, "potentials")
    for i in range(1, K):
        first, second = (counts(sample[:, i], 40) for sample in (found, recorded))
        assert_likely(same_counts(first, second), f"pick {i}")


def test_retries_lower_the_potential(picks: dict[str, Array]) -> None:
    means = {name: potentials(found).mean() for name, found in picks.items()}
    print(means)
    assert means["0"] > means["1"] > means["2"]
    assert means["0"] > 1.5 * means["2"]
    recorded = {name: RECORDED[f"potential_retries_{name}"].mean() for name in RETRIES}
    assert recorded["0"] > recorded["1"] > recorded["2"]


def test_negative_retries_are_the_logarithm() -> None:
    for seed in range(20):
        for k in (2, 3, 8, 21):
            one, other = (
                seeded(
                    ROWS,
                    k,
                    "kmeans_plus_plus",
                    random_seed=seed,
                    kmeans_plus_plus_num_retries=retries,
                ).clusters
                for retries in (-7, 2 + math.floor(math.log(k)))
            )
            assert np.array_equal(one, other)


# ---- All methods ----


@pytest.mark.parametrize(("method", "metric"), list(zip(METHODS, itertools.cycle(METRICS))))
def test_rows_at_equal_distances_are_chosen_alike(method: str, metric: str) -> None:
    """Every ordered choice of 3 of 5 rows is equally likely."""
    rows = np.eye(5, dtype=np.float32)
    triples = {triple: i for i, triple in enumerate(itertools.permutations(range(5), 3))}
    found = []
    for seed in FEWER:
        clusters = seeded(
            rows, 3, method, random_seed=seed, distance_metric=metric, kmc2_chain_length=4
        ).clusters
        found.append(triples[tuple(indices_of(rows, clusters).tolist())])
    assert_likely(chi_square(counts(np.array(found), 60), np.ones(60)), "ordered choices")


def test_random_is_uniform_without_replacement() -> None:
    n, k = len(ROWS), 10
    found = np.array(
        [indices_of(ROWS, seeded(ROWS, k, "random", random_seed=s).clusters) for s in SEEDS]
    )
    assert all(len(set(sample)) == k for sample in found.tolist())
    chosen = counts(found.ravel(), n)
    # Rows of one sample exclude each other, which lowers the variance of their counts.
    assert_likely(chi_square(chosen, np.ones(n), (n - 1) / (n - k)), "chosen rows")
    for i in (0, k - 1):
        assert_likely(chi_square(counts(found[:, i], n), np.ones(n)), f"pick {i}")


def test_random_goes_by_weight() -> None:
    weights = np.array([0.0, 1, 2, 3, 4, 0, 0.5])
    rows = np.arange(7, dtype=np.float64)[:, None]
    pairs = np.zeros((7, 7))
    for seed in SEEDS:
        clusters = seeded(shoal.Weighted(rows, weights), 2, "random", random_seed=seed).clusters
        first, second = clusters[:, 0].astype(int)
        pairs[first, second] += 1
    share = weights / weights.sum()
    exact = share[:, None] * share[None] / (1 - share)[:, None]
    np.fill_diagonal(exact, 0)
    assert_likely(chi_square(pairs.ravel(), exact.ravel()), "ordered pairs")


@pytest.mark.slow
@pytest.mark.parametrize("method", BY_MASS)
def test_seeding_goes_by_weight(method: str) -> None:
    n = len(ROWS)
    weights = np.arange(n) % 5 * 1.5
    found = np.array(
        [
            indices_of(
                ROWS,
                seeded(
                    shoal.Weighted(ROWS, weights),
                    2,
                    method,
                    random_seed=seed,
                    kmeans_plus_plus_num_retries=0,
                ).clusters,
            )
            for seed in FEWER
        ]
    )
    share = weights / weights.sum()
    likely = weights * BETWEEN
    exact = share @ (likely / likely.sum(axis=1)[:, None])
    assert_likely(chi_square(counts(found[:, 0], n), share), "first center")
    assert_likely(chi_square(counts(found[:, 1], n), exact), "second center")


def repeated_rows(metric: str) -> tuple[Array, Array]:
    """Six rows, and each of them 1 to 200 times in random order."""
    generator = np.random.default_rng(5)
    distinct = generator.normal(size=(6, 3)).astype(np.float32)
    if metric == "squared_euclidean":
        distinct[0] = 0
    which = np.repeat(np.arange(6), [200, 100, 50, 20, 5, 1])
    generator.shuffle(which)
    rows = distinct[which]
    if metric == "cosine":  # distinct directions, at lengths that differ
        rows *= generator.integers(1, 50, size=(len(rows), 1)).astype(np.float32)
    return distinct, rows


def distinct_directions(clusters: Array, metric: str) -> int:
    if metric == "cosine":
        clusters = clusters.round(5)
    return len(np.unique(clusters, axis=0))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", BY_DISTANCE)
@pytest.mark.parametrize("length", [1, 7, 200])
def test_no_row_twice_while_another_differs(method: str, metric: str, length: int) -> None:
    distinct, rows = repeated_rows(metric)
    for seed in range(12):
        options = {"random_seed": seed, "distance_metric": metric, "kmc2_chain_length": length}
        state = seeded(rows, 6, method, **options)
        assert distinct_directions(state.clusters, metric) == 6
        # In batches: a batch may repeat a row only when it holds nothing else.
        batches = itertools.cycle(np.array_split(rows, 9))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            state = seeded(batches, 6, method, **options)
        repeats = sum(int(str(w.message).split(": ")[1].split()[0]) for w in caught)
        if method != "kmeans_plus_plus":
            assert distinct_directions(state.clusters, metric) >= 6 - repeats
        else:
            assert distinct_directions(state.clusters, metric) == 6 - repeats
    if metric == "squared_euclidean":
        state = seeded(rows, 6, method)
        assert {tuple(row) for row in state.clusters} == {tuple(row) for row in distinct}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", METHODS)
def test_repeated_rows_are_announced_once_with_their_number(method: str, metric: str) -> None:
    distinct, rows = repeated_rows(metric)
    if method == "random":  # which may leave some out
        rows = np.repeat(distinct, 3, axis=0)
    for k in (9, len(rows)):
        with pytest.warns(UserWarning, match="the data has fewer distinct rows than") as caught:
            state = seeded(rows, k, method, distance_metric=metric)
        assert len(caught) == 1
        repeated = k - distinct_directions(state.clusters, metric)
        assert f"clusters: {repeated} of the {k} centers repeat others" in str(caught[0].message)
        assert caught[0].filename == seeding_helpers.__file__  # where it was called
        assert method == "random" or repeated == k - 6
        assert distinct_directions(state.clusters, metric) <= 6


def test_rows_drawn_twice_at_random_are_told_in_the_log_where_there_are_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = np.r_[np.zeros(5000), np.arange(1, 41)].astype(np.uint8)[:, None]
    with caplog.at_level("INFO", "shoal"):
        state = seeded(rows, 41, "random")
    distinct = len(np.unique(state.clusters))
    assert f"{41 - distinct} of the 41 centers repeat others" in caplog.text
    with pytest.warns(UserWarning, match="fewer distinct rows than clusters"):
        seeded(rows, 42, "random")


@pytest.mark.parametrize("kind", ["array", "shards", "parquet"])
@pytest.mark.parametrize("method", ["kmc2", "afkmc2"])
def test_chains_look_at_all_rows_once_where_there_are_too_few_distinct_ones(
    placed: str, method: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    distinct = np.unique(generator.integers(0, 256, (300, 3)).astype(np.uint8), axis=0)
    rows = distinct[generator.integers(len(distinct), size=20_000)]
    passes = []
    measure = Passes.potential
    monkeypatch.setattr(Passes, "potential", lambda *given: passes.append(1) or measure(*given))
    data: Any = rows
    if kind == "shards":
        data = np.array_split(rows, 3)
    if kind == "parquet":
        table = pa.table({name: rows[:, i] for i, name in enumerate("abc")})
        pq.write_table(table, tmp_path / "x.parquet", row_group_size=3000)
        data = tmp_path / "x.parquet"
    model = shoal.KMeansClustering(1000, initial_clusters=method, use_mini_batch=False)
    with pytest.warns(UserWarning, match="700 of the 1000 centers repeat others") as caught:
        model.fit(data, steps=1, monitors=[first := Kept()])
    assert len(caught) == 1
    shards = 1 if placed == "here" else 3
    assert len(passes) == shards * (1 + (method == "afkmc2"))
    assert {tuple(row) for row in first.clusters} == {tuple(row) for row in distinct}


def test_chains_find_the_last_distinct_rows_without_a_pass_for_each() -> None:
    rows = np.random.default_rng(3).normal(size=(400, 8))
    for seed in range(5):
        state = seeded(rows, 400, "kmc2", random_seed=seed, kmc2_chain_length=5)
        assert len(np.unique(state.clusters, axis=0)) == 400


class Kept:
    """The centers before the first step."""

    def begin(self, context: Any) -> None:
        self.clusters = context.clusters.copy()


@pytest.mark.parametrize("kind", ["array", "parquet", "callable"])
@pytest.mark.parametrize("method", METHODS)
def test_the_number_of_centers_found_is_told_while_they_are_chosen(
    method: str, kind: str, tmp_path: Path
) -> None:
    rows = np.random.default_rng(1).normal(size=(200_000, 3)).astype(np.float32)
    data: Any = rows
    if kind == "parquet":
        table = pa.table({name: rows[:, i] for i, name in enumerate("abc")})
        pq.write_table(table, tmp_path / "x.parquet", row_group_size=70_000)
        data = tmp_path / "x.parquet"
    if kind == "callable":
        data = lambda: iter(np.array_split(rows, 3))  # noqa: E731
    told: list[int] = []

    class Told:
        def progress(self, context: Any) -> None:
            if context.phase == "choosing centers":
                told.append(context.centers_found)

        def begin(self, context: Any) -> None:
            told.append(context.centers_found)

    model = shoal.KMeansClustering(60, initial_clusters=method, use_mini_batch=False)
    model.fit(data, steps=1, monitors=[Told()])
    assert told == sorted(told)
    assert told[-1] == 60
    if method == "kmeans_plus_plus" and kind == "array":  # some at a time
        assert {1, 28, 55} <= set(told)
    if method == "kmeans_plus_plus" and kind == "parquet":
        assert {1, 28, 55} <= set(told)
    if method in ("kmc2", "afkmc2"):
        assert {1, 41} <= set(told)
    given = shoal.KMeansClustering(None, initial_clusters=rows[:7], use_mini_batch=False)
    given.fit(rows, steps=1, monitors=[Told()])
    assert told[-1] == 7


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", BY_DISTANCE)
def test_repeated_rows_are_announced_over_batches(method: str, metric: str) -> None:
    rows = np.random.default_rng(3).normal(size=(3, 4)).astype(np.float32)
    options = {"distance_metric": metric, "kmc2_chain_length": 3}
    with pytest.warns(UserWarning, match="the batches .* have fewer distinct rows") as caught:
        state = seeded(itertools.repeat(rows), 5, method, **options)
    assert sum(int(str(w.message).split(": ")[1].split()[0]) for w in caught) == 2
    assert distinct_directions(state.clusters, metric) == 3


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", METHODS)
def test_rows_of_no_weight_are_never_chosen(method: str, metric: str) -> None:
    generator = np.random.default_rng(11)
    rows = generator.normal(size=(60, 3)).astype(np.float32)
    rows[::2] *= 1000  # far away, and of no weight
    weights = np.where(np.arange(60) % 2, generator.uniform(0.1, 3, 60), 0.0)
    allowed = rows[1::2].astype(np.float64)
    if metric == "cosine":
        allowed /= np.linalg.norm(allowed, axis=1)[:, None]
    batches = [
        shoal.Weighted(rows[:7], weights[:7]),
        shoal.Weighted(rows[7:], weights[7:]),
    ]
    for seed in range(12):
        for inputs in (shoal.Weighted(rows, weights), batches, iter(batches * 50)):
            for length in (2, 50):
                state = seeded(
                    inputs,
                    6,
                    method,
                    random_seed=seed,
                    distance_metric=metric,
                    kmc2_chain_length=length,
                )
                off = abs(state.clusters[:, None] - allowed).max(axis=2).min(axis=1)
                assert (off < 1e-6).all()
                if not isinstance(inputs, (shoal.Weighted, list)):
                    break  # used up
    with pytest.warns(UserWarning, match="10 of the 40 centers repeat others"):
        state = seeded(shoal.Weighted(rows, weights), 40, method, distance_metric=metric)
    off = abs(state.clusters[:, None] - allowed).max(axis=2).min(axis=1)
    assert (off < 1e-6).all()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", METHODS)
def test_a_seed_gives_the_same_bits_for_any_split(method: str, metric: str, dtype: Any) -> None:
    generator = np.random.default_rng(2)
    rows = generator.normal(size=(4000, 6)).astype(dtype)
    rows[3000:] = rows[:1000]
    weights = generator.uniform(size=4000)

    def clusters(inputs: Any, **options: Any) -> Array:
        options = {"random_seed": 12, "kmc2_chain_length": 30, **options}
        return seeded(inputs, 12, method, distance_metric=metric, **options).clusters

    wanted = clusters(rows)
    assert wanted.dtype == dtype
    assert np.array_equal(wanted, clusters(rows))
    for threads in (2, 5):
        assert np.array_equal(wanted, clusters(rows, num_threads=threads))
    for shards in (1, 2, 5):
        split = np.array_split(rows, shards)
        assert np.array_equal(wanted, clusters(split, num_threads=2))
        assert np.array_equal(wanted, clusters(iter([split]), num_threads=2)) or method in (
            "kmc2",
            "afkmc2",
        )  # chains on streams go over groups of rows
    assert np.array_equal(clusters(iter([rows] * 9)), clusters(iter([split] * 9)))
    assert np.array_equal(wanted, clusters(np.asfortranarray(rows)))
    assert np.array_equal(wanted, clusters(np.repeat(rows, 2, axis=0)[::2]))
    assert not np.array_equal(wanted, clusters(rows, random_seed=13))
    weighted = clusters(shoal.Weighted(rows, weights))
    halves = [
        shoal.Weighted(rows[:1500], weights[:1500]),
        shoal.Weighted(rows[1500:], weights[1500:]),
    ]
    assert np.array_equal(weighted, clusters(halves, num_threads=3))


@pytest.mark.parametrize("method", METHODS)
def test_cosine_centers_have_length_one(method: str) -> None:
    generator = np.random.default_rng(4)
    for dtype, tolerance in ((np.float32, 2e-7), (np.float64, 1e-15)):
        rows = generator.normal(size=(50, 5)).astype(dtype) * dtype(300)
        rows[::3] *= dtype(1e-9)
        state = seeded(rows, 8, method, distance_metric="cosine")
        assert np.allclose(np.linalg.norm(state.clusters, axis=1), 1, rtol=0, atol=tolerance)
        unit = rows / np.linalg.norm(rows, axis=1)[:, None]
        off = abs(state.clusters[:, None] - unit).max(axis=2).min(axis=1)
        assert (off < 2 * tolerance).all()


def test_none_as_seed_is_fresh_and_recorded() -> None:
    one, other = (seeded(ROWS, K, "random", random_seed=None) for _ in range(2))
    assert one.seed != other.seed
    again = seeded(ROWS, K, "random", random_seed=one.seed)
    assert np.array_equal(one.clusters, again.clusters)
    assert seeded(ROWS, K, "random", random_seed=99).seed == 99


def test_streams_differ_by_seed_and_path() -> None:
    paths = [(0, SEEDING, 0, 0), (0, SEEDING, 0, 1), (0, SEEDING, 1, 0), (0, SHUFFLING, 0)]
    paths += [(1, SEEDING, 0, 0), (2**63, SEEDING, 0, 0), (2**63 + 1, SEEDING, 0, 0)]
    values = [Random(*path).uniform(4) for path in paths]
    assert len({value.tobytes() for value in values}) == len(paths)
    for path, value in zip(paths, values, strict=True):
        assert np.array_equal(Random(*path).uniform(4), value)
        assert ((value >= 0) & (value < 1)).all()
