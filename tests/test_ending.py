"""When training ends."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from estimator_helpers import Recorder, full_batch, metrics, mini_batch, step_of
from helpers import column, make_rows

import shoal

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
