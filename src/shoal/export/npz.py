"""A model in one .npz file: the whole state and the parameters, no pickle.

Layout: one array per array of the state, and ``header``, a JSON text with the format version, the
scalars of the state, the parameters and the names of the columns.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    "initial_clusters",
    "distance_metric",
    "use_mini_batch",
    "mini_batch_steps_per_iteration",
    "kmeans_plus_plus_num_retries",
    "relative_tolerance",
    "kmc2_chain_length",
    "empty_clusters",
    "feature_columns",
    "weight_column",
)
NOT_A_MODEL = (
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a name to write to; what is written there appears at ``path`` whole, or not at all."""
    target = Path(path)
    if not target.parent.is_dir():
        raise BadInputError(f"there is no directory {target.parent} to write {target.name} in")
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield beside
        os.replace(beside, target)
    except OSError as error:
        reason = error.strerror or str(error).replace(str(beside), str(target))
        raise BadInputError(f"{target} cannot be written: {reason}") from error
    finally:
        beside.unlink(missing_ok=True)


def save_model(model: KMeansClustering, path: str | os.PathLike[str]) -> None:
    """Write a trained model; the file appears whole or not at all.

    First centers that were given as an array or a callable are not kept: they have been used.
    """
    state, given = model.state, model.get_params()
    fields = {name: getattr(state, name) for name in State.__dataclass_fields__}
    arrays = {name: fields.pop(name) for name in ARRAYS}
    parameters = {name: given[name] for name in PARAMETERS}
    parameters["num_clusters"] = len(state.clusters)
    if not isinstance(given["initial_clusters"], str):
        del parameters["initial_clusters"]
    header = {
        "format": FORMAT,
        "state": fields,
        "parameters": parameters,
        "columns": model.columns,
    }
    text = json.dumps(header, default=_plain)
    with whole_file(path) as beside, open(beside, "wb") as file:
        np.savez(file, header=np.array(text), **arrays)
        file.flush()
        os.fsync(file.fileno())


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
        header, arrays = _content(file)
        if header["format"] != FORMAT:
            raise BadInputError(f"{file} has format {header['format']}; this is format {FORMAT}")
        state = State(**arrays, **{name: _tuples(v) for name, v in header["state"].items()})
        columns = _tuples(header["columns"])
        given = {**header["parameters"], "random_seed": state.seed, **changes}
        model = KMeansClustering(**given)
    except NOT_A_MODEL as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{file} is not a model of shoal: {error}") from error
    shape = state.clusters.shape
    if (
        len(shape) != 2
        or shape != state.clusters_updated.shape
        or state.counts.shape != shape[:1]
        or any(array.dtype not in (np.float32, np.float64) for array in arrays.values())
    ):
        raise BadInputError(f"{file} is damaged: its arrays do not fit each other")
    model.restore(state, columns)
    return model


def _content(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the arrays of the state."""
    with open(file, "rb") as raw:
        try:
            content = np.load(raw, allow_pickle=False)
        except (ValueError, EOFError):
            raise BadInputError(f"{file} is not a model of shoal: it is no .npz file") from None
        if isinstance(content, np.ndarray):
            raise BadInputError(f"{file} is not a model of shoal: it is one array {content.shape}")
        missing = {"header", *ARRAYS} - set(content.files)
        if missing:
            raise BadInputError(
                f"{file} is not a model of shoal: it holds {content.files}, and no "
                f"{', '.join(sorted(missing))}"
            )
        header = json.loads(str(content["header"]))
        return header, {name: content[name] for name in ARRAYS}


def _plain(value: Any) -> Any:
    """What JSON has for scalars of NumPy, and for sequences."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Sequence):
        return list(value)
    raise BadInputError(f"{value!r} cannot be saved: columns need names that are text or numbers")


def _tuples(value: Any) -> Any:
    """Tuples come back from JSON as lists."""
    return tuple(value) if isinstance(value, list) else value
