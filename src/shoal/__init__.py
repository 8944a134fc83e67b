"""Shoal: k-means clustering for data of any size, exact and reproducible to the bit."""

from shoal import _core as _core  # first: it says where there is no shoal
from shoal import forking as forking
from shoal import plot as plot
from shoal.build import build_info
from shoal.choosing import KChoice, choose_k
from shoal.config import RunConfig
from shoal.errors import (
    BadInputError,
    CheckpointError,
    ClusterError,
    EndOfDataError,
    MissingExtraError,
    ModelDirLockedError,
    NotFittedError,
    NotInitializedError,
    ShoalError,
    TooFewRowsError,
)
from shoal.estimator import KMeansClustering
from shoal.memory import MemoryEstimate, memory_estimate
from shoal.model_fn import ModelFnOps
from shoal.program import KMeans, TrainingGraph
from shoal.report import Report, report
from shoal.saving import load_model, save_model
from shoal.sources.open import open_source
from shoal.sources.weights import Weighted
from shoal.sphere import from_sphere, sphere_km, to_sphere
from shoal.state import State
from shoal.version import __version__ as __version__

__all__ = [
    "BadInputError",
    "CheckpointError",
    "ClusterError",
    "EndOfDataError",
    "KChoice",
    "KMeans",
    "KMeansClustering",
    "MemoryEstimate",
    "MissingExtraError",
    "ModelDirLockedError",
    "ModelFnOps",
    "NotFittedError",
    "NotInitializedError",
    "Report",
    "RunConfig",
    "ShoalError",
    "State",
    "TooFewRowsError",
    "TrainingGraph",
    "Weighted",
    "build_info",
    "choose_k",
    "from_sphere",
    "load_model",
    "memory_estimate",
    "report",
    "save_model",
    "sphere_km",
    "to_sphere",
]

# Not among the names of `from shoal import *`, which would hide Python's own.
open = open_source
