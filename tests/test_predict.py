"""What trained centers say of rows, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from estimator_helpers import Recorder, full_batch, metrics, step_of
from helpers import column, distances, make_rows

import shoal

# ---- Inference ----


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
    assert model.score(shoal.Weighted(rows, weights)) == pytest.approx(total, rel=1e-12)
    found = model.evaluate(shoal.Weighted(rows, weights))
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


def test_rows_of_predict_where_an_array_was_expected_say_what_is_one(trained):
    model, x, _ = trained
    for use in (
        len,
        lambda rows: rows[:3],
        np.asarray,
        lambda rows: rows == model.labels(x),
        lambda rows: model.labels(x) == rows,
    ):
        with pytest.raises(TypeError, match=r"labels\(x\) is an array"):
            use(model.predict(x))
    assert len(list(model.predict(x))) == len(x)
    frame = pandas.DataFrame(model.predict(x, outputs=["cluster_idx", "scores"]))
    assert frame["cluster_idx"].tolist() == model.labels(x).tolist()
