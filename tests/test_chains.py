"""k-MC² and AFK-MC²: the distribution of what their Markov chains choose."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from seeding_helpers import (
    BETWEEN,
    BY_MASS,
    FEWER,
    GOLDEN,
    ROWS,
    SEEDS,
    Array,
    assert_likely,
    continued,
    counts,
    indices_of,
    seeded,
    squared,
)
from statistics_helpers import chi_square, same_counts

import shoal
from shoal.steps import chains
from shoal.steps.chains import run_chain
from shoal.steps.random import SEEDING, Random

pytestmark = pytest.mark.usefixtures("placed")

# ---- Markov chains ----


def fixed_chain(target: Array) -> Array:
    """Distribution of the end of a chain over the candidates 0, 1, … in this order."""
    at = np.zeros(len(target))
    at[0] = 1
    for i in range(1, len(target)):
        accept = np.minimum(1, np.divide(target[i], target, where=target > 0, out=np.ones(len(at))))
        moved = (at[:i] * accept[:i]).sum()
        at[:i] *= 1 - accept[:i]
        at[i] = moved
    return at


def free_chain(target: Array, proposal: Array, length: int) -> Array:
    """Distribution of the end of a chain of proposals, given that it is not at a center."""
    q = proposal / proposal.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        accept = np.minimum(1, target[None] * q[:, None] / (target[:, None] * q[None]))
    accept = np.where(target[:, None] > 0, accept, 1.0)
    accept = np.where(target[None] > 0, accept, 0.0)
    move = accept * q[None]
    move[np.diag_indices(len(q))] += 1 - move.sum(axis=1)
    at = q @ np.linalg.matrix_power(move, length - 1)
    at = np.where(target > 0, at, 0)
    return at / at.sum()


@pytest.mark.parametrize(("name", "places"), [("", (6, 9)), ("_large", None)])
def test_chain_over_recorded_distances(name: str, places: tuple[int, int] | None) -> None:
    with np.load(GOLDEN / "kmc2_chain.npz") as file:
        distances, recorded = file[f"distances{name or ''}"], file[f"index{name}"]
    target, n = distances.astype(np.float64), len(distances)
    exact = fixed_chain(target)
    if places:
        assert exact[list(places)] == pytest.approx([0.4785, 0.5215], abs=5e-5)
    else:
        assert np.sort(exact)[-2:] == pytest.approx([0.5, 0.5], abs=1e-3)
    ones = np.ones(n)
    ends = np.array(
        [
            run_chain(target, ones, Random(seed, SEEDING, 0, 1).uniform(n))
            for seed in range(4000 if n < 100 else 1000)
        ]
    )
    assert_likely(chi_square(counts(ends, n), exact), "end of the chain")
    assert_likely(same_counts(counts(ends, n), counts(recorded, n)), "as recorded")


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("length", [1, 5, 200])
@pytest.mark.parametrize("method", ["kmc2", "afkmc2"])
def test_second_center_of_chains(method: str, length: int, weighted: bool) -> None:
    first, n = 7, len(ROWS)
    weights = np.arange(n) % 4 * 0.5 if weighted else np.ones(n)
    inputs = shoal.Weighted(ROWS, weights) if weighted else ROWS
    target = weights * BETWEEN[first]
    proposal = np.ones(n)
    if method == "afkmc2":
        proposal = target / target.sum() / 2 + weights / weights.sum() / 2
    exact = free_chain(target, proposal, length)
    if length == 200:
        assert np.allclose(exact, target / target.sum(), rtol=0, atol=1e-3)  # one row is far
    second = [
        indices_of(
            ROWS,
            continued(inputs, 2, method, ROWS[[first]], random_seed=seed, kmc2_chain_length=length),
        )[1]
        for seed in FEWER
    ]
    assert_likely(chi_square(counts(np.array(second), n), exact), "second center")


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("method", ["kmc2", "afkmc2"])
@pytest.mark.slow
def test_chains_have_random_streams_of_their_own(method: str, batches: bool) -> None:
    """The joint distribution of two centers, from one batch and from two."""
    rows = np.array([[4.0], [0.0], [1.0], [3.0], [7.0], [9.0]])
    between, n = squared(rows), len(rows)
    length = 20 if batches else 2
    proposal = np.ones(n)
    if method == "afkmc2":
        proposal = between[0] / between[0].sum() / 2 + 1 / (2 * n)

    def ends(target: Array) -> Array:
        if batches and method == "kmc2":
            return fixed_chain(target)
        return free_chain(target, proposal, length)

    exact = np.zeros((n, n))
    for second, likely in enumerate(ends(between[0])):
        if likely:
            exact[second] = likely * ends(np.minimum(between[0], between[second]))
    found = np.zeros((n, n))
    for seed in SEEDS:
        inputs = itertools.repeat(rows) if batches else rows
        options = {"random_seed": seed, "kmc2_chain_length": length}
        chosen = indices_of(rows, continued(inputs, 3, method, rows[:1], **options))
        found[chosen[1], chosen[2]] += 1
    assert_likely(chi_square(found.ravel(), exact.ravel()), "second and third center")


def test_proposal_of_afkmc2(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[chains.Proposed] = []
    by_chains = chains._by_chains

    def recorded(offered: Any, propose: Any, before: Any) -> Array:
        asked.append(propose(range(50), [Random(5, chain) for chain in range(50)]))
        return by_chains(offered, propose, before)

    monkeypatch.setattr(chains, "_by_chains", recorded)
    for weights in (None, np.ones(len(ROWS)), np.arange(len(ROWS)) * 0.25):
        data = ROWS if weights is None else shoal.Weighted(ROWS, weights)
        clusters = seeded(data, 3, "afkmc2", kmc2_chain_length=100).clusters
        mass = np.ones(len(ROWS)) if weights is None else weights
        share = mass / mass.sum()
        far = mass * BETWEEN[indices_of(ROWS, clusters)[0]]
        expected = far / far.sum() / 2 + share / 2
        drawn, density, ends = asked.pop()
        assert ends == list(range(100, 5001, 100))
        assert np.array_equal(drawn.rows, ROWS[drawn.indices])
        assert np.allclose(density / 2, expected[drawn.indices], rtol=1e-9, atol=1e-15)
        counts = np.bincount(drawn.indices, minlength=len(ROWS))
        assert_likely(chi_square(counts[expected > 0], expected[expected > 0]), "proposals")


@pytest.mark.slow
@pytest.mark.parametrize("method", BY_MASS)
def test_both_centers_without_retries_or_with_long_chains(method: str) -> None:
    n = len(ROWS)
    found = np.array(
        [
            indices_of(
                ROWS,
                seeded(ROWS, 2, method, random_seed=seed, kmeans_plus_plus_num_retries=0).clusters,
            )
            for seed in FEWER
        ]
    )
    exact = (BETWEEN / BETWEEN.sum(axis=1)[:, None]).mean(axis=0)
    assert_likely(chi_square(counts(found[:, 0], n), np.ones(n)), "first center")
    assert_likely(chi_square(counts(found[:, 1], n), exact), "second center")
