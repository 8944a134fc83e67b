"""Names that people bring along: scikit-learn's, and later ones of the original."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_clusterer
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

import shoal
from shoal.other_names import ATTRIBUTES, ELSEWHERE, ESTIMATORS_METHODS, PARAMETERS

X = np.random.default_rng(0).normal(size=(50, 2))


def new(**more: Any) -> shoal.KMeansClustering:
    return shoal.KMeansClustering(3, initial_clusters="kmeans_plus_plus", **more)


# ---- A step of a pipeline ----


def test_a_pipeline_predicts() -> None:
    pipeline = make_pipeline(StandardScaler(), new()).fit(X)
    scaled = StandardScaler().fit_transform(X)
    alone = new().fit(scaled)
    found = [row["cluster_idx"] for row in pipeline.predict(X)]
    assert found == alone.labels(scaled).tolist()
    assert np.array_equal(pipeline.transform(X), alone.transform(scaled))
    assert pipeline.score(X) == alone.score(scaled)
    assert np.array_equal(pipeline[-1].labels(pipeline[:-1].transform(X)), found)


def test_a_pipeline_takes_parameters_by_step() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("means", new())])
    pipeline.set_params(means__random_seed=5).fit(X, means__steps=4)
    assert pipeline["means"].get_params()["random_seed"] == 5
    assert pipeline["means"].state.global_step == 4


def test_scikit_learn_sees_whether_it_is_fitted() -> None:
    model = new()
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    check_is_fitted(model.fit(X))
    check_is_fitted(make_pipeline(StandardScaler(), new()).fit(X))


def test_scikit_learn_sees_a_clusterer() -> None:
    assert is_clusterer(new())
    assert is_clusterer(make_pipeline(StandardScaler(), new()))


def test_clone_is_untrained_and_has_the_same_parameters() -> None:
    model = new(distance_metric="cosine", random_seed=7, config=shoal.RunConfig(progress=False))
    copied = clone(model.fit(X))
    assert not copied.is_fitted
    assert copied.get_params() == model.get_params()
    given = clone(shoal.KMeansClustering(None, initial_clusters=X[:4]))
    assert np.array_equal(given.get_params()["initial_clusters"], X[:4])


def test_a_pipeline_is_shown_and_cross_validated() -> None:
    pipeline = make_pipeline(StandardScaler(), new())
    assert "KMeansClustering(num_clusters=3" in repr(pipeline)
    assert "KMeansClustering" in pipeline._repr_html_()
    assert np.isfinite(cross_val_score(pipeline, X, cv=3)).all()


# ---- Names that are not here say what is ----


#: What both have by one name, and mean the same by.
SHARED = {"reassignment_ratio"}


def parameters_of(estimator: type) -> set[str]:
    return set(estimator().get_params()) - SHARED


def test_names_that_are_shared_are_parameters_of_ours() -> None:
    assert set(new().get_params()) >= SHARED
    assert not SHARED & set(PARAMETERS)


@pytest.mark.parametrize("name", sorted(parameters_of(KMeans) | parameters_of(MiniBatchKMeans)))
def test_every_parameter_of_scikit_learn_is_answered_with_ours(name: str) -> None:
    ways: list[Callable[[], Any]] = [
        lambda: shoal.KMeansClustering(3, **{name: 1}),
        lambda: shoal.KMeansClustering(**{name: 1}),
        lambda: new().set_params(**{name: 1}),
    ]
    for way in ways:
        with pytest.raises(shoal.BadInputError) as caught:
            way()
        assert f"no parameter '{name}'; instead of it: {PARAMETERS[name]}" in str(caught.value)
        assert "shoal.sklearn" in str(caught.value)


def test_parameters_refused_change_nothing() -> None:
    model = new().fit(X)
    before = model.get_params(), model.clusters()
    with pytest.raises(shoal.BadInputError, match="max_iter"):
        model.set_params(random_seed=3, max_iter=10)
    assert model.get_params() == before[0]
    assert np.array_equal(model.clusters(), before[1])


def test_unknown_parameters_are_a_type_error_as_ever() -> None:
    with pytest.raises(TypeError, match="clusters_wanted"):
        shoal.KMeansClustering(3, clusters_wanted=1)  # type: ignore[call-arg]
    with pytest.raises(shoal.BadInputError, match="no parameter 'clusters_wanted'; it has"):
        new().set_params(clusters_wanted=1)


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_attributes_of_scikit_learn_are_answered_with_ours(name: str) -> None:
    model = new().fit(X)
    assert not hasattr(model, name)
    with pytest.raises(AttributeError) as caught:
        getattr(model, name)
    assert f"no '{name}'; instead of it: {ATTRIBUTES[name]}" in str(caught.value)


def test_every_fitted_attribute_of_scikit_learn_is_answered() -> None:
    peer = MiniBatchKMeans(2, n_init=1).fit(X)
    public = {name for name in dir(peer) if name.endswith("_") and not name.startswith("_")}
    assert public <= set(ATTRIBUTES)
    assert {name for name in dir(KMeans) if name.startswith("fit_")} <= set(ATTRIBUTES)


def test_what_is_said_to_be_here_is_here() -> None:
    model = new().fit(X)
    ours = {**model.get_params(), "fit": 0, "config": 0, "nothing": 0, "labels(x)": 0}
    for text in PARAMETERS.values():
        assert text.replace("(", ":").replace("=", ":").replace(",", ":").split(":")[0] in {
            *ours,
            "labels",
        }
    for text in ATTRIBUTES.values():
        eval(f"model.{text}", {"model": model, "x": X})


def test_other_attributes_fail_as_ever() -> None:
    model = new()
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
        model.nonsense  # noqa: B018
    with pytest.raises(shoal.NotFittedError, match=r"state\(\) needs trained centers"):
        model.state  # noqa: B018
    for again in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.get_params() == model.get_params()


@pytest.mark.parametrize(
    "make",
    [
        lambda: shoal.KMeans(8),  # type: ignore[call-arg]
        lambda: shoal.KMeans(np.int64(8)),  # type: ignore[call-arg]
        lambda: shoal.KMeans(8, 3),
        lambda: shoal.KMeans(n_clusters=8),  # type: ignore[call-arg]
        lambda: shoal.KMeans(num_clusters=8),  # type: ignore[call-arg]
        lambda: shoal.KMeans(),  # type: ignore[call-arg]
        lambda: shoal.KMeans(X, 3, random_state=0),  # type: ignore[call-arg]
    ],
)
def test_a_training_program_that_was_meant_to_be_an_estimator(make: Callable[[], Any]) -> None:
    with pytest.raises(shoal.BadInputError, match=r"shoal\.KMeansClustering.*shoal\.sklearn"):
        make()


@pytest.mark.parametrize("name", sorted({*ATTRIBUTES, *ESTIMATORS_METHODS}))
def test_a_training_program_has_no_methods_of_an_estimator(name: str) -> None:
    program = shoal.KMeans(X, 3)
    assert not hasattr(program, name)
    with pytest.raises(AttributeError, match=rf"no '{name}'.*shoal\.KMeansClustering"):
        getattr(program, name)


def test_the_methods_named_are_those_of_the_estimator() -> None:
    assert {name for name in ESTIMATORS_METHODS if not hasattr(new(), name)} == set()


def test_the_messages_say_where_scikit_learns_names_are() -> None:
    found: dict[str, Any] = {}
    exec(ELSEWHERE.partition(": ")[2], found)
    assert found["KMeans"](n_clusters=3, n_init=1, random_state=0).fit(X).inertia_ > 0


# ---- Later names of the original ----


def test_cluster_centers_and_predict_cluster_index() -> None:
    model = new().fit(X)
    assert np.array_equal(model.cluster_centers(), model.clusters())
    assert list(model.predict_cluster_index(lambda: X)) == model.labels(X).tolist()
    assert list(model.predict_cluster_index(X)) == model.labels(X).tolist()


@pytest.mark.parametrize("mini_batch", [True, False])
@pytest.mark.parametrize(
    ("data", "batches"),
    [
        (lambda: X, 1),
        (lambda: np.tile(X, (100, 1)), 2),  # 5,000 rows, in batches of 4,096
        (lambda: iter([X[:20], X[20:40], X[40:]]), 3),
        (lambda: [X, X], 1),
    ],
    ids=["array", "larger array", "stream", "shards"],
)
def test_train_without_steps_is_one_pass(
    data: Callable[[], Any], batches: int, mini_batch: bool
) -> None:
    model = new(use_mini_batch=mini_batch)
    for passes in (1, 2):
        assert model.train(data) is model
        assert model.state.global_step == passes * (batches if mini_batch else 1)
    assert not model.is_interrupted


def test_one_pass_of_train_is_as_many_steps_of_fit() -> None:
    once, steps = new().train(lambda: X), new().fit(X, steps=1)
    assert np.array_equal(once.clusters(), steps.clusters())


def test_train_with_steps_is_fit() -> None:
    told: list[int] = []

    class Hook:
        def after_step(self, context: Any) -> None:
            told.append(context.step)

    model = new().train(lambda: X, hooks=[Hook()], steps=2)
    model.train(lambda: X, max_steps=5)
    assert told == [1, 2]
    assert np.array_equal(model.clusters(), new().fit(X, steps=5).clusters())
    with pytest.raises(shoal.BadInputError, match="steps is 1 and max_steps is 9"):
        model.train(lambda: X, steps=1, max_steps=9)
    with pytest.raises(shoal.BadInputError, match="input_fn is ndarray; it must be callable"):
        model.train(X)  # type: ignore[arg-type]
