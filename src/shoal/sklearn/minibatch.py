"""MiniBatchKMeans by scikit-learn's names."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.utils._param_validation import Interval

from shoal.metric import to_unit
from shoal.prepared import Prepared, trained
from shoal.shards.kernels import as_loss, assign_block
from shoal.shards.workspace import Workspace
from shoal.sklearn.base import KMeansBase
from shoal.sklearn.door import paged, prepared_of
from shoal.sklearn.quick import LARGEST_SEED
from shoal.sklearn.validating import checks_parameters
from shoal.sources.paged import PagedSource
from shoal.sources.pieces import cut
from shoal.sources.rows import Rows, joined
from shoal.state import Partial, State, exact_to_float
from shoal.steps import minibatch
from shoal.steps.ending import Smoothed
from shoal.steps.order import Order
from shoal.types import Floats


@dataclass
class _Waiting:
    """Rows since centers with little weight were last moved.

    Parameters
    ----------
    rows
        How many there were.
    epoch
        How many rows there are in all; infinite where nobody knows.
    seen, before
        Rows since an epoch began, and the weights of the clusters then.
    """

    rows: int = 0
    epoch: float = math.inf
    seen: int = 0
    before: Floats | None = None

    def is_due(self, rows: int, k: int, counts: Floats) -> bool:
        """Whether clusters are to be looked at: each 10 k rows, and while one has no rows."""
        self.rows += rows
        if (counts > 0).all() and self.rows < 10 * k:
            return False
        self.rows = 0
        return True

    def lost(self, rows: int, counts: Floats) -> npt.NDArray[np.bool_] | None:
        """Behind an epoch: the clusters that got none of all its rows, whatever weight they have.

        By their weight alone, as scikit-learn goes, one that soon had some rows would stay where
        it is for good, without any.
        """
        self.seen += rows
        if self.seen < self.epoch:
            return None
        lost = None if self.before is None else counts == self.before
        self.seen, self.before = 0, counts
        return lost


class MiniBatchKMeans(KMeansBase):
    """k-means by mini-batches (Sculley 2010), the same to the bit for any number of threads.

    The parameters and attributes are those of ``sklearn.cluster.MiniBatchKMeans``, with ``metric``
    and ``n_threads`` as ``shoal.sklearn.KMeans`` has them. Batches go over all rows in shuffled
    order, epoch after epoch, and weights count as weights: scikit-learn draws each batch anew.

    Parameters
    ----------
    n_clusters, init, max_iter, batch_size, verbose, compute_labels, random_state
        As scikit-learn's. ``init`` may also be ``"k-means||"``, ``"k-mc2"`` or ``"afk-mc2"``.
    tol, max_no_improvement, init_size, n_init, reassignment_ratio
        As scikit-learn's.
    metric, n_threads
        As ``shoal.sklearn.KMeans`` has them.

    Attributes
    ----------
    cluster_centers_ : ndarray (n_clusters, n_features)
    labels_ : ndarray (n_samples,) of int32, if ``compute_labels``
    inertia_ : float
    n_iter_, n_steps_ : int
        Epochs begun, and batches.
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features_in_,) of str

    Examples
    --------
    >>> from shoal.sklearn import MiniBatchKMeans
    >>> model = MiniBatchKMeans(2, random_state=0).fit([[0.0], [1.0], [10.0], [11.0]])
    >>> len(model.cluster_centers_)
    2
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **KMeansBase._parameter_constraints,
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "compute_labels": ["boolean"],
        "max_no_improvement": [Interval(Integral, 0, None, closed="left"), None],
        "init_size": [Interval(Integral, 1, None, closed="left"), None],
        "reassignment_ratio": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: Any = "auto",
        reassignment_ratio: float = 0.01,
        metric: str = "euclidean",
        n_threads: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.metric = metric
        self.n_threads = n_threads

    @checks_parameters
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MiniBatchKMeans:
        """Find ``n_clusters`` centers of the rows, batch after batch.

        Parameters
        ----------
        X : array, sparse matrix, frame, path, source … (n_samples, n_features)
            Whatever ``shoal.open`` reads, but no stream of batches.
        y : ignored
        sample_weight : array (n_samples,) or None

        Returns
        -------
        MiniBatchKMeans
            self
        """
        source = paged(
            self._open(X, sample_weight, reset=True),
            "fit",
            "Use partial_fit: for batch in stream: model.partial_fit(batch)",
        )
        self._random_state = random = self._random()
        self._n_init = self._number_of_runs(default=3)
        self._workspace = Workspace()
        with prepared_of(source, self._parameters()) as prepared:
            self._check_number(prepared)
            self._set_sizes(len(prepared))
            state = self._best_begin(prepared, self._given_centers(prepared), random)
            state = self._train(prepared, source, state, random)
            self._keep(state)
            if self.compute_labels:
                self._label(source)
        return self

    @checks_parameters
    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
    ) -> MiniBatchKMeans:
        """Go on with one batch; centers that are not given are chosen from the first one.

        Parameters
        ----------
        X : array, sparse matrix, frame, path, source … (n_samples, n_features)
            Whatever ``shoal.open`` reads, but no stream of batches.
        y : ignored
        sample_weight : array (n_samples,) or None

        Returns
        -------
        MiniBatchKMeans
            self
        """
        first = not hasattr(self, "cluster_centers_")
        source = paged(
            self._open(X, sample_weight, reset=first),
            "partial_fit",
            "Give it one batch at a time: for batch in stream: model.partial_fit(batch)",
        )
        if not hasattr(self, "_random_state"):
            self._random_state = self._random()
            self._workspace = Workspace()
        with prepared_of(source, self._parameters(), self._workspace) as prepared:
            if first:
                self._check_number(prepared)
                self._set_sizes(len(prepared))
                given = self._given_centers(prepared)
                state = self._begin_on_some(prepared, given, self._random_state)
                self._waiting, self.n_steps_ = _Waiting(), 0
            else:
                state = trained(self._stored, self._counts)
            state, _ = self._step(prepared, state, self._random_state)
            self.n_steps_ += 1
            self._keep(state)
            if self.compute_labels:
                self._label(source)
        return self

    def _label(self, source: PagedSource) -> None:
        """Labels and inertia of the centers that are kept: one pass, which adds nothing up."""
        parameters, labels, total = self._parameters(), [], 0
        for block in self._blocks(source, parameters):
            mine = np.empty(len(block.rows), np.int32)
            metric, threads = parameters.distance_metric, parameters.num_threads
            total += assign_block(block, self._stored, metric, threads, mine)[1]
            labels.append(mine)
        self.labels_ = labels[0] if len(labels) == 1 else np.concatenate(labels)
        self.inertia_ = as_loss(total)

    def _keep(self, state: State) -> None:
        self._counts, self._stored = state.counts, state.clusters
        cosine = self.metric == "cosine"
        self.cluster_centers_ = to_unit(self._stored) if cosine else self._stored.copy()

    # --- the first centers -----------------------------------------------------------------

    def _set_sizes(self, rows: int) -> None:
        """How many rows are a batch, and how many are offered to the choice of first centers."""
        self._batch_size = min(self.batch_size, rows)
        k = self.n_clusters
        size = self.init_size
        if size is None:
            size = 3 * self._batch_size
            size = 3 * k if size < k else size
        elif size < k:
            warnings.warn(
                f"init_size={size} should be larger than n_clusters={k}. Setting it to "
                "min(3*n_clusters, n_samples)",
                RuntimeWarning,
                stacklevel=3,
            )
            size = 3 * k
        self._init_size = min(size, rows)

    def _best_begin(self, prepared: Prepared, given: Floats | None, random: Any) -> State:
        """The first centers with the lowest inertia on rows drawn for that."""
        if self._n_init == 1 and not self.verbose:
            return self._begin_on_some(prepared, given, random)
        judges = random.randint(0, len(prepared), self._init_size)
        best, lowest = None, math.inf
        with prepared.some(judges) as judge:
            for number in range(self._n_init):
                self._tell(f"Init {number + 1}/{self._n_init} with method {self.init}")
                state = self._begin_on_some(prepared, given, random)
                inertia = exact_to_float(judge.data.measure(state.clusters).loss)
                self._tell(f"Inertia for init {number + 1}/{self._n_init}: {inertia}")
                if best is None or inertia < lowest:
                    best, lowest = state, inertia
        assert best is not None
        return best

    def _begin_on_some(self, prepared: Prepared, given: Floats | None, random: Any) -> State:
        if given is not None or self._init_size >= len(prepared):
            return self._begin(prepared, given, random)
        with prepared.some(random.randint(0, len(prepared), self._init_size)) as offered:
            return self._begin(offered, given, random)

    # --- steps -----------------------------------------------------------------------------

    def _train(self, prepared: Prepared, source: PagedSource, state: State, random: Any) -> State:
        """Steps until one of scikit-learn's rules ends them."""
        n, size = len(prepared), self._batch_size
        steps = (self.max_iter * n) // size
        tolerance = None
        smoothed = Smoothed()
        self._waiting = _Waiting(epoch=n)
        step = 0
        batches = _batches(source, prepared.columns, size, int(random.randint(LARGEST_SEED)))
        for step, rows in enumerate(itertools.islice(batches, steps), 1):
            with prepared.batch(rows, self._workspace) as batch:
                before = state.clusters
                state, found = self._step(batch, state, random)
                loss = batch.loss(found, before)
                if self.tol > 0 and tolerance is None:
                    tolerance = self.tol * prepared.spread()
            mean = loss / size
            if step > 1:
                smoothed = smoothed.update(mean, size, n)
            if self.verbose:
                ewa = "" if step == 1 else f", ewa inertia: {smoothed.mean}"
                self._tell(f"Minibatch step {step}/{steps}: mean batch inertia: {mean}{ewa}")
            if step == 1:
                continue
            if tolerance is not None and _moved(before, state.clusters) <= tolerance:
                self._tell(f"Converged (small centers change) at step {step}/{steps}")
                break
            most = self.max_no_improvement
            if most is not None and smoothed.without_improvement >= most:
                self._tell(f"Converged (lack of improvement in inertia) at step {step}/{steps}")
                break
        self.n_steps_ = step
        self.n_iter_ = math.ceil(step * size / n)
        if not self.compute_labels:
            self.inertia_ = (mean if smoothed.mean is None else smoothed.mean) * n
        return state

    def _step(self, batch: Prepared, state: State, random: Any) -> tuple[State, Partial]:
        """One step, and the pass that it was made of."""
        after, found = minibatch.step(state, batch.data, batch.parameters)
        due = self._waiting.is_due(found.rows, self.n_clusters, after.counts)
        lost = self._waiting.lost(found.rows, after.counts)
        due |= lost is not None and bool(lost.any())
        if due and self.reassignment_ratio > 0:
            key = int(random.randint(LARGEST_SEED))
            after, moved = minibatch.reassign(
                after, batch.data, batch.parameters, self.reassignment_ratio, key, lost
            )
            if moved:
                self._tell(f"[MiniBatchKMeans] Reassigning {moved} cluster centers.")
        return after, found

    def _tell(self, text: str) -> None:
        if self.verbose:
            print(text)


def _moved(before: Floats, after: Floats) -> float:
    """Sum of the squared shifts of the centers."""
    return float(np.square(after - before, dtype=np.float64).sum())


def _batches(source: PagedSource, columns: int, size: int, seed: int) -> Iterator[list[Rows]]:
    """Batches of so many rows, over all of them in new orders, epoch after epoch."""
    seed = seed if source.seed is None else source.seed
    orders = (Order(seed, epoch, source.rows or 0, columns) for epoch in itertools.count())
    batches = itertools.chain.from_iterable(source.epoch(order, size, 0) for order in orders)
    # Of a batch that lies in two epochs, one array: two cost as much as two batches.
    return ([joined(parts)] for parts in cut(itertools.chain.from_iterable(batches), size))
