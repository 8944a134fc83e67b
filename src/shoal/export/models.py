"""Exports of a model of any face; of ``KMeansClustering``, some of them are methods."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from shoal.errors import BadInputError
from shoal.export import faiss, npy, onnx, savedmodel, sklearn
from shoal.export.faces import exported
from shoal.export.folders import check_base, write_numbered


def to_onnx(
    model: Any, path: str | os.PathLike[str], dtype: str = "float32", opset: int = onnx.USUAL
) -> None:
    """Write an ONNX file that predicts as the model does, in any runtime.

    Input ``X`` [N, d]; outputs ``cluster_idx`` [N] int64, ``scores`` [N] and ``all_scores`` [N, k],
    as of ``predict``. The number of rows N is free; the centers are inside. Runtimes compute in
    ``dtype``: rows that are as far from two centers, but for its rounding, may get the other of
    them (``docs/exporting.md`` has the bound), and distances agree to about 1e-6. Rows that
    are not finite get the label -1 and NaN. The names of the columns are in the metadata.

    Parameters
    ----------
    model
        A trained model of any face.
    path
        The file to write, whole or not at all; what is there is replaced.
    dtype
        ``"float32"`` or ``"float64"``: of ``X``, the centers and the distances.
    opset
        Version of ONNX's operators, 13 … 28; 17 is read by onnxruntime 1.12 and later.

    Raises
    ------
    NotFittedError
        Before training.
    BadInputError
        If the file cannot be written, or the distances leave the range of ``dtype``.
    MissingExtraError
        Without ``shoal[onnx]``.

    Examples
    --------
    >>> import shoal
    >>> model = shoal.KMeansClustering.from_centers([[0.0, 0.0], [4.0, 3.0]])
    >>> model.export_onnx("model.onnx")
    """
    onnx.write(*exported(model, "export_onnx"), path, dtype=dtype, opset=opset)


def to_npy(model: Any, path: str | os.PathLike[str]) -> None:
    """Write the centers [k, d] as a ``.npy`` file, whole or not at all.

    Parameters
    ----------
    model
        A trained model of any face.
    path
        The file to write; what is there is replaced.

    Examples
    --------
    >>> import shoal
    >>> x = [[0.0], [1.0], [10.0], [11.0]]
    >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
    >>> shoal.export.to_npy(model, "centers.npy")
    >>> shoal.KMeansClustering.from_centers("centers.npy").clusters().shape
    (2, 1)
    """
    npy.write(*exported(model, "to_npy"), path)


def to_sklearn(model: Any, dtype: str | None = None) -> Any:
    """Return a fitted scikit-learn model that predicts the same.

    A ``sklearn.cluster.KMeans``; under cosine a ``Pipeline`` of ``Normalizer`` and ``KMeans``,
    whose distances are those of rows of length one: the square root of twice ours. joblib and
    pickle take it anywhere without shoal. It has no ``labels_`` and no ``inertia_``: those are of
    training rows, which a model does not keep.

    Parameters
    ----------
    model
        A trained model of any face.
    dtype
        ``"float32"`` or ``"float64"``: of the rows that it will predict, which scikit-learn wants
        to be that of the centers. None: that of the centers here.

    Returns
    -------
    sklearn.cluster.KMeans or sklearn.pipeline.Pipeline
        With ``n_features_in_``, and ``feature_names_in_`` where all columns have names.

    Raises
    ------
    NotFittedError
        Before training.
    BadInputError
        For another ``dtype``, or a center of zeros under cosine, which scikit-learn has not.
    MissingExtraError
        Without ``shoal[sklearn]``.

    Examples
    --------
    >>> import shoal
    >>> model = shoal.KMeansClustering.from_centers([[0.0], [9.0]])
    >>> model.to_sklearn().predict([[1.0], [8.0]])
    array([0, 1], dtype=int32)
    """
    return sklearn.to_model(*exported(model, "to_sklearn"), dtype=dtype)


def to_faiss_index(model: Any, ivf: bool = False) -> Any:
    """Return a faiss index of the centers, or an empty one whose lists are the clusters.

    Parameters
    ----------
    model
        A trained model of any face.
    ivf
        False: an ``IndexFlatL2`` of the centers (under cosine ``IndexFlatIP``), whose ``search``
        finds the nearest. True: a trained ``IndexIVFFlat`` without vectors, whose coarse quantizer
        that is: ``add`` puts vectors into the lists of their nearest centers. Under cosine, vectors
        that are added must be of length one.

    Returns
    -------
    faiss.IndexFlat or faiss.IndexIVFFlat
        Of float32, as all of faiss.

    Raises
    ------
    NotFittedError
        Before training.
    BadInputError
        If float32 has no room for the centers.
    MissingExtraError
        Without ``shoal[faiss]``.

    Examples
    --------
    >>> import numpy as np, shoal
    >>> x = np.array([[0.0], [1.0], [9.0]], np.float32)
    >>> index = shoal.KMeansClustering.from_centers([[0.0], [9.0]]).to_faiss_index(ivf=True)
    >>> index.add(x)
    >>> index.search(x[2:], 1)[1].tolist()
    [[2]]
    """
    return faiss.to_index(*exported(model, "to_faiss_index"), ivf=ivf)


def to_faiss(model: Any, path: str | os.PathLike[str], ivf: bool = False) -> None:
    """Write the index of ``to_faiss_index`` for ``faiss.read_index``, whole or not at all.

    Parameters
    ----------
    model, ivf
        As of ``to_faiss_index``.
    path
        The file to write; what is there is replaced.

    Examples
    --------
    >>> import shoal
    >>> x = [[0.0], [1.0], [10.0], [11.0]]
    >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
    >>> shoal.export.to_faiss(model, "centers.faiss")
    """
    faiss.write(*exported(model, "to_faiss"), path, ivf=ivf)


def to_savedmodel(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a TensorFlow SavedModel into a directory, which appears whole or not at all.

    The signatures are those of ``KMeansClustering.export_savedmodel``, which has more to choose.

    Parameters
    ----------
    model
        A trained model of any face.
    path
        The directory, which must be new or empty.

    Raises
    ------
    NotFittedError
        Before training.
    BadInputError
        If the directory is not empty or cannot be written.
    MissingExtraError
        Without ``shoal[tensorflow]``.
    """
    target = check_base("path", path)
    found = exported(model, "to_savedmodel")
    savedmodel.tensorflow("a SavedModel")
    empty = target.is_dir()
    if empty and any(target.iterdir()):
        raise BadInputError(f"directory {target} is not empty: choose another one")

    def write(part: Path) -> None:
        savedmodel.write(*found, part, savedmodel.Wishes())

    if empty:
        target.rmdir()
    try:
        write_numbered(target.parent, target.name, write)
    finally:
        if empty:
            target.mkdir(exist_ok=True)
