"""What the estimators share: parameters, first centers, what a model says of rows."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from shoal.config import Parameters
from shoal.errors import BadInputError, TooFewRowsError
from shoal.metric import all_distances
from shoal.prepared import Prepared, blocks_of, local_trials
from shoal.shards.kernels import assign_block, nearest_labels
from shoal.sklearn.door import is_as_fitted, opened, other_words
from shoal.sklearn.names import METRICS, SEEDINGS, threads_of
from shoal.sklearn.quick import LARGEST_SEED, are_plain, random_state_of
from shoal.sources.open import Source
from shoal.sources.rows import Rows
from shoal.sources.sparse import is_sparse
from shoal.state import State, exact_to_float
from shoal.types import Floats


class KMeansBase(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Centers by scikit-learn's conventions."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions(set(SEEDINGS)), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "metric": [StrOptions(set(METRICS))],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    }

    # --- parameters ------------------------------------------------------------------------

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> Any:  # looked up in the signature once per class, not per fit
        return super()._get_param_names()

    def _validate_params(self) -> None:
        if not are_plain(self.get_params(deep=False)):
            super()._validate_params()

    # --- the door --------------------------------------------------------------------------

    def _open(self, X: Any, sample_weight: Any = None, *, reset: bool = False) -> Source:
        return opened(self, X, sample_weight, reset)

    def _parameters(self, k: int | None = None) -> Parameters:
        """The parameters by the engine's names."""
        k = self.n_clusters if k is None else k
        return Parameters(
            k,
            SEEDINGS[self.init] if isinstance(self.init, str) else "random",
            METRICS[self.metric],
            use_mini_batch=False,
            kmeans_plus_plus_num_retries=local_trials(k),
            num_threads=threads_of(self.n_threads),
        )

    def _check_number(self, prepared: Prepared) -> None:
        if len(prepared) < self.n_clusters:
            raise TooFewRowsError(
                f"n_samples={len(prepared)} should be >= n_clusters={self.n_clusters}. Use fewer "
                "clusters or give more rows."
            )

    def _number_of_runs(self, default: int) -> int:
        """How often to begin anew: ``default`` where it is "auto" and begins differ much."""
        given = isinstance(self.init, str) or callable(self.init)
        if self.n_init == "auto":
            return 1 if not given or self.init == "k-means++" else default
        if not given and self.n_init != 1:
            warnings.warn(
                "Explicit initial center position passed: performing only one init in "
                f"{type(self).__name__} instead of n_init={self.n_init}.",
                RuntimeWarning,
                stacklevel=3,
            )
            return 1
        return int(self.n_init)

    def _given_centers(self, prepared: Prepared) -> Floats | None:
        """Centers given as an array, checked; None where they are to be chosen."""
        if isinstance(self.init, str) or callable(self.init):
            return None
        return self._checked_centers(self.init, prepared)

    def _checked_centers(self, centers: Any, prepared: Prepared) -> Floats:
        k = prepared.parameters.num_clusters
        checked: Any = check_array(centers, dtype=[np.float64, np.float32], accept_sparse="csr")
        found: Floats = checked.toarray() if is_sparse(checked) else checked
        if len(found) != k:
            raise BadInputError(
                f"The shape of the initial centers {found.shape} does not match the number of "
                f"clusters {k}."
            )
        if found.shape[1] != prepared.columns:
            raise BadInputError(
                f"The shape of the initial centers {found.shape} does not match the number of "
                f"features of the data {prepared.columns}."
            )
        return found

    def _begin(self, prepared: Prepared, given: Floats | None, random: Any) -> State:
        """First centers: given, from the user's own function, or chosen among the rows."""
        if given is not None:
            return prepared.started(given)
        if callable(self.init):
            k = prepared.parameters.num_clusters
            chosen = self.init(prepared.rows(), k, random_state=random)
            return prepared.started(self._checked_centers(chosen, prepared))
        return prepared.seeded(int(random.randint(LARGEST_SEED)))

    def _random(self) -> Any:
        return random_state_of(self.random_state)

    # --- what a model says of rows ---------------------------------------------------------

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """``fit(X).labels_``: the nearest center [n] int32 of each row."""
        return self.fit(X, sample_weight=sample_weight).labels_

    def _blocks(self, source: Source, parameters: Parameters) -> Iterator[Rows]:
        """The rows of a source, validated, piece by piece."""
        with other_words():
            yield from blocks_of(source, self.cluster_centers_, parameters)

    def predict(self, X: Any) -> Any:
        """Nearest center of each row, exact, ties to the lowest index.

        Parameters
        ----------
        X : array, sparse matrix, frame, path, source … (n_samples, n_features)
            Whatever ``shoal.open`` reads; files piece by piece.

        Returns
        -------
        ndarray (n_samples,) of int32
        """
        metric, threads = METRICS[self.metric], threads_of(self.n_threads)
        if is_as_fitted(self, X, metric):
            return nearest_labels(X, self.cluster_centers_, metric, threads)
        check_is_fitted(self)
        source, parameters = self._open(X), self._parameters()
        found = [
            nearest_labels(block.rows, self.cluster_centers_, metric, threads)
            for block in self._blocks(source, parameters)
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """``fit(X).transform(X)``."""
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def transform(self, X: Any) -> Any:
        """Distance of each row to each center: Euclidean, or 1 - cosine.

        Parameters
        ----------
        X
            As of ``predict``.

        Returns
        -------
        ndarray (n_samples, n_clusters) in the dtype of the centers
        """
        check_is_fitted(self)
        source, parameters = self._open(X), self._parameters()
        metric, threads = parameters.distance_metric, parameters.num_threads
        dtype = self.cluster_centers_.dtype
        parts = []
        for block in self._blocks(source, parameters):
            found = all_distances(block.rows, self.cluster_centers_, metric, threads)
            if self.metric == "euclidean":
                np.sqrt(found, out=found)
            parts.append(found.astype(dtype, copy=False))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the inertia of X: of weight * distance to the nearest center, squared.

        Parameters
        ----------
        X, sample_weight
            As of ``fit``.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        source, parameters = self._open(X, sample_weight), self._parameters()
        metric, threads = parameters.distance_metric, parameters.num_threads
        total = 0
        for block in self._blocks(source, parameters):
            total += assign_block(block, self.cluster_centers_, metric, threads)[1]
        return -exact_to_float(total)

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
