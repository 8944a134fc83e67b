"""Models made of centers from elsewhere: class methods of ``KMeansClustering``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

from shoal.config import check_centers
from shoal.errors import BadInputError
from shoal.export import faiss, npy, onnx, sklearn
from shoal.export.given import Given
from shoal.metric import SQUARED_EUCLIDEAN_DISTANCE
from shoal.sources.columns import check_labels, is_frame, is_table

M = TypeVar("M")


def from_centers(
    model: type[M],
    /,
    centers: Any,
    distance_metric: str = SQUARED_EUCLIDEAN_DISTANCE,
    columns: Sequence[Any] | None = None,
    **parameters: Any,
) -> M:
    """Return a model of given centers, which predicts without training and can be trained on.

    Parameters
    ----------
    centers
        An array [k, d], a frame, table or dict of k rows, whose columns have names, or the path of
        a ``.npy`` file.
    distance_metric
        ``"squared_euclidean"`` or ``"cosine"``.
    columns
        Names of the columns of an array.
    **parameters
        Further parameters of ``KMeansClustering``.

    Returns
    -------
    KMeansClustering

    Raises
    ------
    BadInputError
        For centers that cannot be used, a file that is none, or names that do not fit.

    Examples
    --------
    >>> import shoal
    >>> shoal.KMeansClustering.from_centers([[0.0], [9.0]]).labels([[1.0], [8.0]])
    array([0, 1])
    """
    if isinstance(centers, (str, os.PathLike)):
        centers = npy.read(centers)
    if columns is not None and (is_frame(centers) or is_table(centers)):
        raise BadInputError(
            "columns is given, and the columns of centers have names: give one of them"
        )
    given = _named(Given(centers, distance_metric, None), columns)
    return _made(model, "from_centers", given, parameters)


def from_sklearn(model: type[M], /, fitted: Any, **parameters: Any) -> M:
    """Return a model of the centers of a fitted model of scikit-learn's.

    Parameters
    ----------
    fitted
        A ``KMeans`` or ``MiniBatchKMeans``, of ``shoal.sklearn`` too; or a pipeline of
        ``Normalizer`` and one of them, which is cosine.
    **parameters
        Further parameters of ``KMeansClustering``.

    Returns
    -------
    KMeansClustering
        With the names of the columns.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    BadInputError
        If it is something else.

    Examples
    --------
    >>> import shoal
    >>> from sklearn.cluster import KMeans
    >>> fitted = KMeans(2, random_state=0).fit([[0.0], [1.0], [9.0], [10.0]])
    >>> shoal.KMeansClustering.from_sklearn(fitted).clusters() == fitted.cluster_centers_
    array([[ True],
           [ True]])
    """
    return _made(model, "from_sklearn", sklearn.from_model(fitted), parameters)


def from_faiss_index(
    model: type[M], /, index: Any, columns: Sequence[Any] | None = None, **parameters: Any
) -> M:
    """Return a model of the vectors of a faiss index.

    Parameters
    ----------
    index
        An ``IndexFlat``, an IVF index with one as its coarse quantizer, or the path of a file with
        either. Inner product is cosine, and its vectors must be of length one.
    columns
        Names of the columns, which an index does not know.
    **parameters
        Further parameters of ``KMeansClustering``.

    Returns
    -------
    KMeansClustering

    Raises
    ------
    BadInputError
        For another index, a file that is none, or names that do not fit.
    MissingExtraError
        Without ``shoal[faiss]``.

    Examples
    --------
    >>> import shoal
    >>> index = shoal.KMeansClustering.from_centers([[0.0], [9.0]]).to_faiss_index()
    >>> shoal.KMeansClustering.from_faiss_index(index).labels([[1.0], [8.0]])
    array([0, 1])
    """
    if isinstance(index, (str, os.PathLike)):
        index = faiss.read(index)
    given = _named(faiss.from_index(index), columns)
    return _made(model, "from_faiss_index", given, parameters)


def from_onnx(model: type[M], /, path: str | os.PathLike[str], **parameters: Any) -> M:
    """Return the model of an ONNX file that shoal wrote.

    Parameters
    ----------
    path
        What ``export_onnx`` wrote.
    **parameters
        Further parameters of ``KMeansClustering``.

    Returns
    -------
    KMeansClustering
        Centers, metric and names of columns; the rest of the state is not in such files. Centers
        are of the dtype of the file, rounded once where they lie far from the others.

    Raises
    ------
    BadInputError
        If it is no such file, or damaged.
    MissingExtraError
        Without ``shoal[onnx]``.

    Examples
    --------
    >>> import shoal
    >>> shoal.KMeansClustering.from_centers([[0.0], [9.0]]).export_onnx("two.onnx")
    >>> shoal.KMeansClustering.from_onnx("two.onnx").labels([[1.0], [8.0]])
    array([0, 1])
    """
    found = onnx.read(path)
    given = Given(found.centers, found.metric, found.columns)
    return _made(model, "from_onnx", given, parameters)


def _made(model: type[M], method: str, given: Given, parameters: dict[str, Any]) -> M:
    """The model; ``num_clusters`` may be said once more, as of all given centers."""
    known = given.parameters()
    for name in ("initial_clusters", "distance_metric"):
        if name in parameters:
            raise BadInputError(
                f"{method} has no parameter {name!r}: it is that of what is given. Leave it out"
            )
    return model(**{**known, **parameters})


def _named(given: Given, columns: Sequence[Any] | None) -> Given:
    """The same with names of columns, if there are any."""
    if columns is None:
        return given
    names = check_labels(columns, "columns") or ()
    centers = check_centers(given.centers, "centers")
    if len(names) != centers.shape[1]:
        raise BadInputError(
            f"columns has {len(names)} names, and centers {centers.shape[1]} columns: they must "
            "agree"
        )
    return Given(centers, given.metric, names)
