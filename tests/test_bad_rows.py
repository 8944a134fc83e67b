"""Rows that are left out, arguments that are refused, columns."""

from __future__ import annotations

import numpy as np
import pytest
from estimator_helpers import Recorder, full_batch, mini_batch, step_of
from helpers import make_rows

import shoal
from shoal.executors import PickledExecutor

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
        weighted = model.score(with_bad_rows(rows), sample_weight=weights)
    assert weighted == model.score(good, sample_weight=np.delete(weights, [7, 9]))


def test_bad_rows_are_told_where_answers_come_in_pieces():
    rows = make_rows(10_000)
    where = shoal.RunConfig(executor=PickledExecutor(2))
    model = full_batch(rows[:1_000].copy(), on_bad_rows="skip", config=where)
    rows[[7, 4_999, 9_000]] = np.nan
    with pytest.warns(UserWarning, match="dropped 3 of 10000 rows .* rows 7, 4999, 9000"):
        found = model.predict(rows, outputs=["all_scores"], as_iterable=False)
    assert found["all_scores"].shape == (9_997, 1_000)


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
    named = full_batch(rows[:5]).fit(table, steps=3)
    plain = full_batch(rows[:5]).fit(rows, steps=3)
    assert named.clusters().tobytes() == plain.clusters().tobytes()
    chosen = full_batch(rows[:5, [2, 0]], feature_columns=["c", "b"], weight_column="a")
    table["a"] = abs(table["a"])
    chosen.fit(table, steps=3)
    plain = full_batch(rows[:5, [2, 0]]).fit(rows[:, [2, 0]], sample_weight=table["a"], steps=3)
    assert chosen.clusters().tobytes() == plain.clusters().tobytes()
    with pytest.raises(ValueError, match="no column 'c'"):
        chosen.predict({"a": rows[:, 0], "b": rows[:, 1]})
    with pytest.raises(ValueError, match="opened already"):
        chosen.score(shoal.open(rows[:, :2]))  # has no weights


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
        {"weight_column": ["w"]},
    ],
    ids=str,
)
def test_refused_parameters(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=name):
        shoal.KMeansClustering(**{"num_clusters": 2, **wrong})
