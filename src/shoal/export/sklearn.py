"""A model as one of scikit-learn's, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.config import Parameters
from shoal.errors import BadInputError, MissingExtraError
from shoal.export.faces import exported
from shoal.export.given import Given
from shoal.export.shifted import check_dtype, users_centers, warn_of_cancelled
from shoal.metric import COSINE_DISTANCE, is_cosine
from shoal.state import State
from shoal.types import Floats


def to_model(
    state: State,
    parameters: Parameters,
    columns: tuple[Any, ...] | None,
    *,
    dtype: object = None,
) -> Any:
    """A fitted ``KMeans``, or under cosine a pipeline that first brings rows to length one."""
    try:
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import Normalizer
    except ImportError:
        raise MissingExtraError("to_sklearn", "scikit-learn", "sklearn") from None
    metric = parameters.distance_metric
    centers = np.array(users_centers(state, metric), order="C")
    if dtype is not None:
        with np.errstate(over="ignore"):  # said below
            centers = centers.astype(check_dtype(dtype))
    if not np.isfinite(centers).all():
        raise BadInputError(f"dtype is {dtype!r}, which has no room for the centers: use 'float64'")
    names = columns if columns and all(isinstance(name, str) for name in columns) else None
    model = _fitted(centers, None if is_cosine(metric) else names)
    if not is_cosine(metric):
        warn_of_cancelled(
            centers,
            "scikit-learn",
            "Subtract the mean from rows and centers, or use shoal.sklearn.KMeans, which measures",
        )
        return model
    if not centers.any(axis=1).all():
        which = int((~centers.any(axis=1)).argmax())
        raise BadInputError(
            f"center {which} is zero, at cosine distance 1 from every row, and scikit-learn has no "
            "such distance: leave it out, with KMeansClustering.from_centers"
        )
    first = Normalizer().fit(centers)
    _name(first, centers, names)
    return Pipeline([("normalizer", first), ("kmeans", model)])


def _fitted(centers: Floats, names: tuple[str, ...] | None) -> Any:
    """What ``fit`` leaves in a ``KMeans`` that ``predict``, ``transform`` and ``score`` need."""
    from sklearn.cluster import KMeans
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    model = KMeans(len(centers), init=centers, n_init=1)
    model.cluster_centers_ = centers
    model._n_threads = _openmp_effective_n_threads()
    _name(model, centers, names)
    return model


def _name(model: Any, centers: Floats, names: tuple[str, ...] | None) -> None:
    model.n_features_in_ = centers.shape[1]
    if names is not None:
        model.feature_names_in_ = np.asarray(names, dtype=object)


def from_model(model: Any) -> Given:
    """Centers of a fitted ``KMeans`` or ``MiniBatchKMeans``, or a pipeline that ends in one.

    A ``Normalizer`` of length one before it makes it cosine; nothing else may be there.
    """
    steps = [step for _, step in getattr(model, "steps", ())]
    if not steps:
        found = exported(model, "from_sklearn")
        centers = users_centers(found.state, found.parameters.distance_metric)
        return Given(centers, found.parameters.distance_metric, found.columns)
    first, last = steps[0], steps[-1]
    unit = type(first).__name__ == "Normalizer" and first.get_params()["norm"] == "l2"
    if len(steps) != 2 or not unit:
        raise BadInputError(
            f"model is a pipeline of {[type(step).__name__ for step in steps]}; of those, only "
            "Normalizer(norm='l2') and KMeans have a distance here. Give its last step, and "
            "prepare rows with the others"
        )
    found = exported(last, "from_sklearn")
    columns = tuple(map(str, getattr(first, "feature_names_in_", ()))) or found.columns
    return Given(users_centers(found.state, COSINE_DISTANCE), COSINE_DISTANCE, columns)
