"""What a model holds: parameters, variables, its state; and `model_fn`."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from estimator_helpers import step_of
from helpers import make_rows

import shoal

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
    assert set(ops.predictions) == {"all_scores", "cluster_idx"}  # of the given centers
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


@pytest.mark.parametrize(
    ("spelt", "ours"),
    [("k-means++", "kmeans_plus_plus"), ("k-means||", "kmeans_parallel"), ("K-MC2", "kmc2")],
)
def test_another_spelling_of_a_seeding_is_answered_with_ours(spelt: str, ours: str) -> None:
    with pytest.raises(shoal.BadInputError, match=f"Did you mean '{ours}'"):
        shoal.KMeansClustering(3, initial_clusters=spelt)
