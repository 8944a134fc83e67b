"""KMeans by scikit-learn's names."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from shoal import config, runs
from shoal.sklearn.base import KMeansBase
from shoal.sklearn.door import prepared_of, remember, repeatable
from shoal.sklearn.quick import LARGEST_SEED
from shoal.sklearn.validating import checks_parameters


class KMeans(KMeansBase):
    """k-means, exact and the same to the bit for any number of threads.

    The parameters and attributes are those of ``sklearn.cluster.KMeans``, with these further ones.

    Parameters
    ----------
    n_clusters, init, n_init, max_iter, tol, verbose, random_state
        As scikit-learn's. ``init`` may also be ``"k-means||"``, ``"k-mc2"`` or ``"afk-mc2"``.
    copy_x
        Accepted; X is never written to.
    algorithm
        ``"lloyd"`` or ``"elkan"``: both give the same, exact result.
    metric
        ``"euclidean"`` or ``"cosine"``: 1 - x·c of unit vectors; centers are then of length one.
    start_on_sample
        True makes up to 20 steps on a quarter of the rows before the first step on all of them,
        half of the passes to the same inertia where there are 2,000 rows per cluster or more (a
        warning below 600). A number between 0 and 1 is the part of the rows; ``{"fraction": 0.25,
        "steps": 20}`` says both. ``n_iter_`` counts the steps on all rows.
    n_threads
        Threads to use; None: the processors this process may use.
    executor
        Where the rows of arrays and files are while they are trained on, as in
        ``RunConfig(executor=...)``: see ``shoal.executors``. None: in this process.

    Attributes
    ----------
    cluster_centers_ : ndarray (n_clusters, n_features)
    labels_ : ndarray (n_samples,) of int32
    inertia_ : float
        Sum of weight times squared distance (cosine: distance) to the nearest center.
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features_in_,) of str

    Examples
    --------
    >>> from shoal.sklearn import KMeans
    >>> model = KMeans(n_clusters=2, random_state=0).fit([[0.0], [1.0], [10.0], [11.0]])
    >>> sorted(model.cluster_centers_.ravel().tolist()), model.inertia_
    ([0.5, 10.5], 1.0)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **KMeansBase._parameter_constraints,
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"lloyd", "elkan"})],
        "start_on_sample": ["boolean", Interval(Real, 0, 1, closed="neither"), dict],
        "executor": [HasMethods(["start", "share", "submit", "gather", "close"]), None],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        metric: str = "euclidean",
        start_on_sample: bool | float | dict[str, float] = False,
        n_threads: int | None = None,
        executor: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.metric = metric
        self.start_on_sample = start_on_sample
        self.n_threads = n_threads
        self.executor = executor

    @checks_parameters
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMeans:
        """Find ``n_clusters`` centers of the rows.

        Parameters
        ----------
        X : array, sparse matrix, frame, path, source … (n_samples, n_features)
            Rows of any real dtype in any memory order, read as they lie; whatever ``shoal.open``
            reads, files piece by piece.
        y : ignored
        sample_weight : array (n_samples,) or None
            Or a column of X: ``shoal.open(path, weight="name")``.

        Returns
        -------
        KMeans
            self
        """
        source = repeatable(
            self._open(X, sample_weight, reset=True),
            "Or train MiniBatchKMeans, batch after batch, with partial_fit.",
        )
        self._n_init = self._number_of_runs(default=10)
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warnings.warn(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                RuntimeWarning,
                stacklevel=2,
            )
        random, tell = self._random(), print if self.verbose else None
        on_sample = config.on_sample(self.start_on_sample)
        best: runs.Found | None = None
        with prepared_of(source, self._parameters(), executor=self.executor) as prepared:
            if source.dim is None:
                remember(self, source, prepared.columns)
            self._check_number(prepared)
            given = self._given_centers(prepared)
            if isinstance(self.init, str) and tell is None and on_sample is None:
                seeds = random.randint(LARGEST_SEED, size=self._n_init).tolist()
                best = runs.best_of(prepared, seeds, self.max_iter, self.tol)
            for _ in range(self._n_init if best is None else 0):
                state = self._begin(prepared, given, random)
                if tell is not None:
                    tell("Initialization complete")
                if on_sample is not None:
                    state = state.replace(seed=int(random.randint(LARGEST_SEED)))
                    state = runs.on_sample(prepared, state, on_sample, self.tol, tell)
                found = runs.run(prepared, state, self.max_iter, self.tol, tell)
                if best is None or found.inertia < best.inertia:
                    best = found
        assert best is not None
        self._warn_of_few(best)
        self.cluster_centers_ = np.array(best.centers)
        self.labels_ = best.labels
        self.inertia_ = best.inertia
        self.n_iter_ = best.steps
        return self

    def _warn_of_few(self, found: runs.Found) -> None:
        distinct = int(np.count_nonzero(np.bincount(found.labels)))
        if distinct < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters "
                f"({self.n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=3,
            )
