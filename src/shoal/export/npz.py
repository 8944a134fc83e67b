"""A model in one .npz file: the whole state and the parameters, no pickle.

Layout: one array per array of the state, and ``header``, a JSON text with the format version, the
scalars of the state, and the parameters.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.estimator import KMeansClustering
from shoal.state import State

FORMAT = 1
ARRAYS = ("clusters", "clusters_updated", "counts")
PARAMETERS = (
    "num_clusters",
    "distance_metric",
    "use_mini_batch",
    "mini_batch_steps_per_iteration",
    "kmeans_plus_plus_num_retries",
    "kmc2_chain_length",
    "empty_clusters",
    "feature_columns",
    "weight_column",
)


def save_model(model: KMeansClustering, path: str | os.PathLike[str]) -> None:
    """Write a trained model; the file appears whole or not at all."""
    state = model.state
    fields = {name: getattr(state, name) for name in State.__dataclass_fields__}
    arrays = {name: fields.pop(name) for name in ARRAYS}
    given = model.get_params()
    parameters = {name: given[name] for name in PARAMETERS}
    parameters["num_clusters"] = len(state.clusters)
    if parameters["feature_columns"] is not None:
        parameters["feature_columns"] = list(parameters["feature_columns"])
    header = {"format": FORMAT, "state": fields, "parameters": parameters}
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            np.savez(file, header=np.array(json.dumps(header)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def load_model(path: str | os.PathLike[str], **changes: Any) -> KMeansClustering:
    """Read a model; ``changes`` are parameters that differ from those saved.

    Raises
    ------
    BadInputError
        If there is no such file, or it is not a model of this format.
    """
    file = Path(path)
    if not file.is_file():
        raise BadInputError(f"there is no model file {file}")
    try:
        with np.load(file, allow_pickle=False) as content:
            header = json.loads(str(content["header"]))
            arrays = {name: content[name] for name in ARRAYS}
        if header["format"] != FORMAT:
            raise BadInputError(f"{file} has format {header['format']}; this is format {FORMAT}")
        fields = header["state"]
        fields["losses"] = tuple(fields["losses"])
        state = State(**arrays, **fields)
        parameters = header["parameters"]
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{file} is not a model of shoal: {error}") from error
    shape = state.clusters.shape
    if len(shape) != 2 or shape != state.clusters_updated.shape or len(state.counts) != shape[0]:
        raise BadInputError(f"{file} is damaged: its arrays do not fit each other")
    model = KMeansClustering(**{**parameters, "random_seed": state.seed, **changes})
    model.restore(state)
    return model
