"""Training again, and streams that can be read once."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from estimator_helpers import full_batch, metrics, mini_batch, step_of
from helpers import column, make_rows

import shoal

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


@pytest.mark.parametrize(
    "seeding", ["random", "kmeans_plus_plus", "kmeans_parallel", "kmc2", "afkmc2"]
)
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
