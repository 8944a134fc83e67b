"""BisectingKMeans by scikit-learn's names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from shoal import runs
from shoal.config import Parameters
from shoal.prepared import Prepared
from shoal.shards.kernels import nearest_labels
from shoal.sklearn.base import KMeansBase
from shoal.sklearn.door import paged, prepared_of
from shoal.sklearn.validating import checks_parameters
from shoal.sources.sparse import Matrix
from shoal.types import Floats, Indices, Labels


@dataclass
class _Node:
    """A cluster, or two that it was split into."""

    center: Floats  # [d]
    inertia: float
    rows: Indices  # [n] while fitting
    label: int = -1  # of a leaf
    parts: tuple[_Node, _Node] | None = None

    def leaves(self) -> Iterator[_Node]:
        """Clusters, from the left."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if node.parts is None:
                yield node
            else:
                waiting += reversed(node.parts)


class BisectingKMeans(KMeansBase):
    """k-means that splits a cluster in two again and again (Steinbach et al. 2000).

    The parameters and attributes are those of ``sklearn.cluster.BisectingKMeans``, with ``metric``
    and ``n_threads`` as ``shoal.sklearn.KMeans`` has them.

    Parameters
    ----------
    n_clusters, init, n_init, random_state, max_iter, verbose, tol
        As scikit-learn's; ``tol`` is relative to the variance of each cluster that is split.
    copy_x, algorithm
        As ``shoal.sklearn.KMeans`` has them.
    bisecting_strategy
        ``"biggest_inertia"`` or ``"largest_cluster"``: which cluster is split next.
    metric, n_threads
        As ``shoal.sklearn.KMeans`` has them.

    Attributes
    ----------
    cluster_centers_ : ndarray (n_clusters, n_features)
    labels_ : ndarray (n_samples,) of int32
    inertia_ : float
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features_in_,) of str

    Examples
    --------
    >>> from shoal.sklearn import BisectingKMeans
    >>> BisectingKMeans(2, random_state=0).fit([[0.0], [1.0], [10.0], [11.0]]).inertia_
    1.0
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **KMeansBase._parameter_constraints,
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init": KMeansBase._parameter_constraints["init"][:2],
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"lloyd", "elkan"})],
        "bisecting_strategy": [StrOptions({"biggest_inertia", "largest_cluster"})],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "random",
        n_init: int = 1,
        random_state: Any = None,
        max_iter: int = 300,
        verbose: int = 0,
        tol: float = 1e-4,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        bisecting_strategy: str = "biggest_inertia",
        metric: str = "euclidean",
        n_threads: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.random_state = random_state
        self.max_iter = max_iter
        self.verbose = verbose
        self.tol = tol
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.bisecting_strategy = bisecting_strategy
        self.metric = metric
        self.n_threads = n_threads

    @checks_parameters
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> BisectingKMeans:
        """Split the rows until there are ``n_clusters`` clusters.

        Parameters
        ----------
        X : array, sparse matrix, frame, path, source … (n_samples, n_features)
            Whatever ``shoal.open`` reads, but no stream of batches. The rows of a cluster that is
            split are copied; of the first one, they are read where they are.
        y : ignored
        sample_weight : array (n_samples,) or None

        Returns
        -------
        BisectingKMeans
            self
        """
        source = paged(
            self._open(X, sample_weight, reset=True),
            "fit",
            "KMeans reads such batches again and again, MiniBatchKMeans one by one.",
        )
        random = self._random()
        with prepared_of(source, self._parameters()) as prepared:
            self._check_number(prepared)
            first = prepared.into(1)
            found = runs.run(first, first.started(np.zeros((1, prepared.columns))), 1, 0.0)
            self._tree = _Node(found.centers[0], found.inertia, np.arange(len(prepared)))
            for _ in range(self.n_clusters - 1):
                self._split(max(self._tree.leaves(), key=self._score), prepared, random)
            self.labels_ = np.empty(len(prepared), np.int32)
        leaves = list(self._tree.leaves())
        for label, leaf in enumerate(leaves):
            self.labels_[leaf.rows] = leaf.label = label
            leaf.rows = np.empty(0, np.int64)
        self.cluster_centers_ = np.stack([leaf.center for leaf in leaves])
        self.inertia_ = math.fsum(leaf.inertia for leaf in leaves)
        return self

    def _score(self, leaf: _Node) -> float:
        """The leaf with the largest is split."""
        return len(leaf.rows) if self.bisecting_strategy == "largest_cluster" else leaf.inertia

    def _split(self, leaf: _Node, prepared: Prepared, random: Any) -> None:
        """Two clusters in place of one."""
        best: runs.Found | None = None
        tell = print if self.verbose else None
        whole = len(leaf.rows) == len(prepared)
        with nullcontext(prepared) if whole else prepared.some(leaf.rows) as inside:
            two = inside.into(2)
            for _ in range(self.n_init):
                state = self._begin(two, None, random)
                found = runs.run(two, state, self.max_iter, self.tol, tell)
                if best is None or found.inertia < best.inertia:
                    best = found
            assert best is not None
            losses = two.losses(best.centers)
        if tell is not None:
            tell(f"New centroids from bisection: {best.centers}")
        left, right = (
            _Node(best.centers[i], float(losses[i]), leaf.rows[best.labels == i]) for i in (0, 1)
        )
        leaf.parts = left, right
        leaf.rows = np.empty(0, np.int64)

    def predict(self, X: Any) -> Any:
        """The cluster that each row comes to down the tree of splits.

        Parameters
        ----------
        X
            As of ``KMeans.predict``.

        Returns
        -------
        ndarray (n_samples,) of int32
        """
        check_is_fitted(self)
        source, parameters = self._open(X), self._parameters()
        blocks = self._blocks(source, parameters)
        found = [self._descended(block.rows, parameters) for block in blocks]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _descended(self, rows: Matrix, parameters: Parameters) -> Labels:
        """Labels [n] of validated rows."""
        labels = np.empty(len(rows), np.int32)
        metric, threads = parameters.distance_metric, parameters.num_threads
        waiting = [(self._tree, np.arange(len(rows)))]
        while waiting:
            node, inside = waiting.pop()
            if node.parts is None:
                labels[inside] = node.label
            elif len(inside):
                centers = np.stack([part.center for part in node.parts])
                mine = rows if len(inside) == len(rows) else rows[inside]
                side = nearest_labels(mine, centers, metric, threads)
                waiting += [(node.parts[i], inside[side == i]) for i in (0, 1)]
        return labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
