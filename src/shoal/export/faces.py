"""What is exported of a model, whichever face it has."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from shoal.config import Parameters
from shoal.errors import BadInputError, not_fitted
from shoal.metric import COSINE_DISTANCE, SQUARED_EUCLIDEAN_DISTANCE
from shoal.state import State

#: The metrics of shoal.sklearn, by our names.
METRICS = {"euclidean": SQUARED_EUCLIDEAN_DISTANCE, "cosine": COSINE_DISTANCE}


class Exported(NamedTuple):
    """What every exporter takes."""

    state: State
    parameters: Parameters
    columns: tuple[Any, ...] | None


def exported(model: Any, method: str) -> Exported:
    """State, parameters and columns of a trained model.

    Parameters
    ----------
    model
        A ``KMeansClustering``, a ``shoal.KMeans``, a ``KMeans`` or ``MiniBatchKMeans`` of
        ``shoal.sklearn`` or of scikit-learn.
    method
        What needs it, for errors.

    Raises
    ------
    NotFittedError
        If it has not been trained.
    BadInputError
        If it is something else, or predicts otherwise than by the nearest center.
    """
    names = model.get_params() if hasattr(model, "get_params") else {}
    if "n_clusters" in names:
        return _of_scikit_learn(model, names, method)
    if "distance_metric" in names:
        if not model.is_fitted:
            raise not_fitted(method)
        metric = names["distance_metric"]
    elif hasattr(model, "training_graph"):
        metric = model.distance_metric
    else:
        raise BadInputError(
            f"model is of type {type(model).__name__}; it must be a KMeansClustering, a "
            "shoal.KMeans, or a KMeans or MiniBatchKMeans of shoal.sklearn or scikit-learn"
        )
    state = model.state
    if not state.initialized:
        raise not_fitted(method)
    return Exported(state, Parameters(state.num_found, distance_metric=metric), model.columns)


def _of_scikit_learn(model: Any, names: dict[str, Any], method: str) -> Exported:
    if "bisecting_strategy" in names:
        raise BadInputError(
            f"model is a {type(model).__name__}, which predicts down a tree of splits, and what is "
            "exported predicts by the nearest center: train KMeans on from its cluster_centers_ "
            "(init=model.cluster_centers_, n_init=1), and export that"
        )
    if not hasattr(model, "cluster_centers_") and hasattr(model, "labels_"):
        raise BadInputError(
            f"model is a {type(model).__name__}, which has no centers: it must be a KMeans or "
            "MiniBatchKMeans"
        )
    if not hasattr(model, "cluster_centers_"):
        raise not_fitted(method)
    centers, metric = np.array(model.cluster_centers_), METRICS[names.get("metric", "euclidean")]
    columns = tuple(getattr(model, "feature_names_in_", ()))
    return Exported(
        State(centers, centers, np.zeros(len(centers)), 0, True, 0, 0),
        Parameters(len(centers), distance_metric=metric),
        tuple(map(str, columns)) or None,
    )
