"""A model in one file: what a checkpoint holds, under a name of the user's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from shoal.checks import path_of
from shoal.errors import BadInputError
from shoal.estimator import KMeansClustering
from shoal.export import faiss, npz, onnx
from shoal.export.endings import check_ending
from shoal.settings import to_keep
from shoal.storage import checkpoint, safetensors
from shoal.storage.checkpoint import Checkpoint
from shoal.storage.files import whole_file
from shoal.storage.model_dir import ModelDir
from shoal.storage.values import parameters_to_give

#: The suffix of the export to NumPy's format; every other name is a file of safetensors.
NPZ = ".npz"


def save_model(model: KMeansClustering, path: str | os.PathLike[str]) -> None:
    """Write a trained model into one file, which appears whole or not at all.

    The file is one of safetensors, the same as a checkpoint of a ``model_dir``: all of the state,
    the parameters and the names of the columns. To be read by ``load_model``, ``shoal inspect`` and
    other commands, and by any reader of that format. A name that ends in ``.npz`` makes the export
    of ``shoal.export.npz`` instead, which ``np.load`` opens.

    Parameters
    ----------
    model
        A ``KMeansClustering`` that has been trained. First centers that were given as an array or a
        callable are not kept: they have been used.
    path
        Where to write; what is there is replaced.

    Raises
    ------
    NotFittedError
        If the model has not been trained.
    BadInputError
        If the file cannot be written, or columns have names that cannot be saved.

    Examples
    --------
    >>> import shoal
    >>> model = shoal.KMeansClustering(2).fit([[0.0], [1.0], [9.0]])
    >>> shoal.save_model(model, "model.safetensors")
    >>> shoal.load_model("model.safetensors").labels([[8.0]]) == model.labels([[8.0]])
    array([ True])
    """
    _check_model(model)
    if path_of("path", path).suffix == NPZ:
        npz.save_model(model, path)
        return
    check_ending(path, ".safetensors", NPZ)
    held = Checkpoint(
        model.state, to_keep(model.get_params(), model.state.num_found), model.columns
    )
    parts = checkpoint.to_parts(held)
    with whole_file(path) as file:
        file.writelines(parts)


def load_model(path: str | os.PathLike[str], **changes: Any) -> KMeansClustering:
    """Read a model from a file, or the latest checkpoint of a ``model_dir``.

    Parameters
    ----------
    path
        What ``save_model`` wrote, in either form; a checkpoint; or a ``model_dir``, where the
        model goes on being kept.
    **changes
        Parameters of ``KMeansClustering`` that differ from those saved.

    Raises
    ------
    BadInputError
        If there is no such file, or it is not a model.
    CheckpointError
        If no checkpoint of the directory can be used, or a later version of shoal wrote the file.

    Examples
    --------
    >>> import shoal
    >>> x = [[0.0], [1.0], [10.0], [11.0]]
    >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
    >>> shoal.save_model(model, "model.safetensors")
    >>> again = shoal.load_model("model.safetensors", num_threads=1)
    >>> bool((again.labels(x) == model.labels(x)).all())
    True
    """
    file = path_of("path", path)
    if file.is_dir():
        found = ModelDir(file.absolute()).news(lambda _: None)
        if found is None:
            raise BadInputError(f"there is no checkpoint in {path}: it is no model_dir")
        return KMeansClustering(**{**_given(found), "model_dir": str(file), **changes})
    if not file.is_file():
        kind = "model file" if file.suffix else "model file or directory"
        raise BadInputError(f"there is no {kind} {file}")
    found = npz.read(file) if npz.is_npz(file) else _read(file)
    given = _given(found)
    try:
        KMeansClustering(**given)
    except (TypeError, ValueError) as error:  # parameters that there are not
        raise BadInputError(f"{file} is not a model of shoal: {error}") from error
    model = KMeansClustering(**{**given, **changes})
    model.restore(found.state, found.columns)
    return model


def _check_model(model: object) -> None:
    if not isinstance(model, KMeansClustering):
        raise BadInputError(
            f"model is of type {type(model).__name__}; it must be a KMeansClustering"
        )


def _given(found: Checkpoint) -> dict[str, Any]:
    return {**parameters_to_give(found.parameters), "random_seed": found.state.seed}


def _read(file: Path) -> Checkpoint:
    try:
        return checkpoint.read(file)
    except safetensors.FormatError as error:
        _refuse_exports(file)
        raise BadInputError(f"{file} is not a model of shoal, or damaged: {error}") from None
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror or error}") from error


def _refuse_exports(file: Path) -> None:
    """Say of an export what reads it."""
    with open(file, "rb") as opened:
        first = opened.read(16)
    if onnx.MAGIC in first:
        kind, reader = "ONNX", "from_onnx"
    elif first[:4] in faiss.MAGIC:
        kind, reader = "faiss", "from_faiss_index"
    else:
        return
    raise BadInputError(
        f"{file} is a file of {kind}, and this reads models that save_model or shoal fit wrote: "
        f"KMeansClustering.{reader} makes a model of its centers"
    )
