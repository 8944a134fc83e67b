"""k-means and its seeding as functions, by scikit-learn's names."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, validate_params

from shoal.config import Parameters
from shoal.metric import SQUARED_EUCLIDEAN_DISTANCE
from shoal.prepared import local_trials
from shoal.sklearn.door import in_memory, prepared_of, weights_of
from shoal.sklearn.kmeans import KMeans
from shoal.sklearn.names import threads_of
from shoal.sklearn.quick import LARGEST_SEED, random_state_of
from shoal.sources.sparse import is_sparse


@validate_params(  # type: ignore[untyped-decorator]
    {
        "X": ["array-like", "sparse matrix"],
        "sample_weight": ["array-like", None],
        "return_n_iter": [bool],
    },
    prefer_skip_nested_validation=False,
)
def k_means(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    init: Any = "k-means++",
    n_init: Any = "auto",
    max_iter: int = 300,
    verbose: bool = False,
    tol: float = 1e-4,
    random_state: Any = None,
    copy_x: bool = True,
    algorithm: str = "lloyd",
    return_n_iter: bool = False,
) -> tuple[Any, ...]:
    """``KMeans(…).fit(X)`` as a function; arguments as there.

    Returns
    -------
    tuple
        Centers [k, d], labels [n] int32, inertia; and the number of steps, if ``return_n_iter``.

    Examples
    --------
    >>> from shoal.sklearn import k_means
    >>> centers, labels, inertia = k_means([[0.0], [1.0], [10.0], [11.0]], 2, random_state=0)
    >>> centers.shape, float(inertia)
    ((2, 1), 1.0)
    """
    fitted = KMeans(
        n_clusters,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        verbose=verbose,
        tol=tol,
        random_state=random_state,
        copy_x=copy_x,
        algorithm=algorithm,
    ).fit(X, sample_weight=sample_weight)
    found = (fitted.cluster_centers_, fitted.labels_, fitted.inertia_)
    return (*found, fitted.n_iter_) if return_n_iter else found


@validate_params(  # type: ignore[untyped-decorator]
    {
        "X": ["array-like", "sparse matrix"],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "sample_weight": ["array-like", None],
        "x_squared_norms": ["array-like", None],
        "random_state": ["random_state"],
        "n_local_trials": [Interval(Integral, 1, None, closed="left"), None],
    },
    prefer_skip_nested_validation=True,
)
def kmeans_plusplus(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    x_squared_norms: Any = None,
    random_state: Any = None,
    n_local_trials: int | None = None,
) -> tuple[Any, Any]:
    """Choose rows as first centers by k-means++ (Arthur & Vassilvitskii 2007), greedily.

    Parameters
    ----------
    X : array or sparse matrix (n_samples, n_features)
    n_clusters : int
    sample_weight : array (n_samples,) or None
    x_squared_norms : array (n_samples,) or None
        Accepted; only its length is looked at.
    random_state : int, RandomState or None
    n_local_trials : int or None
        Candidates per pick; None: 2 + log k.

    Returns
    -------
    centers : ndarray (n_clusters, n_features)
    indices : ndarray (n_clusters,) of int64
        ``X[indices]`` are the centers.

    Examples
    --------
    >>> import numpy as np
    >>> from shoal.sklearn import kmeans_plusplus
    >>> x = np.array([[0.0], [1.0], [10.0]])
    >>> centers, indices = kmeans_plusplus(x, 2, random_state=0)
    >>> bool((x[indices] == centers).all())
    True
    """
    X = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32], order=None)
    weights = weights_of(sample_weight, X.shape[0])
    if X.shape[0] < n_clusters:
        raise ValueError(f"n_samples={X.shape[0]} should be >= n_clusters={n_clusters}.")
    if x_squared_norms is not None:
        norms = check_array(x_squared_norms, ensure_2d=False)
        if norms.shape[0] != X.shape[0]:
            raise ValueError(
                f"The length of x_squared_norms {norms.shape[0]} should be equal to the length of "
                f"n_samples {X.shape[0]}."
            )
    trials = 1 + local_trials(n_clusters) if n_local_trials is None else n_local_trials
    parameters = Parameters(
        n_clusters,
        "kmeans_plus_plus",
        SQUARED_EUCLIDEAN_DISTANCE,
        kmeans_plus_plus_num_retries=trials - 1,
        num_threads=threads_of(None),
    )
    seed = int(random_state_of(random_state).randint(LARGEST_SEED))
    with prepared_of(in_memory(X, weights), parameters) as prepared:
        drawn = prepared.picked(seed)
    centers = X[drawn]
    return (centers.toarray() if is_sparse(centers) else centers), drawn
