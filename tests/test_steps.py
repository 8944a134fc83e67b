"""Steps of both kinds, against plain NumPy and examples worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from estimator_helpers import Recorder, full_batch, metrics, mini_batch, step_of
from helpers import column, distances, make_rows, unit

import shoal

# ---- k-means in plain NumPy ----


def assigned(rows, weights, centers, metric):
    """Sums and weights per cluster, and the loss."""
    found = distances(rows, centers, metric)
    labels = found.argmin(axis=1)
    values = unit(rows) if metric == "cosine" else rows
    sums = np.zeros_like(centers)
    np.add.at(sums, labels, weights[:, None] * values)
    mass = np.bincount(labels, weights, len(centers))
    return sums, mass, float((weights * found.min(axis=1)).sum())


def numpy_full_batch(rows, weights, centers, metric, steps):
    losses = []
    for _ in range(steps):
        sums, mass, loss = assigned(rows, weights, centers, metric)
        assert (mass > 0).all()
        centers = sums / mass[:, None]
        centers = unit(centers) if metric == "cosine" else centers
        losses.append(loss)
    return centers, losses


def numpy_mini_batch(batches, centers, metric, period):
    """What is stored: clusters, clusters_updated, counts; and the losses."""
    clusters = unit(centers) if metric == "cosine" else centers
    updated = clusters.copy()
    counts = np.full(len(centers), 1.0 if period <= 1 else 0.0)
    losses = []
    for number, (rows, weights) in enumerate(batches, 1):
        sums, mass, loss = assigned(rows, weights, clusters, metric)
        losses.append(loss)
        for j in np.flatnonzero(mass):
            updated[j] += (sums[j] - mass[j] * updated[j]) / (counts[j] + mass[j])
            counts[j] += mass[j]
        if period <= 1:
            clusters = updated.copy()
        elif number % period == 0:
            clusters = unit(updated) if metric == "cosine" else updated.copy()
            counts[:] = 0
    return clusters, updated, counts, losses


# ---- Steps against NumPy ----


@metrics
@pytest.mark.parametrize("weighted", [False, True])
def test_full_batch_against_numpy(metric, weighted):
    rows = make_rows()
    weights = np.random.default_rng(2).uniform(0, 4, len(rows)) if weighted else np.ones(len(rows))
    start = rows[:5] if metric == "squared_euclidean" else unit(rows[:5])
    seen = Recorder()
    model = full_batch(start, distance_metric=metric)
    model.fit(shoal.Weighted(rows, weights) if weighted else rows, steps=6, monitors=[seen])
    centers, losses = numpy_full_batch(rows, weights, start, metric, 6)
    np.testing.assert_allclose(model.clusters(), centers, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(seen.losses, losses, rtol=1e-12)
    np.testing.assert_allclose(
        model.get_variable_value("counts").sum(), weights.sum() if weighted else len(rows)
    )


@metrics
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("period", [0, 1, 3])
def test_mini_batch_against_numpy(metric, weighted, period):
    rows = make_rows()
    weights = np.random.default_rng(2).uniform(0, 4, len(rows)) if weighted else np.ones(len(rows))
    cuts = [40, 41, 100, 160, 220, 260]
    batches = list(zip(np.split(rows, cuts), np.split(weights, cuts), strict=True))
    start = rows[:5]
    model = mini_batch(start, distance_metric=metric, mini_batch_steps_per_iteration=period)
    seen = Recorder()
    given = [shoal.Weighted(*batch) if weighted else batch[0] for batch in batches]
    model.fit(iter(given), monitors=[seen])
    clusters, updated, counts, losses = numpy_mini_batch(batches, start, metric, period)
    for name, expected in (
        ("clusters", clusters),
        ("clusters_updated", updated),
        ("counts", counts),
    ):
        found = model.get_variable_value(name)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13, err_msg=name)
    np.testing.assert_allclose(seen.losses, losses, rtol=1e-12)
    users = unit(clusters) if metric == "cosine" else clusters
    np.testing.assert_allclose(model.clusters(), users, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(seen.clusters[-1], users, rtol=1e-11, atol=1e-13)


def test_first_batch_of_a_period_replaces_the_centers_it_touches():
    model = mini_batch([[0], [100]], mini_batch_steps_per_iteration=2)
    model.partial_fit(column(2, 4))
    assert model.get_variable_value("clusters").tolist() == [[0], [100]]
    assert model.get_variable_value("clusters_updated").tolist() == [[3], [100]]
    assert model.get_variable_value("counts").tolist() == [2, 0]
    assert model.get_variable_value("update_in_steps") == 1
    model.partial_fit(column(6))
    assert model.clusters().tolist() == [[4], [100]]
    assert model.get_variable_value("counts").tolist() == [0, 0]
    assert model.get_variable_value("update_in_steps") == 2


def test_the_initial_center_is_one_observation():
    model = mini_batch([[0], [100]])
    assert model.partial_fit(column(3, 6)).clusters().tolist() == [[3], [100]]
    assert model.get_variable_value("counts").tolist() == [3, 1]


def test_rows_of_weight_zero_count_for_nothing():
    rows = np.concatenate([make_rows(), np.full((1, 4), 1e3)])
    weights = np.append(np.ones(300), 0)
    for make in (full_batch, mini_batch):
        with_it = make(rows[:5]).fit(shoal.Weighted(rows, weights), steps=3, batch_size=1000)
        without = make(rows[:5]).fit(
            shoal.Weighted(rows[:300], weights[:300]), steps=3, batch_size=1000
        )
        np.testing.assert_allclose(with_it.clusters(), without.clusters(), rtol=1e-12)
        assert with_it.score(shoal.Weighted(rows, weights)) == with_it.score(
            shoal.Weighted(rows[:300], weights[:300])
        )


def test_a_mini_batch_of_weight_zero_is_no_step():
    model = mini_batch([[0], [10]])
    model.fit(iter([shoal.Weighted(column(1), [0.0]), shoal.Weighted(column(2), [1.0])]))
    assert model.clusters().tolist() == [[1], [10]]
    assert step_of(model) == 1
    weights = np.array([0.0, 0, 1, 0, 0])
    config = shoal.RunConfig(max_epochs=2)
    model = mini_batch([[0], [10]], config=config).fit(
        column(1, 1, 6, 1, 1), batch_size=1, sample_weight=weights
    )
    assert model.clusters().tolist() == [[0], [22 / 3]]
    assert step_of(model) == 2
    with pytest.raises(shoal.BadInputError, match="weights are zero"):
        model.fit(column(1, 2), sample_weight=[0.0, 0.0])


def test_seeding_passes_over_batches_of_weight_zero():
    for seeding in ("random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2"):
        batches = [
            shoal.Weighted(column(1, 2), [0.0, 0.0]),
            shoal.Weighted(column(3, 9), [1.0, 2.0]),
        ]
        model = shoal.KMeansClustering(2, initial_clusters=seeding, kmc2_chain_length=1)
        model.fit(lambda batches=batches: iter(batches), steps=1)
        assert sorted(model.clusters().ravel().tolist()) == [3, 9], seeding


# ---- Empty clusters ----


def one_step(rows, centers, weights=None, **more):
    model = full_batch(centers, **more)
    seen = Recorder()
    model.fit(rows if weights is None else shoal.Weighted(rows, weights), steps=1, monitors=[seen])
    return model.clusters().tolist(), seen.losses[0]


RELOCATIONS = {
    "farthest row to the lowest empty index": (
        [0, 1, 4, 10, 20],
        [0, 100, 200, 12],
        [0.5, 20, 4, 10],
    ),
    "equal distances in order of the rows": ([3, -3, 0], [0, 50, 60], [0, 3, -3]),
    "the last row of a cluster stays": ([0, 1, 9], [0.5, 5, 100], [1, 9, 0]),
    "rows at distance zero stay": ([0, 0, 0], [0, 5, 6], [0, 5, 6]),
    "fewer rows than empty clusters": ([0, 2], [1, 5, 6], [2, 0, 6]),
    "all rows but one leave": ([-1, 5, 9], [1, 50, 60], [-1, 9, 5]),
}


@pytest.mark.parametrize("case", RELOCATIONS)
def test_relocation(case):
    rows, centers, expected = (column(*values) for values in RELOCATIONS[case])
    loss = float(((rows - centers.T) ** 2).min(axis=1).sum())
    assert one_step(rows, centers) == (expected.tolist(), loss)
    assert one_step([rows[:1], rows[1:]], centers) == (expected.tolist(), loss)
    assert one_step(lambda: iter([rows[:2], rows[2:]]), centers) == (expected.tolist(), loss)


def test_relocation_leaves_rows_of_weight_zero():
    rows = column(0, 2, 9)
    assert one_step(rows, column(0, 100), [1.0, 2.0, 0.0])[0] == [[0], [2]]
    assert one_step(rows, column(0, 100), [2.0, 0.0, 0.0])[0] == [[0], [100]]


def test_relocation_moves_the_weight_too():
    # Row 9 (weight 2) leaves 0's cluster, whose mean is then (1·0 + 3·2) / 4.
    assert one_step(column(0, 2, 9), column(0, 100), [1.0, 3.0, 2.0])[0] == [[1.5], [9]]


def test_relocation_under_cosine():
    rows = np.array([[2.0, 0], [0, 3], [-4, 0]])
    clusters, loss = one_step(rows, [[1, 0], [-1, -1], [-1, -1]], distance_metric="cosine")
    # [-4, 0] goes to cluster 1 on its own; [0, 3] is at distance 1 from [1, 0].
    assert clusters == [[1, 0], [-1, 0], [0, 1]]
    assert loss == pytest.approx(0 + 1 + (1 - math.sqrt(0.5)))


def test_empty_clusters_keep():
    assert one_step(column(0, 1, 4), column(1, 100), empty_clusters="keep") == (
        [[5 / 3], [100]],
        10,
    )


def test_empty_clusters_error():
    model = full_batch(column(1, 100), empty_clusters="error")
    with pytest.raises(shoal.BadInputError, match="cluster 1 has no rows"):
        model.fit(column(0, 1, 4))
    assert model.clusters().tolist() == [[1], [100]]  # as given
    assert full_batch(column(0, 4), empty_clusters="error").fit(column(0, 1, 4)).clusters().size


# ---- Cosine ----


def test_zero_rows_under_cosine():
    rows = np.array([[0.0, 0], [1e-30, 0], [0, 5]])
    model = mini_batch([[1, 0], [0, 1]], distance_metric="cosine")
    model.fit(rows, steps=1, batch_size=3)
    # Cluster 0: the center, the zero row, [1e-30, 0].
    assert model.get_variable_value("clusters").tolist() == [[2 / 3, 0], [0, 1]]
    assert model.get_variable_value("counts").tolist() == [3, 2]
    assert model.clusters().tolist() == [[1, 0], [0, 1]]
    found = model.predict(rows, as_iterable=False)
    assert found["cluster_idx"].tolist() == [0, 0, 1]
    assert found["scores"].tolist() == [1, 0, 0]
    assert found["all_scores"].tolist() == [[1, 1], [0, 1], [1, 0]]
    assert model.score(rows) == 1


def test_a_cluster_without_direction_stays():
    rows = np.array([[1.0, 0], [-1, 0], [0, -3]])
    model = full_batch([[0, 1], [0, -1]], distance_metric="cosine", empty_clusters="keep")
    assert model.fit(rows, steps=1).clusters().tolist() == [[0, 1], [0, -1]]
    assert model.fit(np.zeros((3, 2)), steps=1).clusters().tolist() == [[0, 1], [0, -1]]


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_cosine_ignores_length(scale):
    rows = make_rows()
    expected = full_batch(rows[:5], distance_metric="cosine").fit(rows)
    model = full_batch(rows[:5] * scale, distance_metric="cosine").fit(rows * scale)
    np.testing.assert_allclose(model.clusters(), expected.clusters(), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(model.clusters(), axis=1), 1, rtol=1e-15)
