"""Shoal: k-means clustering for data of any size, exact and reproducible to the bit."""

from shoal.build import build_info
from shoal.config import RunConfig
from shoal.errors import (
    BadInputError,
    EndOfDataError,
    MissingExtraError,
    NotFittedError,
    NotInitializedError,
    ShoalError,
    TooFewRowsError,
)
from shoal.estimator import KMeansClustering, ModelFnOps
from shoal.graph import KMeans, TrainingGraph
from shoal.sources.open import open_source as open
from shoal.state import State

__version__ = "0.1.0"

__all__ = [
    "BadInputError",
    "EndOfDataError",
    "KMeans",
    "KMeansClustering",
    "MissingExtraError",
    "ModelFnOps",
    "NotFittedError",
    "NotInitializedError",
    "RunConfig",
    "ShoalError",
    "State",
    "TooFewRowsError",
    "TrainingGraph",
    "build_info",
    "open",
]
