"""KMeans: the same algorithm one step at a time, for people who drive the loop themselves."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shoal.batches import check_columns, look_at, make_data
from shoal.config import RANDOM_INIT, InitialClusters, Parameters, check_executor
from shoal.errors import BadInputError, EndOfDataError, NotInitializedError
from shoal.executors.data import Data
from shoal.loop import too_few_rows
from shoal.metric import SQUARED_EUCLIDEAN_DISTANCE, all_distances, as_scores, users_clusters
from shoal.other_names import ATTRIBUTES, ESTIMATORS_METHODS, PROGRAM_OR_ESTIMATOR, own_inputs
from shoal.shards.kernels import nearest, nearest_labels
from shoal.shards.workspace import Workspace
from shoal.sources.array import is_part_list
from shoal.sources.columns import Columns
from shoal.sources.open import open_named
from shoal.sources.rows import Rows
from shoal.sources.sparse import Matrix
from shoal.sphere import warn_of_degrees
from shoal.state import State, empty_state
from shoal.steps import seeding
from shoal.steps.algorithm import chosen
from shoal.steps.round import Round
from shoal.types import Array


class _Operations(NamedTuple):
    all_scores: Callable[..., Any]
    cluster_idx: Callable[..., Any]
    scores: Callable[..., Any]
    cluster_centers_initialized: Callable[[], bool]
    init_op: Callable[[], None]
    training_op: Callable[[], float]


class TrainingGraph(_Operations):
    """The operations of one training program; all share one state.

    Attributes
    ----------
    all_scores, cluster_idx, scores
        Callables that evaluate the current batch, the last one taken (before the first step: the
        one it will take): distances [n, k], nearest center [n] int64, its distance [n]. A list of
        arrays where the inputs are shards. Or, as ``cluster_idx(rows)``, other rows in memory.
    cluster_centers_initialized
        Whether all centers have been chosen.
    init_op
        Takes the next batch and chooses centers from it.
    training_op
        Takes the next batch, runs one step, returns its loss: the sum of the distances at the
        centers before the step.
    """

    __slots__ = ()

    @property
    def cluster_centers_initialized(self) -> bool:  # type: ignore[override]
        """Whether all centers have been chosen."""
        return bool(self[3]())


class KMeans:
    """The k-means training program, step by step.

    Parameters
    ----------
    inputs
        An array [n, d] (each step sees all of it), a list of arrays (the shards of one batch), or
        a source of batches: an iterator, generator or callable, each batch an array or a list of
        shards; ``shoal.Weighted(rows, weights)`` for weighted rows.
    num_clusters
        Number of centers k; None with given centers.
    initial_clusters
        ``"random"``, ``"kmeans_plus_plus"``, ``"kmeans_parallel"``, ``"kmc2"``, ``"afkmc2"``, an
        array [k, d], or a callable ``f(inputs, remaining)`` that returns at most ``remaining``
        rows.
    distance_metric
        ``"squared_euclidean"`` or ``"cosine"``.
    use_mini_batch
        Mini-batch steps, else full-batch steps.
    mini_batch_steps_per_iteration
        Mini-batch steps between updates of the centers that assign rows.
    random_seed
        Seed of every random choice; None draws a fresh one (kept in ``state.seed``).
    kmeans_plus_plus_num_retries
        Further candidates per pick of k-means++; negative: 2 + floor(ln k).
    kmc2_chain_length
        Length of a Markov chain of k-MC² and AFK-MC².
    kmeans_parallel_rounds, kmeans_parallel_oversampling
        Of k-means||: passes in which candidates are drawn (more where these would be too few), and
        how many are expected in each, times k.
    empty_clusters
        ``"relocate"``, ``"keep"`` or ``"error"``: a full-batch cluster without rows.
    reassignment_ratio
        Of mini-batches: clusters below this part of the largest weight move to rows, once per 10 k
        rows; 0: they stay.
    num_threads
        Threads per step; None: the CPUs this process may use. Results do not depend on it.
    executor
        Where rows are assigned, as in ``RunConfig``; None: in this process.

    Raises
    ------
    BadInputError
        For an unknown name, a value out of range, or data that cannot be used.

    Examples
    --------
    >>> import shoal
    >>> x = [[0.0], [1.0], [10.0], [11.0]]
    >>> graph = shoal.KMeans(x, 2, "kmeans_plus_plus").training_graph()
    >>> while not graph.cluster_centers_initialized:
    ...     graph.init_op()
    >>> losses = [graph.training_op() for _ in range(3)]
    >>> losses[-1] <= losses[0]
    True
    """

    @own_inputs
    def __init__(
        self,
        inputs: Any,
        num_clusters: int | None,
        initial_clusters: InitialClusters = RANDOM_INIT,
        distance_metric: str = SQUARED_EUCLIDEAN_DISTANCE,
        use_mini_batch: bool = False,
        mini_batch_steps_per_iteration: int = 1,
        random_seed: int | None = 0,
        kmeans_plus_plus_num_retries: int = 2,
        kmc2_chain_length: int = 200,
        *,
        kmeans_parallel_rounds: int = 5,
        kmeans_parallel_oversampling: float = 2.0,
        empty_clusters: str = "relocate",
        reassignment_ratio: float = 0,
        num_threads: int | None = None,
        executor: Any = None,
    ) -> None:
        self._parameters = Parameters.checked(
            num_clusters=num_clusters,
            initial_clusters=initial_clusters,
            distance_metric=distance_metric,
            use_mini_batch=use_mini_batch,
            mini_batch_steps_per_iteration=mini_batch_steps_per_iteration,
            random_seed=random_seed,
            kmeans_plus_plus_num_retries=kmeans_plus_plus_num_retries,
            kmc2_chain_length=kmc2_chain_length,
            kmeans_parallel_rounds=kmeans_parallel_rounds,
            kmeans_parallel_oversampling=kmeans_parallel_oversampling,
            empty_clusters=empty_clusters,
            reassignment_ratio=reassignment_ratio,
            num_threads=num_threads,
        )
        self._metric = self._parameters.distance_metric
        self._threads = self._parameters.num_threads
        names = self._parameters.columns
        self._named = Columns(learned=names or None, owner="initial_clusters", exact=True)
        self._source = open_named(inputs, self._named, None, True, "inputs")
        self._batches: Iterator[list[Rows]]
        source = self._source
        if source.resident and not source.batched:
            self._whole, self._batches = True, itertools.repeat(list(source.held))
        else:
            self._whole, self._batches = False, self._source.batches()
        self._sharded = is_part_list(inputs)
        self._current: list[Rows] | None = None
        self._ready: Data | None = None
        self._executor = check_executor(executor)
        self._workspace = Workspace()
        self._lock = threading.RLock()
        self._state: State | None = self._given_state()

    @property
    def state(self) -> State:
        """The state after the last completed step; raises NotInitializedError before seeding."""
        if self._state is None:
            raise NotInitializedError("no batch has been seen yet: call init_op() first")
        return self._state

    @property
    def clusters(self) -> Array:
        """The centers [k, d], of length one under cosine, a copy; before: NotInitializedError."""
        return users_clusters(self._require("clusters").clusters, self._metric)

    @property
    def distance_metric(self) -> str:
        """``"squared_euclidean"`` or ``"cosine"``."""
        return self._metric

    @property
    def columns(self) -> tuple[Any, ...]:
        """Names of the columns, in the order of the centers; () where inputs have none."""
        return tuple(self._named.learned or self._source.columns or ())

    def training_graph(self) -> TrainingGraph:
        """Return the operations; several calls return views of the same state.

        Examples
        --------
        >>> import shoal
        >>> graph = shoal.KMeans([[0.0], [9.0]], 2).training_graph()
        >>> graph.init_op()
        >>> graph.cluster_centers_initialized
        True
        """
        return TrainingGraph(
            self._all_scores,
            self._cluster_idx,
            self._scores,
            self._is_initialized,
            self._init,
            self._train,
        )

    def _given_state(self) -> State | None:
        if not self._parameters.has_centers:
            return None
        state = seeding.from_centers(self._parameters)
        if self._source.dim is not None:
            check_columns(state, self._source.dim, "inputs")
        return state

    if not TYPE_CHECKING:  # type checkers know by themselves which names there are not

        def __getattr__(self, name):
            """Say which class has the methods of an estimator."""
            if name in ESTIMATORS_METHODS or name in ATTRIBUTES:
                raise AttributeError(f"KMeans has no {name!r}: {PROGRAM_OR_ESTIMATOR}")
            return object.__getattribute__(self, name)

    def _is_initialized(self) -> bool:
        return self._state is not None and self._state.initialized

    def _next(self) -> Data:
        """Take the next batch."""
        shards = next(self._batches, None)
        if shards is None:
            raise EndOfDataError(
                "inputs has no more batches: give an iterator that goes on, or an array, of which "
                "every step sees all rows"
            )
        # Validated anew even where the arrays are the same: their owner may have changed them.
        if self._ready is None:
            warn_of_degrees(shards[0].columns, self._metric)
        else:
            self._ready.close()
        self._current = shards
        executor = self._executor
        self._ready = make_data(shards, self._parameters, self._workspace, executor=executor)
        return self._ready.checked()

    def _current_rows(self) -> list[Matrix]:
        """Those of the last batch taken; before the first step, of the one that it will take."""
        if self._ready is None:
            self._next()
            assert self._current is not None
            self._batches = itertools.chain([self._current], self._batches)
        assert self._current is not None
        return [shard.rows for shard in self._current]

    def _init(self) -> None:
        with self._lock:
            if self._is_initialized():
                return
            state = self._state
            try:
                data = self._next()
            except EndOfDataError:
                found = 0 if state is None else state.num_found
                how = f"inputs ended after {found} centers were found"
                raise too_few_rows(self._parameters, how) from None
            scan = data.scan()
            columns = len(scan.magnitude)
            if state is None:
                state = empty_state(columns, scan.dtype, self._parameters.random_seed)
            check_columns(state, columns, "inputs")
            offered = Round(data, state, self._parameters, self._current_rows, self._whole)
            self._state = seeding.step(offered)

    def _train(self) -> float:
        with self._lock:
            state = self._require("training_op")
            data = self._next()
            check_columns(state, len(data.scan().magnitude), "inputs")
            made = chosen(self._parameters).apply(state, data, self._parameters)
            self._state = made.state
            return made.loss

    def _require(self, operation: str) -> State:
        if self._state is None or not self._state.initialized:
            found = 0 if self._state is None else self._state.num_found
            raise NotInitializedError(
                f"{operation}() needs centers: {found} of {self._parameters.num_clusters} are "
                "chosen; call init_op() until cluster_centers_initialized is True"
            )
        return self._state

    def _evaluate(
        self, operation: str, rows: Any, evaluate: Callable[[Matrix, State], Array]
    ) -> Any:
        if rows is not None:
            state = self._require(operation)
            given = self._other_rows(rows, state)
            results = [evaluate(part, state) for part in given]
            return results if is_part_list(rows) else results[0]
        with self._lock:
            state = self._require(operation)
            parts = self._current_rows()
            check_columns(state, parts[0].shape[1], "inputs")
            results = [evaluate(part, state) for part in parts]
        return results if self._sharded or len(results) > 1 else results[0]

    def _other_rows(self, rows: Any, state: State) -> list[Matrix]:
        """Rows that are not of the inputs, validated: one matrix, or one of each shard."""
        names = self._named.learned or self._source.columns or None
        source = open_named(rows, Columns(learned=names, owner="inputs"), None, False, "rows")
        if not source.resident:
            raise BadInputError(
                f"rows is {type(rows).__name__}; it must be rows in memory: an array, a frame, or "
                "a list of them"
            )
        parts = [look_at(part, self._parameters).rows for part in source.held]
        check_columns(state, parts[0].shape[1], "rows")
        return parts

    def _all_scores(self, rows: Any = None) -> Any:
        return self._evaluate(
            "all_scores",
            rows,
            lambda rows, state: all_distances(rows, state.clusters, self._metric, self._threads),
        )

    def _cluster_idx(self, rows: Any = None) -> Any:
        return self._evaluate(
            "cluster_idx",
            rows,
            lambda rows, state: nearest_labels(
                rows, state.clusters, self._metric, self._threads
            ).astype(np.int64),
        )

    def _scores(self, rows: Any = None) -> Any:
        return self._evaluate(
            "scores",
            rows,
            lambda rows, state: as_scores(
                nearest(rows, state.clusters, self._metric, self._threads)[1], rows
            ),
        )
