"""The first centers from successive batches; given centers and callables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from seeding_helpers import (
    Array,
)

import shoal
from shoal.steps.seeding import METHODS

pytestmark = pytest.mark.usefixtures("placed")

# ---- Successive batches ----


def numbered(*sizes: int) -> Iterator[Array]:
    """Batches whose rows are 0, 1, 2, …."""
    start = 0
    for size in sizes:
        yield np.arange(start, start + size, dtype=np.float64)[:, None]
        start += size


def found_by_round(program: shoal.KMeans) -> list[int]:
    graph, numbers = program.training_graph(), []
    while not graph.cluster_centers_initialized:
        graph.init_op()
        numbers.append(program.state.num_found)
        assert program.state.seeding_rounds == len(numbers)
        assert len(program.state.clusters_updated) == numbers[-1]
    return numbers


@pytest.mark.parametrize("method", ["random", "kmeans_plus_plus", "kmeans_parallel"])
def test_whole_batches_while_there_are_too_few(method: str) -> None:
    program = shoal.KMeans(numbered(4, 3, 1, 20), 10, method)
    assert found_by_round(program) == [4, 7, 8, 10]
    values = program.state.clusters[:, 0]
    assert values[:8].tolist() == list(range(8))
    assert ((values[8:] >= 8) & (values[8:] < 28)).all()
    assert len(set(values)) == 10
    exact = shoal.KMeans(numbered(4, 6), 10, method)
    assert found_by_round(exact) == [4, 10]
    assert exact.state.clusters[:, 0].tolist() == list(range(10))


@pytest.mark.parametrize("method", ["kmc2", "afkmc2"])
def test_number_of_chains_per_batch(method: str) -> None:
    for seed in range(20):
        program = shoal.KMeans(
            numbered(35, 7, 9, 10, 20, 100, 100),
            12,
            method,
            kmc2_chain_length=10,
            random_seed=seed,
        )
        assert found_by_round(program) == [3, 4, 5, 6, 8, 12]
        values = program.state.clusters[:, 0]
        batches = np.repeat(np.arange(7), [35, 7, 9, 10, 20, 100, 100])[values.astype(int)]
        assert batches.tolist() == [0, 0, 0, 1, 2, 3, 4, 4, 5, 5, 5, 5]
        if method == "kmc2":  # each chain over its own group of rows
            starts = np.repeat([0, 35, 42, 51, 61, 81], [3, 1, 1, 1, 2, 4])
            groups = (values - starts)[1:] // 10
            assert groups.tolist() == [1, 2, 0, 0, 0, 0, 1, 0, 1, 2, 3]


@pytest.mark.parametrize("method", ["kmc2", "afkmc2"])
def test_all_chains_in_memory_at_once(method: str) -> None:
    program = shoal.KMeans(next(numbered(30)), 12, method)
    assert found_by_round(program) == [12]


@pytest.mark.parametrize("method", METHODS)
def test_input_that_ends_early(method: str) -> None:
    program = shoal.KMeans(numbered(1, 1, 1), 5, method)
    graph = program.training_graph()
    for _ in range(3):
        graph.init_op()
    assert graph.cluster_centers_initialized is False
    for _ in range(2):
        with pytest.raises(shoal.TooFewRowsError, match=r"num_clusters is 5\b.* 3 centers"):
            graph.init_op()
    assert program.state.num_found == 3
    with pytest.raises(shoal.NotInitializedError, match="3 of 5"):
        graph.training_op()
    with pytest.raises(ValueError, match=r"num_clusters is 5\b.* 3 centers"):
        shoal.KMeansClustering(5, initial_clusters=method).fit(
            input_fn=lambda: numbered(1, 1, 1), steps=1
        )
    with pytest.raises(ValueError, match=r"num_clusters is 5\b.* 3 rows"):
        shoal.KMeansClustering(5, initial_clusters=method).fit(next(numbered(3)))


# ---- Given centers and callables ----


@pytest.mark.parametrize("k", [3, None])
def test_given_centers_are_taken_as_they_are(k: int | None) -> None:
    given = np.array([[5.0], [5.0], [-1.0]])
    batches = numbered(4, 4)
    program = shoal.KMeans(batches, k, given, use_mini_batch=True)
    graph = program.training_graph()
    assert graph.cluster_centers_initialized is True
    graph.init_op()
    assert np.array_equal(program.state.clusters, given)
    assert program.state.seeding_rounds == 0
    given[:] = 0  # the program has its own copy
    assert program.state.clusters[0, 0] == 5
    assert next(batches)[0, 0] == 0  # no batch was used up


def test_callable_gets_shards_and_the_number_missing() -> None:
    calls: list[tuple[list[Array], int]] = []

    def choose(inputs: list[Array], remaining: int) -> Array:
        assert isinstance(inputs, list)
        calls.append((inputs, remaining))
        return inputs[-1][: min(2, remaining)] if len(calls) != 2 else []

    batches = list(numbered(4, 3, 3, 6))
    shards = [[batches[0]], [batches[1]], [batches[2], batches[3]], [batches[0]]]
    program = shoal.KMeans(iter(shards), 5, choose)
    assert found_by_round(program) == [2, 2, 4, 5]
    assert program.state.clusters[:, 0].tolist() == [0, 1, 10, 11, 0]
    assert [remaining for _, remaining in calls] == [5, 3, 3, 1]
    for (inputs, _), wanted in zip(calls, shards, strict=True):
        assert len(inputs) == len(wanted)
        assert all(np.array_equal(a, b) for a, b in zip(inputs, wanted, strict=True))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, _: x[0][:4], "returned 4 rows where 3 were missing"),
        (lambda x, _: x[0][:2, 0], r"shape \(2,\)"),
        (lambda _x, _: np.ones((2, 5)), r"shape \(2, 5\)"),
        (lambda x, _: x[0][:2] * np.nan, "returned nan in row 0, column 0"),
        (lambda _x, _: [["a"]], "dtype <U1"),
        (lambda _x, _: [[1.0], [1.0, 2.0]], "ragged"),
    ],
)
def test_callable_that_answers_wrongly(answer: Callable[..., Any], message: str) -> None:
    program = shoal.KMeans(next(numbered(10)), 3, answer)
    with pytest.raises(ValueError, match=message):
        program.training_graph().init_op()


def test_callable_that_never_answers() -> None:
    program = shoal.KMeans(itertools.repeat(np.ones((2, 1))), 3, lambda _, __: np.empty((0, 1)))
    graph = program.training_graph()
    for _ in range(99):
        graph.init_op()
    with pytest.raises(ValueError, match="no rows for 100 batches in a row: 0 of 3"):
        graph.init_op()


def test_callable_that_raises() -> None:
    def choose(_inputs: list[Array], _remaining: int) -> Array:
        raise ValueError("inhomogeneous, says the user")

    with pytest.raises(ValueError, match="says the user"):
        shoal.KMeans(np.ones((2, 1)), 3, choose).training_graph().init_op()
