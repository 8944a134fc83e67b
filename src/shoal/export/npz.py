"""A model as an .npz file, for NumPy: the whole state and the parameters, no pickle.

Layout: one array per array of the state, ``clusters`` as ``model.clusters()`` gives them; where
training goes on from others (under cosine, means of unit rows), those too, as ``clusters_stored``;
and ``header``, a JSON text with the format version, the scalars of the state, the parameters and
the names of the columns. ``shoal.load_model`` reads it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from shoal.errors import BadInputError
from shoal.estimator import KMeansClustering
from shoal.settings import to_keep
from shoal.sources.paths import READ_ERRORS
from shoal.storage.checkpoint import Checkpoint
from shoal.storage.files import whole_file
from shoal.storage.jsonl import json_object, plain
from shoal.storage.values import (
    ARRAYS,
    names_from,
    parameters_from,
    state_from_parts,
    state_to_parts,
)

FORMAT = 1
STORED = "clusters_stored"
#: First bytes of NumPy's files: a zip of arrays, an empty one, one array.
MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x93NUM")
#: What NumPy, zipfile and json raise of bytes that they did not write; nothing is run meanwhile.
NOT_A_MODEL = (*READ_ERRORS, AttributeError, TypeError)


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
        "parameters": to_keep(model.get_params(), state.num_found),
        "columns": plain(model.columns),
    }
    text = json.dumps(header)
    with whole_file(path) as file:
        np.savez(file, header=np.array(text), **arrays)


def is_npz(path: Path) -> bool:
    """Whether NumPy wrote a file, by its first bytes."""
    with open(path, "rb") as file:
        return file.read(len(MAGIC[0])) in MAGIC


def read(path: Path) -> Checkpoint:
    """Read what ``save_model`` wrote; BadInputError for anything else."""
    try:
        header, arrays = _content(path)
        if header["format"] != FORMAT:
            raise BadInputError(f"{path} has format {header['format']}; this is format {FORMAT}")
        try:
            state = state_from_parts(arrays, header["state"])
        except ValueError as error:
            raise BadInputError(f"{path} is damaged: {error}") from None
        parameters = parameters_from(header["parameters"], state)
        return Checkpoint(state, parameters, names_from(header["columns"]))
    except NOT_A_MODEL as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{path} is not a model of shoal: {error}") from error


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
        header = json_object(str(content["header"]))
        arrays = {name: content[name] for name in content.files if name != "header"}
        if STORED in arrays:
            arrays["clusters"] = arrays.pop(STORED)
        return header, arrays
