"""KMeansClustering: every method, against plain NumPy and examples worked out by hand."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import logging
import math
import multiprocessing
import os
import pickle
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from helpers import column, distances, make_rows, unit

import shoal

METRICS = ("squared_euclidean", "cosine")
metrics = pytest.mark.parametrize("metric", METRICS)


def full_batch(centers, **more):
    centers = np.asarray(centers, np.float64)
    return shoal.KMeansClustering(None, initial_clusters=centers, use_mini_batch=False, **more)


def mini_batch(centers, **more):
    centers = np.asarray(centers, np.float64)
    return shoal.KMeansClustering(None, initial_clusters=centers, **more)


class Recorder:
    """A monitor that keeps what it is told."""

    def __init__(self, stop_at=None):
        self.events, self.steps, self.losses, self.clusters = [], [], [], []
        self.stop_at = stop_at

    def begin(self, context):
        self.events.append("begin")
        self.clusters.append(context.clusters)

    def before_step(self, _context):
        self.events.append("before_step")

    def after_step(self, context):
        self.events.append("after_step")
        self.steps.append(context.step)
        self.losses.append(context.loss)
        self.clusters.append(context.clusters)
        return context.step == self.stop_at

    def end(self, _context):
        self.events.append("end")


def step_of(model):
    return model.get_variable_value("global_step")


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
    model.fit((rows, weights) if weighted else rows, steps=6, monitors=[seen])
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
    model.fit(iter(batches if weighted else [rows for rows, _ in batches]), monitors=[seen])
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
        with_it = make(rows[:5]).fit((rows, weights), steps=3, batch_size=1000)
        without = make(rows[:5]).fit((rows[:300], weights[:300]), steps=3, batch_size=1000)
        np.testing.assert_allclose(with_it.clusters(), without.clusters(), rtol=1e-12)
        assert with_it.score((rows, weights)) == with_it.score((rows[:300], weights[:300]))


def test_a_mini_batch_of_weight_zero_is_no_step():
    model = mini_batch([[0], [10]])
    model.fit(iter([(column(1), [0.0]), (column(2), [1.0])]))
    assert model.clusters().tolist() == [[1], [10]]
    assert step_of(model) == 1
    weights = np.array([0.0, 0, 1, 0, 0])
    config = shoal.RunConfig(max_epochs=2)
    model = mini_batch([[0], [10]], config=config).fit(
        (column(1, 1, 6, 1, 1), weights), batch_size=1
    )
    assert model.clusters().tolist() == [[0], [22 / 3]]
    assert step_of(model) == 2
    with pytest.raises(shoal.BadInputError, match="weights are zero"):
        model.fit((column(1, 2), [0.0, 0.0]))


def test_seeding_passes_over_batches_of_weight_zero():
    for seeding in ("random", "kmeans_plus_plus", "kmc2", "afkmc2"):
        batches = [(column(1, 2), [0.0, 0.0]), (column(3, 9), [1.0, 2.0])]
        model = shoal.KMeansClustering(2, initial_clusters=seeding, kmc2_chain_length=1)
        model.fit(lambda batches=batches: iter(batches), steps=1)
        assert sorted(model.clusters().ravel().tolist()) == [3, 9], seeding


# ---- Empty clusters ----


def one_step(rows, centers, weights=None, **more):
    model = full_batch(centers, **more)
    seen = Recorder()
    model.fit(rows if weights is None else (rows, weights), steps=1, monitors=[seen])
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
    with pytest.raises(shoal.NotFittedError):
        model.clusters()
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


# ---- Inference ----


@pytest.fixture(params=METRICS)
def trained(request):
    rows = make_rows()
    model = shoal.KMeansClustering(5, distance_metric=request.param, use_mini_batch=False)
    return model.fit(rows), rows, request.param


def test_predict_arrays(trained):
    model, rows, metric = trained
    found = model.predict(rows, as_iterable=False)
    assert list(found) == ["cluster_idx", "scores", "all_scores"]
    expected = distances(rows, model.clusters(), metric)
    np.testing.assert_allclose(found["all_scores"], expected, rtol=1e-12, atol=1e-14)
    assert found["cluster_idx"].dtype == np.int64
    assert found["cluster_idx"].tolist() == expected.argmin(axis=1).tolist()
    np.testing.assert_allclose(found["scores"], expected.min(axis=1), rtol=1e-12, atol=1e-14)


def test_predict_rows(trained):
    model, rows, _ = trained
    arrays = model.predict(rows, as_iterable=False)
    iterator = model.predict(rows)
    assert iter(iterator) is iterator
    for i, row in enumerate(iterator):
        assert list(row) == ["cluster_idx", "scores", "all_scores"]
        assert row["cluster_idx"] == arrays["cluster_idx"][i]
        assert row["scores"] == arrays["scores"][i]
        assert row["all_scores"].tolist() == arrays["all_scores"][i].tolist()
    assert i == len(rows) - 1


@pytest.mark.parametrize(
    ("data", "batch_size", "sizes"),
    [
        (lambda rows: rows, 128, [128, 128, 44]),
        (lambda rows: [rows[:100], rows[100:]], None, [300]),
        (lambda rows: iter([rows[:10], rows[10:10], [rows[10:50], rows[50:]]]), None, [10, 290]),
    ],
)
def test_predict_batches(trained, data, batch_size, sizes):
    model, rows, _ = trained
    arrays = model.predict(rows, as_iterable=False)
    batches = list(model.predict(data(rows), batch_size=batch_size, iterate_batches=True))
    assert [len(batch["scores"]) for batch in batches] == sizes
    for name, expected in arrays.items():
        joined = np.concatenate([batch[name] for batch in batches])
        assert joined.tobytes() == expected.tobytes()


def test_batches_do_not_depend_on_shards(trained):
    model, rows, _ = trained
    for shards in ([rows[:100], rows[100:]], [rows[:1], rows[1:1], rows[1:]]):
        batches = model.predict(shards, batch_size=64, iterate_batches=True)
        assert [len(batch["scores"]) for batch in batches] == [64, 64, 64, 64, 44]
        assert model.evaluate(shards, batch_size=64, steps=3) == model.evaluate(
            rows, batch_size=64, steps=3
        )


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (["scores"], ["scores"]),
        ("cluster_idx", ["cluster_idx"]),
        (("all_scores", "scores"), ["all_scores", "scores"]),
        (None, ["cluster_idx", "scores", "all_scores"]),
    ],
)
def test_predict_outputs(trained, outputs, names):
    model, rows, _ = trained
    everything = model.predict(rows, as_iterable=False)
    found = model.predict(rows, outputs=outputs, as_iterable=False)
    assert list(found) == names
    for name in names:
        assert found[name].tobytes() == everything[name].tobytes()
    assert list(next(model.predict(rows, outputs=outputs))) == names


@pytest.mark.parametrize("outputs", [["clusters"], "labels", ["scores", 3], []])
def test_predict_refuses_unknown_outputs(trained, outputs):
    model, rows, _ = trained
    with pytest.raises(ValueError, match="outputs"):
        model.predict(rows, outputs=outputs)


def test_predict_takes_one_of_x_and_input_fn(trained):
    model, rows, _ = trained
    with pytest.raises(ValueError, match="neither"):
        model.predict()
    with pytest.raises(ValueError, match="both"):
        model.predict(rows, input_fn=lambda: rows)
    found = model.predict(input_fn=lambda: rows, as_iterable=False)
    assert found["scores"].shape == (300,)


@pytest.mark.parametrize(
    "data",
    [
        lambda rows: rows,
        lambda rows: lambda: rows,
        lambda rows: lambda: iter(np.split(rows, [7, 99])),
        lambda rows: iter([rows]),
    ],
)
def test_methods_that_take_input_fn_take_the_data_too(trained, data):
    model, rows, metric = trained
    expected = distances(rows, model.clusters(), metric)
    labels = list(model.predict_cluster_idx(data(rows)))
    assert labels == expected.argmin(axis=1).tolist()
    assert all(type(label) is int for label in labels)
    np.testing.assert_allclose(model.transform(data(rows)), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        list(model.transform(data(rows), as_iterable=True)), expected, rtol=1e-12, atol=1e-14
    )
    assert model.score(data(rows)) == pytest.approx(expected.min(axis=1).sum(), rel=1e-12)


@metrics
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1000])
def test_scores_are_the_entry_of_all_scores(metric, dtype, offset):
    rows = make_rows(n=700, d=11, k=9, dtype=dtype) + dtype(offset)
    model = shoal.KMeansClustering(9, distance_metric=metric).partial_fit(rows)
    for data in (rows, np.asfortranarray(rows), rows[::2], rows[:, ::-1][:, ::-1]):
        found = model.predict(data, as_iterable=False)
        labels, scores, everything = (
            found[name] for name in ("cluster_idx", "scores", "all_scores")
        )
        assert scores.dtype == everything.dtype == dtype
        assert scores.tobytes() == everything[np.arange(len(data)), labels].tobytes()
        assert (scores == everything.min(axis=1)).all()
        assert (everything >= 0).all()
        if metric == "cosine":
            assert (everything <= 2).all()
    itself = model.transform(model.clusters().astype(dtype))
    assert np.diagonal(itself).max() < 1e-6


def test_ties_go_to_the_lowest_index():
    model = full_batch([[1], [-1], [-1], [1]]).partial_fit(column(5))
    model.restore(model.state.replace(clusters=column(1, -1, -1, 1)))
    assert list(model.predict_cluster_idx(column(0, -1, 1, -7, 7))) == [0, 1, 0, 1, 0]


def test_score_of_the_first_batches(trained):
    model, rows, metric = trained
    nearest = distances(rows, model.clusters(), metric).min(axis=1)
    batches = np.split(rows, [10, 60, 200])
    for steps, seen in ((None, 300), (1, 10), (2, 60), (3, 200), (9, 300)):
        for data in (iter(batches), lambda: iter(batches)):
            assert model.score(data, steps) == pytest.approx(nearest[:seen].sum(), rel=1e-12)
    assert model.score(shoal.open(rows, batch_size=60), steps=2) == pytest.approx(
        nearest[:120].sum(), rel=1e-12
    )
    with pytest.raises(ValueError, match="steps"):
        model.score(rows, steps=0)


def test_score_is_weighted(trained):
    model, rows, metric = trained
    weights = np.random.default_rng(3).uniform(0, 2, len(rows))
    nearest = distances(rows, model.clusters(), metric).min(axis=1)
    total = (weights * nearest).sum()
    assert model.score((rows, weights)) == pytest.approx(total, rel=1e-12)
    found = model.evaluate((rows, weights))
    assert found["loss"] == pytest.approx(total / weights.sum(), rel=1e-12)
    assert found["num_rows"] == 300


def test_evaluate(trained):
    model, rows, metric = trained
    nearest = distances(rows, model.clusters(), metric).min(axis=1)
    found = model.evaluate(rows)
    assert found == {
        "scores": model.score(rows),
        "loss": pytest.approx(nearest.mean(), rel=1e-12),
        "num_rows": 300,
        "global_step": step_of(model),
    }
    assert model.evaluate(input_fn=lambda: rows, name="again") == found
    part = model.evaluate(rows, batch_size=70, steps=2)
    assert part["num_rows"] == 140
    assert part["scores"] == pytest.approx(nearest[:140].sum(), rel=1e-12)
    assert part["loss"] == pytest.approx(nearest[:140].mean(), rel=1e-12)


def test_evaluate_metrics(trained):
    model, rows, _ = trained
    given = {}

    def largest(rows, cluster_idx, scores, clusters):
        given.update(rows=rows, cluster_idx=cluster_idx, scores=scores, clusters=clusters)
        return np.bincount(cluster_idx).max()

    found = model.evaluate(
        rows, batch_size=64, steps=3, metrics={"largest": largest, "one": lambda *_: 1}
    )
    expected = model.predict(rows[:192], as_iterable=False)
    assert found["largest"] == np.bincount(expected["cluster_idx"]).max()
    assert found["one"] == 1
    assert given["rows"].tobytes() == rows[:192].tobytes()
    assert given["cluster_idx"].tolist() == expected["cluster_idx"].tolist()
    assert given["scores"].tobytes() == expected["scores"].tobytes()
    assert given["clusters"].tobytes() == model.clusters().tobytes()
    with pytest.raises(ValueError, match="metrics"):
        model.evaluate(rows, metrics={"wrong": 3})


def test_evaluate_hooks(trained):
    model, rows, _ = trained
    seen = Recorder()
    model.evaluate(rows, batch_size=100, hooks=[seen])
    assert seen.events == ["begin", *["before_step", "after_step"] * 3, "end"]
    assert seen.losses[-1] == model.score(rows)
    assert seen.steps == [step_of(model)] * 3

    class Stop:
        def after_step(self, _context):
            return True

    assert model.evaluate(rows, batch_size=100, hooks=[Stop()])["num_rows"] == 100


def test_inference_changes_nothing(trained):
    model, rows, _ = trained
    before = model.state
    model.predict(rows, as_iterable=False)
    model.transform(rows)
    model.evaluate(rows)
    assert model.state is before


@pytest.mark.parametrize(
    "call",
    [
        lambda model, rows: model.predict(rows),
        lambda model, rows: model.predict_cluster_idx(rows),
        lambda model, rows: model.transform(rows),
        lambda model, rows: model.transform(rows, as_iterable=True),
        lambda model, rows: model.score(rows),
        lambda model, rows: model.evaluate(rows),
        lambda model, _: model.clusters(),
        lambda model, _: model.get_variable_names(),
        lambda model, _: model.get_variable_value("clusters"),
        lambda model, rows: model.model_fn(rows, None, "infer"),
    ],
)
def test_untrained(call):
    with pytest.raises(shoal.NotFittedError, match="call fit"):
        call(shoal.KMeansClustering(2), make_rows())
    assert issubclass(shoal.NotFittedError, ValueError)
    assert issubclass(shoal.NotFittedError, AttributeError)


def test_other_number_of_columns(trained):
    model, rows, _ = trained
    for call in (model.predict, model.transform, model.score, model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"3 columns.* 4"):
            call(rows[:, :3])


# ---- What the model holds ----


def test_clusters_are_a_copy(trained):
    model, _, _ = trained
    model.clusters()[:] = 7
    model.get_variable_value("clusters")[:] = 7
    assert (model.clusters() != 7).all()


def test_variables(trained):
    model, _, metric = trained
    names = model.get_variable_names()
    assert names == sorted(names)
    assert {
        "clusters",
        "clusters_updated",
        "counts",
        "global_step",
        "initialized",
        "update_in_steps",
    } <= set(names)
    np.testing.assert_allclose(
        model.get_variable_value("clusters"), model.clusters(), rtol=1e-15 * (metric == "cosine")
    )
    assert model.get_variable_value("initialized") is True
    assert model.get_variable_value("counts").shape == (5,)
    for name in names:
        model.get_variable_value(name)
    with pytest.raises(ValueError, match=r"no variable 'centers'.*clusters"):
        model.get_variable_value("centers")


def test_constants():
    cls = shoal.KMeansClustering
    assert cls.SQUARED_EUCLIDEAN_DISTANCE == "squared_euclidean"
    assert cls.COSINE_DISTANCE == "cosine"
    assert cls.RANDOM_INIT == "random"
    assert cls.KMEANS_PLUS_PLUS_INIT == "kmeans_plus_plus"
    assert cls.KMC2_INIT == "kmc2"
    assert cls.ALL_SCORES == "all_scores"
    assert cls.CLUSTERS == "clusters"
    assert cls.CLUSTER_IDX == "cluster_idx"
    assert cls.SCORES == "scores"
    assert cls.LOSS_OP_NAME == "kmeans_loss"


def test_parameters_round_trip():
    start = make_rows()[:5]
    model = shoal.KMeansClustering(
        None,
        initial_clusters=start,
        distance_metric="cosine",
        random_seed=None,
        relative_tolerance=0.1,
        config=shoal.RunConfig(progress=False),
        feature_columns=["a", "b"],
        num_threads=2,
    )
    given = model.get_params()
    assert given["initial_clusters"] is start
    assert given["num_clusters"] is None
    assert given["random_seed"] is None
    clone = type(model)(**model.get_params(deep=False))
    again = clone.get_params()
    assert list(again) == list(given)
    assert all(again[name] is given[name] for name in given)
    given["num_threads"] = 7
    assert model.get_params()["num_threads"] == 2
    assert "array(5, 4)" in repr(model)
    assert repr(shoal.KMeansClustering(3)) == "KMeansClustering(num_clusters=3)"


def test_clone_trains_to_the_same_bits():
    rows = make_rows()
    model = shoal.KMeansClustering(5, random_seed=4).fit(rows, steps=9, batch_size=50)
    clone = type(model)(**model.get_params()).fit(rows, steps=9, batch_size=50)
    assert clone.clusters().tobytes() == model.clusters().tobytes()


def test_set_params():
    rows = make_rows()
    model = shoal.KMeansClustering(5)
    assert model.set_params(use_mini_batch=False, distance_metric="cosine") is model
    assert model.get_params()["use_mini_batch"] is False
    expected = shoal.KMeansClustering(5, distance_metric="cosine", use_mini_batch=False)
    assert model.fit(rows).clusters().tobytes() == expected.fit(rows).clusters().tobytes()
    assert model.set_params() is model


@pytest.mark.parametrize(
    "wrong", [{"clusters": 3}, {"num_clusters": 0}, {"empty_clusters": "drop", "num_threads": 1}]
)
def test_set_params_changes_all_or_nothing(wrong):
    model = shoal.KMeansClustering(5)
    before = model.get_params()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        model.set_params(random_seed=3, **wrong)
    assert model.get_params() == before


def test_set_params_keeps_what_was_learned(trained):
    model, rows, metric = trained
    before = model.clusters()
    model.set_params(num_threads=1, random_seed=9)
    assert model.clusters().tobytes() == before.tobytes()
    other = {"squared_euclidean": "cosine", "cosine": "squared_euclidean"}[metric]
    for change in ({"num_clusters": 4}, {"distance_metric": other}):
        given = model.get_params()
        with pytest.raises(ValueError, match="num_clusters"):
            model.set_params(**change)
        assert model.get_params() == given
    assert model.clusters().tobytes() == before.tobytes()
    assert model.score(rows) > 0


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_copies_continue_to_the_same_bits(again, use_mini_batch):
    rows = make_rows()
    model = shoal.KMeansClustering(5, use_mini_batch=use_mini_batch)
    model.fit(rows, steps=2, batch_size=40)
    other = again(model)
    assert other.get_params() == model.get_params()
    assert other.clusters().tobytes() == model.clusters().tobytes()
    expected = model.clusters()
    other.fit(rows, steps=3, batch_size=40)
    assert model.clusters().tobytes() == expected.tobytes()
    assert step_of(model) == 2
    model.fit(rows, steps=3, batch_size=40)
    assert other.clusters().tobytes() == model.clusters().tobytes()


def test_config():
    model = shoal.KMeansClustering(2)
    assert model.config == shoal.RunConfig()
    config = shoal.RunConfig(max_epochs=7)
    model = shoal.KMeansClustering(2, config=config)
    assert model.config == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.config.max_epochs = 3
    other = config.replace(max_epochs=8, progress=False)
    assert (other.max_epochs, other.progress) == (8, False)
    every = shoal.RunConfig(save_checkpoints_steps=5, save_checkpoints_secs=0.5)
    assert (every.save_checkpoints_steps, every.save_checkpoints_secs) == (5, 0.5)
    names = ("save_checkpoints_secs", "keep_checkpoint_max", "save_summary_steps")
    never = config.replace(**dict.fromkeys(names))
    assert [getattr(never, name) for name in names] == [None] * 3
    assert config.max_epochs == model.config.max_epochs == 7
    with pytest.raises(ValueError, match="no 'epochs'"):
        config.replace(epochs=3)
    with pytest.raises(ValueError, match="max_epochs"):
        config.replace(max_epochs=0)
    with pytest.raises(ValueError, match="progress"):
        shoal.RunConfig(progress="loud")
    with pytest.raises(ValueError, match="config"):
        shoal.KMeansClustering(2, config={"max_epochs": 3})


def test_seed_drawn_afresh_is_recorded():
    rows = make_rows()
    model = shoal.KMeansClustering(5, random_seed=None).fit(rows, steps=4, batch_size=50)
    seed = model.get_variable_value("seed")
    same = shoal.KMeansClustering(5, random_seed=seed).fit(rows, steps=4, batch_size=50)
    assert same.clusters().tobytes() == model.clusters().tobytes()
    assert shoal.KMeansClustering(5, random_seed=None).fit(rows, steps=1).get_variable_value(
        "seed"
    ) not in (0, seed)


# ---- model_fn ----


def test_model_fn_infer(trained):
    model, rows, _ = trained
    ops = model.model_fn(rows, None, "infer")
    assert (ops.mode, ops.loss, ops.train_op, ops.eval_metric_ops) == ("infer", None, None, {})
    expected = model.predict(rows, as_iterable=False)
    for name in ("all_scores", "cluster_idx"):
        assert ops.predictions[name].tobytes() == expected[name].tobytes()


def test_model_fn_eval(trained):
    model, rows, _ = trained
    ops = model.model_fn(rows, None, "eval", metrics={"ones": lambda *_: 1})
    assert ops.train_op is None
    assert ops.loss == model.score(rows)
    assert ops.eval_metric_ops == {**model.evaluate(rows), "ones": 1}
    assert set(ops.predictions) == {"all_scores", "cluster_idx"}


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_model_fn_train(use_mini_batch):
    rows = make_rows()
    model = shoal.KMeansClustering(
        None, initial_clusters=rows[:5].copy(), use_mini_batch=use_mini_batch
    )
    program = shoal.KMeans(rows, None, rows[:5].copy(), use_mini_batch=use_mini_batch)
    graph = program.training_graph()
    ops = model.model_fn(rows, None, "train")
    assert ops.predictions is None
    for step in (1, 2, 3):
        assert ops.train_op() == graph.training_op()
        assert step_of(model) == step
        assert model.clusters().tobytes() == program.state.clusters.tobytes()
    assert set(model.model_fn(rows, None, "train").predictions) == {"all_scores", "cluster_idx"}


@pytest.mark.parametrize("mode", ["infer", "eval", "train"])
def test_model_fn_refuses_what_can_be_read_once(trained, mode):
    model, rows, _ = trained
    with pytest.raises(shoal.BadInputError, match="read once"):
        model.model_fn(iter([rows]), None, mode)
    assert model.model_fn(lambda: iter([rows]), None, mode).predictions is not None


def test_model_fn_unknown_mode():
    with pytest.raises(ValueError, match=r"mode.*train.*eval.*infer"):
        shoal.KMeansClustering(2).model_fn(make_rows(), None, "predict")


# ---- Monitors ----


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_monitors_are_told_in_order(use_mini_batch):
    rows = make_rows()
    log = []

    class Named:
        def __init__(self, name):
            self.name = name

        def begin(self, context):
            log.append((self.name, "begin", context.step))

        def before_step(self, context):
            log.append((self.name, "before_step", context.step))

        def after_step(self, context):
            log.append((self.name, "after_step", context.step))

        def end(self, context):
            log.append((self.name, "end", context.step))

    class OnlyEnd:
        def end(self, context):
            log.append(("only", "end", context.step))

    model = shoal.KMeansClustering(5, use_mini_batch=use_mini_batch)
    model.fit(rows, steps=1)
    model.fit(rows, steps=2, monitors=[Named("a"), Named("b"), OnlyEnd()])
    expected = [("begin", 1), ("before_step", 1), ("after_step", 2), ("before_step", 2)]
    expected += [("after_step", 3), ("end", 3)]
    told = [(name, *event) for event in expected for name in "ab"]
    assert log == [*told, ("only", "end", 3)]


@metrics
@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_context(metric, use_mini_batch):
    rows = make_rows()
    test = {}

    class Look:
        def begin(self, context):
            assert context.loss is None
            assert context.total_steps == 3

        def before_step(self, context):
            test["before"] = context.clusters

        def after_step(self, context):
            nearest = distances(rows, test["before"], metric).min(axis=1)
            assert context.loss == pytest.approx(nearest.sum(), rel=1e-12)
            assert context.rows == len(rows)
            assert context.elapsed >= 0
            assert not context.stop_requested
            test["after"] = context.clusters
            with pytest.raises(ValueError, match="read-only"):
                context.clusters[0] = 0

    model = shoal.KMeansClustering(5, use_mini_batch=use_mini_batch, distance_metric=metric)
    model.fit(rows, steps=3, monitors=[Look()])
    assert test["after"].tobytes() == model.clusters().tobytes()
    assert test["after"].tobytes() != test["before"].tobytes()


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_monitors_stop_the_run(use_mini_batch):
    rows = make_rows()

    class Ask:
        def __init__(self, event):
            self.event = event

        def before_step(self, context):
            if self.event == "before_step" and context.step == 2:
                context.request_stop()

        def after_step(self, context):
            if self.event == "after_step" and context.step == 3:
                context.request_stop()

    for monitor in (Ask("before_step"), Ask("after_step"), Recorder(stop_at=3)):
        seen = Recorder()
        model = shoal.KMeansClustering(5, use_mini_batch=use_mini_batch)
        model.fit(rows, steps=9, batch_size=30, monitors=[monitor, seen])
        assert step_of(model) == 3
        assert seen.steps == [1, 2, 3]  # the others are still told
        assert seen.events[-1] == "end"


def test_a_monitor_that_fails_loses_no_step():
    class Fail:
        def after_step(self, context):
            if context.step == 2:
                raise RuntimeError("no more")

    rows = make_rows()
    seen = Recorder()
    model = shoal.KMeansClustering(5)
    with pytest.raises(RuntimeError, match="no more"):
        model.fit(rows, steps=5, batch_size=30, monitors=[seen, Fail()])
    assert step_of(model) == 2
    assert seen.events[-1] == "end"
    model.fit(rows, steps=3, batch_size=30)
    whole = shoal.KMeansClustering(5).fit(rows, steps=5, batch_size=30)
    assert model.clusters().tobytes() == whole.clusters().tobytes()


@pytest.mark.parametrize("monitors", [Recorder(), [Recorder, object()], [3]])
def test_refused_monitors(monitors):
    with pytest.raises(ValueError, match="monitors"):
        shoal.KMeansClustering(2).fit(make_rows(), steps=1, monitors=monitors)


# ---- When training ends ----


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_steps_are_exact(use_mini_batch):
    rows = make_rows()
    model = shoal.KMeansClustering(5, use_mini_batch=use_mini_batch)
    for steps, total in ((1, 1), (4, 5), (30, 35)):
        model.fit(rows, steps=steps, batch_size=64)
        assert step_of(model) == total
    model.fit(rows, max_steps=37, batch_size=64)
    assert step_of(model) == 37
    before = model.state
    for reached in (37, 5):
        assert model.fit(rows, max_steps=reached) is model
        assert model.state is before


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 3, "max_steps": 3}, {"steps": 0}, {"steps": -1}, {"max_steps": 0}, {"steps": 1.5}],
)
def test_refused_steps(wrong):
    with pytest.raises(ValueError, match="steps"):
        shoal.KMeansClustering(2).fit(make_rows(), **wrong)


def changes(losses):
    return [abs(b - a) / (1 + abs(a)) for a, b in itertools.pairwise(losses)]


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_relative_tolerance_is_exact(use_mini_batch):
    rows = make_rows()
    seen = Recorder()
    given = {"use_mini_batch": use_mini_batch, "random_seed": 1}
    shoal.KMeansClustering(5, **given).fit(rows, steps=12, batch_size=100, monitors=[seen])
    for tolerance in (0.3, 0.05, changes(seen.losses)[0], np.nextafter(changes(seen.losses)[0], 1)):
        small = [i for i, change in enumerate(changes(seen.losses)) if change < tolerance]
        expected = small[0] + 2 if small else 12
        model = shoal.KMeansClustering(5, relative_tolerance=float(tolerance), **given)
        model.fit(rows, steps=12, batch_size=100)
        assert step_of(model) == expected
        if small:
            alone = shoal.KMeansClustering(5, relative_tolerance=float(tolerance), **given)
            assert step_of(alone.fit(rows, batch_size=100)) == expected


def test_relative_tolerance_with_a_loss_of_zero():
    rows = column(0, 0, 5, 5)
    for make in (full_batch, mini_batch):
        model = make(column(0, 5), relative_tolerance=1e-9).fit(rows, batch_size=4)
        assert step_of(model) == 2
        assert step_of(model.fit(rows, batch_size=4)) == 4  # the first call's loss does not count
    for wrong in (0, -1.0, np.nan, np.inf, True, "1"):
        with pytest.raises(ValueError, match="relative_tolerance"):
            shoal.KMeansClustering(2, relative_tolerance=wrong)


@metrics
def test_full_batch_ends_when_no_label_changes(metric):
    rows = make_rows()
    start = rows[:5].copy()
    model = full_batch(start, distance_metric=metric).fit(rows)
    graph = shoal.KMeans(rows, None, start, metric).training_graph()
    labels = [None]
    while labels[-1] is None or labels[-1] != labels[-2]:
        labels.append(graph.cluster_idx().tolist())
        graph.training_op()
    assert step_of(model) == len(labels) - 1 > 3
    found = list(model.predict_cluster_idx(rows))
    assert found == labels[-1]
    before = model.clusters()
    assert model.fit(rows, steps=1).clusters().tobytes() == before.tobytes()
    assert list(model.predict_cluster_idx(rows)) == found


def test_full_batch_ends_with_more_clusters_than_distinct_rows():
    rows = np.repeat(column(0, 1, 5), 10, axis=0)
    model = full_batch(column(0, 1, 5, 7, 8)).fit(rows)
    assert step_of(model) < 5
    assert model.score(rows) == 0


def test_full_batch_repeats_a_finite_source():
    rows = make_rows()
    reads = []

    def input_fn():
        reads.append(1)
        return iter(np.split(rows, [30, 200]))

    model = full_batch(rows[:5])
    model.fit(input_fn=input_fn, steps=4)
    expected = full_batch(rows[:5]).fit(rows, steps=4)
    assert model.clusters().tobytes() == expected.clusters().tobytes()
    assert step_of(model) == 4
    assert len(reads) >= 4


def test_full_batch_needs_data_that_can_be_read_again():
    rows = make_rows()
    with pytest.raises(ValueError, match="only once"):
        full_batch(rows[:5]).fit(iter([rows]))


def test_full_batch_refuses_a_source_that_changes():
    rows = make_rows()
    sizes = iter([300, 300, 299])
    with pytest.raises(ValueError, match="changed between two passes"):
        full_batch(rows[:5]).fit(lambda: iter([rows[: next(sizes)]]), steps=5)


def test_mini_batch_ends_with_a_finite_source():
    rows = make_rows()
    batches = np.split(rows, 6)
    for data in (iter(batches), lambda: iter(batches)):
        assert step_of(mini_batch(rows[:5]).fit(data)) == 6
    assert step_of(mini_batch(rows[:5]).fit(input_fn=lambda: iter(batches))) == 6
    assert step_of(mini_batch(rows[:5]).fit(iter(batches), steps=4)) == 4
    assert step_of(mini_batch(rows[:5]).fit(iter(batches), steps=40)) == 6


def test_mini_batch_ends_after_max_epochs():
    rows = make_rows()
    config = shoal.RunConfig(max_epochs=2, max_no_improvement=10**6)
    model = mini_batch(rows[:5], config=config).fit(rows, batch_size=64)
    assert step_of(model) == 2 * 5
    assert step_of(model.fit(rows, batch_size=64)) == 4 * 5
    assert model.get_variable_value("counts").sum() == 5 + 4 * 300  # every row once per epoch


@pytest.mark.parametrize("patience", [1, 3, 10])
def test_mini_batch_ends_without_improvement(patience):
    rows = make_rows()
    seen = Recorder()
    config = shoal.RunConfig(max_no_improvement=patience)
    model = mini_batch(rows[:5], config=config).fit(rows, batch_size=50, monitors=[seen])
    mean, lowest, waited, expected = None, math.inf, 0, None
    for step, loss in enumerate(seen.losses, 1):
        weight = 2 * 50 / 301
        mean = loss / 50 if mean is None else mean * (1 - weight) + loss / 50 * weight
        waited = 0 if mean < lowest else waited + 1
        lowest = min(lowest, mean)
        if waited == patience:
            expected = step
            break
    assert step_of(model) == expected == len(seen.losses)


def test_default_training_ends():
    rows = make_rows(n=20_000, dtype=np.float32)
    model = shoal.KMeansClustering(5).fit(rows)
    assert 10 <= step_of(model) <= 100 * 5


# ---- Training again ----


@pytest.mark.parametrize("use_mini_batch", [False, True])
@pytest.mark.parametrize("period", [1, 3])
def test_two_calls_are_one(use_mini_batch, period):
    rows = make_rows()
    given = {"use_mini_batch": use_mini_batch, "mini_batch_steps_per_iteration": period}
    whole = shoal.KMeansClustering(5, **given).fit(rows, steps=13, batch_size=70)
    parts = shoal.KMeansClustering(5, **given)
    for steps in (1, 4, 6, 2):
        parts.fit(rows, steps=steps, batch_size=70)
    for name in ("clusters", "clusters_updated", "counts", "update_in_steps", "epoch", "row"):
        one, other = whole.get_variable_value(name), parts.get_variable_value(name)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), name


@metrics
def test_partial_fit_is_a_step_of_the_program(metric):
    rows = make_rows()
    batches = np.split(rows, [40, 41, 100, 250])
    given = {"distance_metric": metric, "mini_batch_steps_per_iteration": 2}
    model = mini_batch(rows[:5], **given)
    program = shoal.KMeans(iter(batches), None, rows[:5], use_mini_batch=True, **given)
    graph = program.training_graph()
    for step, batch in enumerate(batches, 1):
        assert model.partial_fit(batch) is model
        graph.training_op()
        assert step_of(model) == step
        assert model.get_variable_value("clusters").tobytes() == program.state.clusters.tobytes()
        assert model.get_variable_value("counts").tobytes() == program.state.counts.tobytes()


def test_partial_fit_follows_the_mini_batch_rule_always():
    rows = make_rows()
    expected = mini_batch(rows[:5]).partial_fit(rows).clusters()
    assert full_batch(rows[:5]).partial_fit(rows).clusters().tobytes() == expected.tobytes()


def test_partial_fit_steps():
    rows = make_rows()
    model = mini_batch(rows[:5]).partial_fit(rows, steps=3)
    graph = shoal.KMeans(rows, None, rows[:5], use_mini_batch=True).training_graph()
    losses = [graph.training_op() for _ in range(3)]
    assert step_of(model) == 3
    assert model.score(rows) < losses[-1]
    by_batch = mini_batch(rows[:5]).partial_fit(iter(np.split(rows, 6)), steps=4)
    assert step_of(by_batch) == 4
    in_order = mini_batch(rows[:5]).partial_fit(rows, steps=4, batch_size=50)
    assert in_order.clusters().tobytes() == by_batch.clusters().tobytes()
    with pytest.raises(ValueError, match="steps"):
        model.partial_fit(rows, steps=0)


def test_partial_fit_leaves_an_opened_source_alone():
    rows = make_rows()
    source = shoal.open(rows)
    mini_batch(rows[:5]).partial_fit(source)
    assert source.batch_size is None
    assert source.shuffle is True


@pytest.mark.parametrize("seeding", ["random", "kmeans_plus_plus"])
def test_partial_fit_gathers_centers_from_small_batches(seeding):
    rows = column(1, 20, 300, 4000, 50_000)
    model = shoal.KMeansClustering(4, initial_clusters=seeding)
    model.partial_fit(rows[:1])
    assert model.get_variable_value("initialized") is False
    assert model.get_variable_value("clusters").tolist() == [[1]]
    with pytest.raises(shoal.NotFittedError):
        model.clusters()
    model.partial_fit(rows[1:3])
    assert step_of(model) == 0
    model.partial_fit(rows[3:])
    assert step_of(model) == 1
    # The fourth center is 4000, which both rows go to, or 50000, and then 4000 goes to 300.
    assert model.clusters().ravel().tolist() in (
        [1, 20, 300, 58_000 / 3],
        [1, 20, 2150, 50_000],
    )


def test_fit_goes_on_from_centers_gathered_before():
    rows = make_rows()
    model = shoal.KMeansClustering(5).partial_fit(rows[:3])
    model.fit(rows, steps=2)
    assert step_of(model) == 2
    assert model.get_variable_value("seeding_rounds") == 2


# ---- Streams that can be read once ----


def seeding_lines(caplog):
    return [record.message for record in caplog.records if "one-shot" in record.message]


@pytest.mark.parametrize("seeding", ["random", "kmeans_plus_plus", "kmc2", "afkmc2"])
def test_one_shot_streams_train_on_the_batches_of_seeding(seeding, caplog):
    rows = make_rows()
    batches = np.split(rows, [2, 4, 150])
    given = {"initial_clusters": seeding, "kmc2_chain_length": 2}
    with caplog.at_level(logging.INFO, "shoal"):
        model = shoal.KMeansClustering(5, **given).fit(iter(batches))
    again = shoal.KMeansClustering(5, **given).fit(lambda: iter(batches))
    assert step_of(model) == 4
    assert model.get_variable_value("counts").sum() == 5 + 300
    assert model.clusters().tobytes() == again.clusters().tobytes()
    lines = seeding_lines(caplog)
    assert "150 rows of a one-shot stream: 150 are kept for training, 0 are not" in lines[-1]


def test_init_buffer_rows(caplog):
    rows = make_rows()
    batches = np.split(rows, [2, 4, 150])
    config = shoal.RunConfig(init_buffer_rows=3)
    with caplog.at_level(logging.INFO, "shoal"):
        model = shoal.KMeansClustering(5, config=config).fit(iter(batches))
    assert step_of(model) == 2  # the first batch and the last
    assert model.get_variable_value("counts").sum() == 5 + 2 + 150
    line = seeding_lines(caplog)[-1]
    assert "150 rows of a one-shot stream: 2 are kept for training, 148 are not" in line
    assert "init_buffer_rows=3" in line


def test_too_few_rows():
    rows = make_rows()
    for data in (rows[:3], iter([rows[:2], rows[2:3]]), lambda: iter([rows[:3]])):
        with pytest.raises(shoal.TooFewRowsError, match=r"num_clusters is 5.*\b3\b"):
            shoal.KMeansClustering(5).fit(data)


# ---- Bad rows ----


def with_bad_rows(rows):
    bad = rows.copy()
    bad[7, 2] = np.nan
    bad[9, 0] = np.inf
    return bad


def test_bad_rows_are_refused_and_nothing_is_lost():
    rows = make_rows()
    for make in (full_batch, mini_batch):
        model = make(rows[:5])
        with pytest.raises(shoal.BadInputError, match=r"nan in row 7, column 2"):
            model.fit(with_bad_rows(rows))
        model.fit(rows, steps=2)
        before = model.state
        with pytest.raises(shoal.BadInputError, match=r"row 7, column 2"):
            model.fit(lambda: iter([rows, with_bad_rows(rows)]), steps=5)
        assert model.state is before
        with pytest.raises(shoal.BadInputError, match=r"row 7, column 2"):
            model.predict(with_bad_rows(rows), as_iterable=False)


@pytest.mark.parametrize("make", [full_batch, mini_batch])
def test_bad_rows_are_skipped_with_their_number(make):
    rows = make_rows()
    good = np.delete(rows, [7, 9], axis=0)
    weights = np.random.default_rng(1).uniform(1, 2, 300)
    expected = make(rows[:5]).fit(good, steps=3, batch_size=300)
    model = make(rows[:5], on_bad_rows="skip")
    with pytest.warns(UserWarning, match="dropped 2 of 300 rows"):
        model.fit(with_bad_rows(rows), steps=3, batch_size=300)
    np.testing.assert_allclose(model.clusters(), expected.clusters(), rtol=1e-13)
    with pytest.warns(UserWarning, match="dropped 2 of 300 rows"):
        assert len(list(model.predict_cluster_idx(with_bad_rows(rows)))) == 298
    with pytest.warns(UserWarning, match="dropped 2 of 300 rows"):
        weighted = model.score((with_bad_rows(rows), weights))
    assert weighted == model.score((good, np.delete(weights, [7, 9])))


def test_a_batch_of_bad_rows_alone_is_skipped():
    rows = make_rows()
    batches = [rows[:100], np.full((3, 4), np.nan), rows[100:]]
    expected = mini_batch(rows[:5]).fit(iter([rows[:100], rows[100:]]))
    model = mini_batch(rows[:5], on_bad_rows="skip")
    with pytest.warns(UserWarning, match="dropped 3 of [23]03 rows"):
        model.fit(iter(batches))
    assert step_of(model) == 2
    assert model.clusters().tobytes() == expected.clusters().tobytes()
    seeded = shoal.KMeansClustering(5, on_bad_rows="skip")
    with pytest.warns(UserWarning, match="dropped 3 of [23]03 rows"):
        seeded.fit(iter(batches[1:]))
    assert step_of(seeded) == 1


@pytest.mark.parametrize("make", [full_batch, mini_batch])
def test_bad_rows_alone_are_no_data(make):
    model = make(np.eye(4), on_bad_rows="skip")
    with (
        pytest.warns(UserWarning, match="dropped"),
        pytest.raises(shoal.BadInputError, match="no rows"),
    ):
        model.fit(np.full((30, 4), np.nan), batch_size=10)


# ---- Arguments and columns ----


def test_y_is_accepted():
    rows = make_rows()
    model = shoal.KMeansClustering(5).fit(rows, np.zeros(300), steps=2)
    assert model.evaluate(rows, np.zeros(300))["num_rows"] == 300
    assert step_of(model.partial_fit(rows, np.zeros(300))) == 3


def test_fit_takes_one_of_x_and_input_fn():
    rows = make_rows()
    model = shoal.KMeansClustering(5)
    with pytest.raises(ValueError, match="neither"):
        model.fit()
    with pytest.raises(ValueError, match="both"):
        model.fit(rows, input_fn=lambda: rows)
    with pytest.raises(ValueError, match="input_fn"):
        model.fit(input_fn=rows)


def test_columns_by_name():
    rows = make_rows(d=3)
    table = {"b": rows[:, 0], "a": rows[:, 1], "c": rows[:, 2]}
    named = full_batch(rows[:5, [1, 0, 2]]).fit(table, steps=3)
    plain = full_batch(rows[:5, [1, 0, 2]]).fit(rows[:, [1, 0, 2]], steps=3)
    assert named.clusters().tobytes() == plain.clusters().tobytes()
    chosen = full_batch(rows[:5, [2, 0]], feature_columns=["c", "b"], weight_column="a")
    table["a"] = abs(table["a"])
    chosen.fit(table, steps=3)
    plain = full_batch(rows[:5, [2, 0]]).fit((rows[:, [2, 0]], table["a"]), steps=3)
    assert chosen.clusters().tobytes() == plain.clusters().tobytes()
    with pytest.raises(ValueError, match="no column 'c'"):
        chosen.predict({"a": rows[:, 0], "b": rows[:, 1]})
    with pytest.raises(ValueError, match="opened already"):
        chosen.predict(shoal.open(rows[:, :2]))


def test_batch_size_of_opened_sources():
    rows = make_rows()
    config = shoal.RunConfig(max_epochs=1)
    for source, batch_size in (
        (rows, 30),
        (shoal.open(rows), 30),
        (shoal.open(rows, batch_size=30), None),
        (shoal.open(rows, batch_size=7), 30),
    ):
        seen = Recorder()
        mini_batch(rows[:5], config=config.replace(max_no_improvement=99)).fit(
            source, batch_size=batch_size, monitors=[seen]
        )
        assert seen.steps[-1] == 10
    with pytest.raises(ValueError, match="batch_size"):
        mini_batch(rows[:5]).fit(shoal.open(iter([rows])), batch_size=3)


def test_given_centers_are_copied():
    rows = make_rows()
    start = rows[:5].copy()
    model = shoal.KMeansClustering(5, initial_clusters=start, use_mini_batch=False)
    expected = full_batch(rows[:5]).fit(rows).clusters()
    start[:] = 0
    assert model.fit(rows).clusters().tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_clusters": 0},
        {"num_clusters": 2.5},
        {"num_clusters": None},
        {"initial_clusters": "k-means++"},
        {"initial_clusters": np.zeros((3, 2))},
        {"initial_clusters": np.full((2, 2), np.nan)},
        {"distance_metric": "euclidean"},
        {"random_seed": -1},
        {"use_mini_batch": "no"},
        {"mini_batch_steps_per_iteration": -1},
        {"kmeans_plus_plus_num_retries": 0.5},
        {"kmc2_chain_length": 0},
        {"empty_clusters": "drop"},
        {"on_bad_rows": "ignore"},
        {"memory_budget": -1},
        {"num_threads": 0},
        {"feature_columns": "a"},
        {"weight_column": 3},
    ],
    ids=str,
)
def test_refused_parameters(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=name):
        shoal.KMeansClustering(**{"num_clusters": 2, **wrong})


# ---- Progress ----


def test_progress_is_logged_where_there_is_no_terminal(caplog):
    rows = make_rows()
    config = shoal.RunConfig(log_step_count_steps=2)
    with caplog.at_level(logging.INFO, "shoal"):
        shoal.KMeansClustering(5, config=config).fit(rows, steps=5)
    lines = [record for record in caplog.records if "loss" in record.message]
    assert [record.name for record in lines] == ["shoal"] * 2
    assert [re.match(r"step (\d+): loss \S+", line.message)[1] for line in lines] == ["2", "4"]


@pytest.mark.parametrize("progress", [False, "auto"])
def test_progress_writes_nothing_by_itself(progress, capfd, caplog):
    config = shoal.RunConfig(progress=progress, log_step_count_steps=1)
    with caplog.at_level(logging.INFO, "shoal"):
        shoal.KMeansClustering(5, config=config).fit(make_rows(), steps=5)
    if progress is False:
        assert not [record for record in caplog.records if "loss" in record.message]
    assert capfd.readouterr() == ("", "")


def test_progress_bar(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("shoal.hooks.Context.elapsed", property(lambda _: 2.0))
    shoal.KMeansClustering(5, config=shoal.RunConfig(progress=True)).fit(make_rows(), steps=5)
    shown = capsys.readouterr().err
    assert "5/5" in shown
    assert "loss" in shown


def test_progress_bar_waits_a_second(capsys):
    pytest.importorskip("tqdm")
    shoal.KMeansClustering(5, config=shoal.RunConfig(progress=True)).fit(make_rows(), steps=5)
    assert capsys.readouterr().err == ""


# ---- Processes and threads ----


def train_here(rows):
    model = shoal.KMeansClustering(5, num_threads=3, use_mini_batch=False)
    return model.fit(rows, steps=3).clusters().tobytes()


def answer(connection, rows):
    connection.send(train_here(rows))
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork.* was called:RuntimeWarning")  # where JAX is loaded
def test_training_in_a_forked_child():
    rows = make_rows(n=30_000, d=8, dtype=np.float32)
    expected = train_here(rows)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=answer, args=(theirs, rows), daemon=True)
    child.start()
    theirs.close()
    assert ours.poll(60), "the child hangs"
    assert ours.recv() == expected
    child.join(60)
    assert child.exitcode == 0


def test_several_threads_at_once():
    rows = make_rows(n=30_000, d=8, dtype=np.float32)
    expected = train_here(rows)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(train_here, [rows] * 6)) == {expected}
        model = shoal.KMeansClustering(5).partial_fit(rows)
        score = model.score(rows)
        assert set(pool.map(model.score, [rows] * 6)) == {score}


def shuffled_each_time() -> Iterator[np.ndarray]:
    rng = np.random.default_rng()
    x = np.random.default_rng(1).normal(size=(400, 3))
    yield from np.array_split(rng.permutation(x), 4)


def test_full_batches_refuse_a_source_in_another_order_each_time() -> None:
    with pytest.raises(shoal.BadInputError, match="another order"):
        shoal.KMeansClustering(3, use_mini_batch=False).fit(input_fn=shuffled_each_time)


@pytest.mark.parametrize("use_mini_batch", [False, True])
def test_rows_changed_between_steps_of_the_program(use_mini_batch: bool) -> None:
    x = np.random.default_rng(2).normal(size=(300, 2))
    graph = shoal.KMeans(x, 3, initial_clusters=x[:3], use_mini_batch=use_mini_batch)
    step = graph.training_graph().training_op
    step()
    x += 5
    before = graph.state.clusters
    loss = step()
    assert loss == pytest.approx(((x[:, None] - before) ** 2).sum(-1).min(1).sum())
    assert np.abs(graph.state.clusters).max() < x.max()


def test_centers_in_single_precision_meet_rows_in_double() -> None:
    x = np.random.default_rng(3).normal(size=(500, 2)) + 1e6
    single = shoal.KMeansClustering(
        4, initial_clusters=x[:4].astype(np.float32), use_mini_batch=False
    ).fit(x)
    assert single.clusters().dtype == np.float64
    sizes = np.bincount(
        single.predict(x, outputs=["cluster_idx"], as_iterable=False)["cluster_idx"], minlength=4
    )
    assert single.score(x) < 2 * len(x)
    assert sizes.sum() == len(x)


def test_equal_centers_and_a_small_move_keep_labels_exact() -> None:
    rng = np.random.default_rng(4)
    x = np.zeros((64, 3), np.float32)
    for _ in range(200):
        c = np.repeat(rng.normal(size=(1, 3)) * 1e-22, 2, axis=0).astype(np.float32)
        moved = c.copy()
        moved[0] *= np.float32(1 + rng.uniform(0, 0.3))
        program = shoal.KMeans(x + c[0], 2, initial_clusters=c).training_graph()
        program.training_op()
        model = shoal.KMeansClustering(2, initial_clusters=moved, use_mini_batch=False)
        model.fit(x + c[0], steps=2)
        expected = ((x[0] + c[0] - model.clusters().astype(float)) ** 2).sum(1).argmin()
        assert next(model.predict_cluster_idx(x + c[0])) == expected


@pytest.mark.parametrize("use_mini_batch", [False, True])
@pytest.mark.parametrize("relative_tolerance", [None, 1e-4])
def test_interrupted_near_the_end_it_ends_where_it_would_have(
    use_mini_batch: bool, relative_tolerance: float | None
) -> None:
    x = np.random.default_rng(5).normal(size=(3000, 4))

    def model() -> shoal.KMeansClustering:
        return shoal.KMeansClustering(
            12, use_mini_batch=use_mini_batch, relative_tolerance=relative_tolerance
        )

    def fit(of: shoal.KMeansClustering, **how: Any) -> shoal.KMeansClustering:
        return of.fit(x, batch_size=200 if use_mini_batch else None, **how)

    whole = fit(model())
    steps = whole.state.global_step

    class Interrupt:
        def before_step(self, context: Any) -> None:
            if context.step == steps - 1:
                raise KeyboardInterrupt

    again = model()
    with pytest.raises(KeyboardInterrupt):
        fit(again, monitors=[Interrupt()])
    fit(again)
    assert (again.clusters() == whole.clusters()).all()
    assert again.state.global_step == steps


def test_a_period_begins_when_training_changes_its_kind() -> None:
    x = np.random.default_rng(6).normal(size=(600, 3))
    model = shoal.KMeansClustering(5, use_mini_batch=False).fit(x)
    model.set_params(mini_batch_steps_per_iteration=3)
    before = model.clusters()
    model.partial_fit(x[:100])
    assert (model.clusters() == before).all()
    assert model.get_variable_value("update_in_steps") == 2
    model.partial_fit(x[100:200]).partial_fit(x[200:300])
    assert not (model.clusters() == before).all()


def test_loss_of_weighted_rows_depends_on_no_split() -> None:
    rng = np.random.default_rng(7)
    x, w = rng.normal(size=(1000, 3)), rng.uniform(0, 1, 1000)
    model = shoal.KMeansClustering(4, use_mini_batch=False).fit(x)
    cut = [(x[i : i + 77], w[i : i + 77]) for i in range(0, 1000, 77)]
    assert model.evaluate((x, w))["loss"] == model.evaluate(input_fn=lambda: iter(cut))["loss"]


def test_columns_are_known_by_name_after_training() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=200), rng.normal(size=200) + 50
    model = shoal.KMeansClustering(3, use_mini_batch=False).fit({"b": b, "a": a})
    assert model.columns == ("a", "b")
    rows = np.c_[a, b]
    assert model.score({"b": b, "other": b, "a": a}) == model.score(rows)
    with pytest.raises(shoal.BadInputError, match="no column 'a'; it has \\['c', 'b'\\]"):
        model.score({"c": a, "b": b})


def test_names_for_rows_without_are_announced(caplog: pytest.LogCaptureFixture) -> None:
    rows = np.random.default_rng(9).normal(size=(50, 2))
    model = shoal.KMeansClustering(3, use_mini_batch=False).fit(rows)
    assert model.columns == ()
    with caplog.at_level("WARNING", "shoal"):
        assert model.score({"q": rows[:, 1], "p": rows[:, 0]}) == model.score(rows)
    assert "in the order ['p', 'q']" in caplog.text


def test_a_column_named_twice_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.eye(3), columns=["a", "a", "b"])
    with pytest.raises(shoal.BadInputError, match="more than one column 'a'"):
        shoal.KMeansClustering(2).fit(frame)
