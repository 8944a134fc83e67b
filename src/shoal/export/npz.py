"""A model in one .npz file: the whole state and the parameters, no pickle.

Layout: one array per array of the state, ``clusters`` as ``model.clusters()`` gives them; where
training goes on from others (under cosine, means of unit rows), those too, as ``clusters_stored``;
and ``header``, a JSON text with the format version, the scalars of the state, the parameters and
the names of the columns.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.estimator import KMeansClustering
from shoal.storage.model_dir import ModelDir
from shoal.storage.values import (
    ARRAYS,
    names_from,
    parameters_to_give,
    plain,
    state_from_parts,
    state_to_parts,
)

FORMAT = 1
STORED = "clusters_stored"
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
    state = model.state
    arrays, fields = state_to_parts(state)
    users = model.clusters()
    if not np.array_equal(users, arrays["clusters"]):
        arrays["clusters"], arrays[STORED] = users, arrays["clusters"]
    header = {
        "format": FORMAT,
        "state": fields,
        "parameters": model._kept_parameters(),
        "columns": plain(model.columns),
    }
    text = json.dumps(header)
    with whole_file(path) as beside, open(beside, "wb") as file:
        np.savez(file, header=np.array(text), **arrays)
        file.flush()
        os.fsync(file.fileno())


def load_model(path: str | os.PathLike[str], **changes: Any) -> KMeansClustering:
    """Read a model from a file, or the latest checkpoint of a ``model_dir``.

    ``changes`` are parameters that differ from those saved.

    Raises
    ------
    BadInputError
        If there is no such file, or it is not a model of this format.
    CheckpointError
        If no checkpoint of the directory can be used.
    """
    file = Path(path)
    if file.is_dir():
        return _from_model_dir(file, changes)
    if not file.is_file():
        raise BadInputError(f"there is no model file {file}")
    try:
        header, arrays = _content(file)
        if header["format"] != FORMAT:
            raise BadInputError(f"{file} has format {header['format']}; this is format {FORMAT}")
        try:
            state = state_from_parts(arrays, header["state"])
        except ValueError as error:
            raise BadInputError(f"{file} is damaged: {error}") from None
        columns = names_from(header["columns"])
        kept = parameters_to_give(header["parameters"])
        given = {**kept, "random_seed": state.seed, **changes}
        model = KMeansClustering(**given)
    except NOT_A_MODEL as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{file} is not a model of shoal: {error}") from error
    model.restore(state, columns)
    return model


def _from_model_dir(path: Path, changes: dict[str, Any]) -> KMeansClustering:
    found = ModelDir(path.absolute()).news(lambda _: None)
    if found is None:
        raise BadInputError(f"there is no checkpoint in {path}: it is no model_dir")
    kept = parameters_to_give(found.parameters)
    given = {**kept, "random_seed": found.state.seed, "model_dir": str(path), **changes}
    return KMeansClustering(**given)


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
        arrays = {name: content[name] for name in content.files if name != "header"}
        if STORED in arrays:
            arrays["clusters"] = arrays.pop(STORED)
        return header, arrays
