"""What scikit-learn's users type first, and what it is called here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from shoal.errors import BadInputError

P = ParamSpec("P")
T = TypeVar("T")

#: Parameters of scikit-learn's KMeans, MiniBatchKMeans and BisectingKMeans, and ours.
PARAMETERS = {
    "n_clusters": "num_clusters",
    "init": "initial_clusters: 'random', 'kmeans_plus_plus', 'kmeans_parallel', 'kmc2', "
    "'afkmc2', an array [k, d]",
    "n_init": "nothing: fit models with several random_seed, and keep that of the lowest score(x)",
    "max_iter": "fit(x, steps=...) or fit(x, max_steps=...)",
    "tol": "relative_tolerance",
    "verbose": "config=shoal.RunConfig(progress=...)",
    "random_state": "random_seed",
    "copy_x": "nothing: the data is never written to",
    "algorithm": "use_mini_batch: False for full batches (always exact), True for mini-batches",
    "metric": "distance_metric: 'squared_euclidean' or 'cosine'",
    "batch_size": "fit(x, batch_size=...)",
    "compute_labels": "labels(x), after fit",
    "max_no_improvement": "config=shoal.RunConfig(max_no_improvement=...)",
    "init_size": "nothing: centers are chosen among all rows",
    "n_jobs": "num_threads",
    "sample_weight": "fit(x, sample_weight=...)",
}

#: What its estimators have after `fit`, and its methods, and ours.
ATTRIBUTES = {
    "labels_": "labels(x)",
    "cluster_centers_": "clusters()",
    "inertia_": "score(x)",
    "n_iter_": "state.global_step",
    "n_steps_": "state.global_step",
    "n_features_in_": "clusters().shape[1]",
    "feature_names_in_": "columns",
    "fit_predict": "fit(x).labels(x)",
    "fit_transform": "fit(x).transform(x)",
}

#: What people pass to `choose_k`, and ours.
CHOOSING = {
    **dict.fromkeys(("n_clusters", "k_range", "ks"), "k: a range, such as range(2, 21)"),
    "metric": "distance_metric: 'squared_euclidean' or 'cosine'",
    "init": "initial_clusters: 'kmeans_plus_plus', 'random', 'kmeans_parallel', 'kmc2', 'afkmc2'",
    "n_init": "num_runs",
    "max_iter": "max_steps",
    "tol": "tolerance",
    "random_state": "random_seed",
    "n_jobs": "num_threads",
    "n_refs": "gap: the number of reference data sets",
}

ELSEWHERE = "scikit-learn's own names are in shoal.sklearn: from shoal.sklearn import KMeans"

PROGRAM_OR_ESTIMATOR = (
    "shoal.KMeans(inputs, num_clusters) is the training program, driven step by step; the "
    f"estimator with fit and predict is shoal.KMeansClustering(num_clusters) ({ELSEWHERE})"
)

#: What an estimator has and the training program has not.
ESTIMATORS_METHODS = {
    "fit",
    "partial_fit",
    "predict",
    "predict_cluster_idx",
    "labels",
    "transform",
    "score",
    "evaluate",
    "train",
    "get_params",
    "set_params",
}


def refuse_parameters(what: str, given: Iterable[str], known: Iterable[str] = ()) -> None:
    """Raise for the first of the names ``given`` that is scikit-learn's and not in ``known``."""
    for name in given:
        if name in PARAMETERS and name not in known:
            raise BadInputError(
                f"{what} has no parameter {name!r}; instead of it: {PARAMETERS[name]} ({ELSEWHERE})"
            )


def refuse_attribute(what: str, name: str) -> None:
    """Raise AttributeError, so that ``hasattr`` is False, if ``name`` is one of scikit-learn's."""
    if name in ATTRIBUTES:
        raise AttributeError(
            f"{what} has no {name!r}; instead of it: {ATTRIBUTES[name]} ({ELSEWHERE})"
        )


def own_parameters(init: Callable[P, None]) -> Callable[P, None]:
    """Let the ``__init__`` of an estimator answer scikit-learn's parameters with ours."""
    known = inspect.signature(init).parameters

    @functools.wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        refuse_parameters("KMeansClustering", kwargs, known)
        init(*args, **kwargs)

    return checked


def own_arguments(choose: Callable[P, T]) -> Callable[P, T]:
    """Let ``choose_k`` answer the arguments of other libraries with ours."""

    @functools.wraps(choose)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name in CHOOSING:
                raise BadInputError(
                    f"choose_k has no argument {name!r}; instead of it: {CHOOSING[name]}"
                )
        return choose(*args, **kwargs)

    return checked


def own_inputs(init: Callable[P, None]) -> Callable[P, None]:
    """Let the ``__init__`` of the training program say what it is where it gets no inputs."""

    @functools.wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        foreign = [name for name in kwargs if name in PARAMETERS]
        if foreign:
            refused = f"KMeans has no parameter {foreign[0]!r}"
            raise BadInputError(
                f"{refused}; instead of it: {PARAMETERS[foreign[0]]}. {PROGRAM_OR_ESTIMATOR}"
            )
        inputs: Any = args[1] if len(args) > 1 else kwargs.get("inputs")
        if inputs is None:
            raise BadInputError(f"inputs, the data, is missing. {PROGRAM_OR_ESTIMATOR}")
        if isinstance(inputs, int | np.integer):
            raise BadInputError(f"inputs is {inputs}; it must be the data. {PROGRAM_OR_ESTIMATOR}")
        init(*args, **kwargs)

    return checked
