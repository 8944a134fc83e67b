"""KMeansClustering: the estimator with a life cycle. Parameters, fit … evaluate; no maths."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from shoal import config as names
from shoal import directories, notebook
from shoal.checks import whole_number
from shoal.config import InitialClusters, Parameters, RunConfig
from shoal.errors import BadInputError
from shoal.evaluation import Metric, check_metrics, check_name, evaluate, write_evaluation
from shoal.export import back, models, original
from shoal.hooks import Monitors, check_monitors, rows_shown
from shoal.inference import ALL_SCORES, CLUSTER_IDX, SCORES, Inference
from shoal.metric import COSINE_DISTANCE, SQUARED_EUCLIDEAN_DISTANCE, users_clusters
from shoal.model_fn import ModelFnOps, operations
from shoal.opening import is_input_fn, open_either
from shoal.other_names import own_parameters, refuse_attribute, refuse_parameters
from shoal.row_dicts import RowDicts
from shoal.settings import Settings
from shoal.sources.open import Source
from shoal.state import State
from shoal.steps.ending import Stop
from shoal.storage.home import Home
from shoal.training import Trainer
from shoal.types import Array

logger = logging.getLogger("shoal")


#: The type of what makes a model of centers from elsewhere.
_Makes: TypeAlias = "Callable[..., KMeansClustering]"


class KMeansClustering:
    """k-means with a life cycle: train on anything, continue, predict, evaluate.

    Data may be an array of any real dtype, a frame or a dict of columns, a sparse matrix, a tensor,
    files larger than memory, or a stream of batches: see ``shoal.open``.

    Parameters
    ----------
    num_clusters
        Number of centers k; None where ``initial_clusters`` is an array.
    model_dir
        Directory of checkpoints, made where it is missing. One that holds checkpoints is continued
        from: they must be of the same k, number of columns and metric. What other processes write
        there is seen by ``predict``, ``evaluate``, ``clusters`` …, and one process at a time may
        train. None: the state is in memory alone, and nothing is written (unless
        ``save_checkpoints_steps`` of ``config`` is set: then into a temporary directory).
    initial_clusters
        ``"random"``, ``"kmeans_plus_plus"``, ``"kmeans_parallel"`` (k-means||: a few passes, for
        rows that are not in memory), ``"kmc2"``, ``"afkmc2"``; an array [k, d], taken as it is,
        with which ``predict``, ``score``, ``clusters`` … work before any training, or a frame,
        table or dict of k rows, whose columns are matched with those of the data by name; or a
        callable ``f(inputs, remaining)`` that gets the arrays of a batch and returns
        at most ``remaining`` rows.
    distance_metric
        ``"squared_euclidean"``: |x - c|²; ``"cosine"``: 1 - x·c of unit vectors, in [0, 2].
    random_seed
        Seed of every random choice. Same data, parameters and seed give the same bits. None
        draws a fresh seed.
    use_mini_batch
        True: each step trains on one batch; False: each step is a pass over all rows.
    mini_batch_steps_per_iteration
        Mini-batch steps between updates of the centers that assign rows.
    kmeans_plus_plus_num_retries
        Further candidates per pick of k-means++; negative: 2 + floor(ln k).
    relative_tolerance
        Stop when the loss changes by less than this, relative to 1 + the loss before.
    config
        A RunConfig: checkpoints, summaries, progress, logging, limits of a run.
    kmc2_chain_length
        Length of a Markov chain of k-MC² and AFK-MC².
    kmeans_parallel_rounds, kmeans_parallel_oversampling
        Of k-means||: passes in which candidates are drawn (more where these would be too few), and
        how many are expected in each, times k.
    empty_clusters
        What a full-batch step does with a cluster without rows: ``"relocate"`` it to the row
        farthest from its center, ``"keep"`` it where it is, or raise an ``"error"``.
    reassignment_ratio
        Of mini-batches: clusters whose weight is below this part of the largest one move to rows of
        the batch, once per 10 k rows, and weigh as much as the lightest of the others. 0: clusters
        stay where they are, and the log says how many had no row. Not with
        ``mini_batch_steps_per_iteration`` above 1.
    start_on_sample
        Of full batches: True makes up to 20 steps on a quarter of the rows, drawn by their index
        and the seed, before the first step on all of them: half the passes to the same loss where
        there are 2,000 rows per cluster or more (a warning below 600). A number between 0 and 1 is
        the part of the rows; ``{"fraction": 0.25, "steps": 20}`` says both. These do not count as
        ``steps``, and trained centers make none.
    feature_columns, weight_column
        Columns of dicts, frames, tables and files: those to use, in this order (default: all
        others, in the order in which the data has them), and the one that holds weights. A list, a
        tuple, an Index or an array of labels of any kind: text, numbers, tuples. The model
        remembers the names of the first data that has any and finds them in later data, in any
        order; data without names is taken by position. What predicts needs no weights.
    on_bad_rows
        What is done with rows that have a NaN, an infinity or a null: ``"error"``, which names the
        first one, or ``"skip"``, which drops them with a warning that says how many.
    memory_budget
        Bytes that may be kept beside the data to save work, beyond a label (4 bytes) per row of
        full-batch training. None: a quarter of the data in memory, or 256 MB if that is more. 0
        works too, slower; results do not depend on it. Rows of Parquet, Arrow and CSV files that
        fit it (None: a quarter of the memory this process may use) are decoded once and kept
        while ``fit`` or ``partial_fit`` runs. See ``shoal.memory_estimate``.
    num_threads
        Threads per step; None: the CPUs this process may use. Results do not depend on it.

    Raises
    ------
    BadInputError
        For an unknown name or a value out of range.

    Examples
    --------
    >>> import numpy as np, shoal
    >>> x = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
    >>> sorted(model.clusters().ravel().tolist())
    [0.5, 10.5]
    """

    SQUARED_EUCLIDEAN_DISTANCE = SQUARED_EUCLIDEAN_DISTANCE
    COSINE_DISTANCE = COSINE_DISTANCE
    RANDOM_INIT = names.RANDOM_INIT
    KMEANS_PLUS_PLUS_INIT = names.KMEANS_PLUS_PLUS_INIT
    KMC2_INIT = names.KMC2_INIT
    ALL_SCORES = ALL_SCORES
    CLUSTER_IDX = CLUSTER_IDX
    CLUSTERS = "clusters"
    SCORES = SCORES
    LOSS_OP_NAME = "kmeans_loss"
    # What the later estimator called three of them, to be used as keys of the same results.
    CLUSTER_INDEX = CLUSTER_IDX
    ALL_DISTANCES = ALL_SCORES
    SCORE = SCORES
    CLUSTER_CENTERS_VAR_NAME = CLUSTERS

    @own_parameters
    def __init__(
        self,
        num_clusters: int | None,
        model_dir: str | None = None,
        initial_clusters: InitialClusters = names.RANDOM_INIT,
        distance_metric: str = SQUARED_EUCLIDEAN_DISTANCE,
        random_seed: int | None = 0,
        use_mini_batch: bool = True,
        mini_batch_steps_per_iteration: int = 1,
        kmeans_plus_plus_num_retries: int = 2,
        relative_tolerance: float | None = None,
        config: RunConfig | None = None,
        *,
        kmc2_chain_length: int = 200,
        kmeans_parallel_rounds: int = 5,
        kmeans_parallel_oversampling: float = 2.0,
        empty_clusters: str = "relocate",
        reassignment_ratio: float = 0,
        start_on_sample: bool | float | Mapping[str, float] = False,
        feature_columns: Sequence[Any] | None = None,
        weight_column: Any = None,
        on_bad_rows: str = "error",
        memory_budget: int | None = None,
        num_threads: int | None = None,
    ) -> None:
        arguments = dict(locals())
        del arguments["self"]
        self._home = Home(Settings.checked(arguments))
        self._trainer = Trainer(self._home)

    def __copy__(self) -> KMeansClustering:
        """A model that goes its own way from here."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._home = copy.copy(self._home)
        other._trainer = Trainer(other._home)
        return other

    # --- parameters ------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters as given, by name.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> model.get_params()["num_clusters"]
        2
        """
        del deep
        return dict(self._home.settings.arguments)

    def set_params(self, **params: Any) -> KMeansClustering:
        """Change parameters; the trained state is kept where it still fits them.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> model.set_params(num_threads=1).get_params()["num_threads"]
        1
        """
        known = self._home.settings.arguments
        refuse_parameters("KMeansClustering", params, known)
        unknown = sorted(set(params) - set(known))
        if unknown:
            raise BadInputError(
                f"KMeansClustering has no parameter {unknown[0]!r}; it has {sorted(known)}"
            )
        self._home.settle(Settings.checked({**known, **params}))
        return self

    @property
    def config(self) -> RunConfig:
        """The RunConfig."""
        return self._home.settings.run

    @property
    def model_fn(self) -> Callable[..., ModelFnOps]:
        """The model as a function ``(features, labels, mode, metrics=None)`` of this estimator."""
        return functools.partial(operations, self)

    # --- training --------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        input_fn: Callable[..., Any] | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        monitors: Sequence[object] | None = None,
        max_steps: int | None = None,
        *,
        sample_weight: Any = None,
    ) -> KMeansClustering:
        """Train, from where the last call ended; with a ``model_dir``, from its last checkpoint.

        A trained model always starts warm, and the log says from which step: there is no
        ``warm_start`` to set. To start anew, make a new KMeansClustering, with a ``model_dir`` of
        its own.

        A run that was killed or interrupted goes on when ``fit`` is called with the same data and
        arguments, in a new process too, and ends with the same bits. ``steps`` counts from the
        checkpoint, ``max_steps`` from the beginning: use that in a program that may be killed. One
        that trains until it converges can ask ``is_interrupted`` whether there is anything to go on
        with.

        Parameters
        ----------
        x
            The data; see ``shoal.open`` for all kinds. Rows are of any real dtype, [n, d].
        y
            Not used; accepted for pipelines.
        input_fn
            A callable that returns the data, instead of ``x``; or one of ``(worker, num_workers)``
            that returns an iterator of the batches of that worker of ``RunConfig(executor=...)``.
        steps, max_steps
            Train for ``steps`` more steps, or until ``max_steps`` in total (reached already:
            nothing happens). Neither: until it converges (full batch: no label changes;
            mini-batch: the smoothed loss stops improving, see RunConfig), and by mini-batches of
            a stream until it ends.
        batch_size
            Rows per mini-batch, for data in memory and files (default: 4,096, or 8 k if that is
            more). Streams come in batches of their own.
        monitors
            Objects with any of ``begin``, ``before_step``, ``after_step`` (return True to stop),
            ``end`` and ``progress``, each called with a context: see ``shoal.hooks.base``.
        sample_weight
            A weight for each row of an array, a frame or files: [n] finite numbers >= 0, as an
            array, a list or a Series; a row of weight 2 counts as two. Batches of a stream carry
            theirs in ``shoal.Weighted(rows, weights)``.

        Returns
        -------
        KMeansClustering
            self

        Raises
        ------
        BadInputError, TooFewRowsError
            If the data cannot be used; the model is then as it was before the call. (With a
            ``model_dir``, where bad data can come after hours, it is as after the last good step.)
        CheckpointError
            If a checkpoint cannot be written, or ``model_dir`` holds another model. The model is
            then as after its last step, and the checkpoints before are there.
        ModelDirLockedError
            If another process is training in ``model_dir``.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x, steps=3)
        >>> model.state.global_step
        3
        """
        del y
        stop = Stop.checked(steps, max_steps, self._home.settings.relative_tolerance)
        watching = check_monitors(monitors)
        state = self._home.current()
        if max_steps is not None and state is not None and state.global_step >= max_steps:
            self._home.save_at_last()
            return self
        source = self._open(x, input_fn, batch_size, training=True, sample_weight=sample_weight)
        self._trainer.fit(source, stop, watching)
        return self

    def partial_fit(
        self,
        x: Any = None,
        y: Any = None,
        input_fn: Callable[..., Any] | None = None,
        steps: int = 1,
        batch_size: int | None = None,
        monitors: Sequence[object] | None = None,
        *,
        sample_weight: Any = None,
    ) -> KMeansClustering:
        """Train by mini-batch steps on the given data; successive calls continue.

        Data in memory is one batch (or batches of ``batch_size``, in order); so are files, which
        may be too large for that: give ``batch_size`` there. Centers are chosen
        first where needed; while the data seen so far is too little for that, the call only
        chooses centers. With a ``model_dir``, each call ends with a checkpoint.

        Parameters
        ----------
        x, y, input_fn, batch_size, monitors, sample_weight
            As for ``fit``.
        steps
            Number of steps.

        Returns
        -------
        KMeansClustering
            self

        Raises
        ------
        BadInputError
            If the data cannot be used; the model is then as it was before the call.

        Examples
        --------
        >>> import shoal
        >>> model = shoal.KMeansClustering(2)
        >>> for batch in ([[0.0], [9.0]], [[1.0], [10.0]]):
        ...     model = model.partial_fit(batch)
        >>> model.state.global_step
        2
        """
        del y
        stop = Stop(whole_number("steps", steps, 1), None, None)
        watching = check_monitors(monitors)
        self._home.current()
        source = self._open(
            x, input_fn, batch_size, shuffle=False, training=True, sample_weight=sample_weight
        )
        self._trainer.partial_fit(source.as_it_comes(), stop, watching)
        return self

    # --- what it says of data --------------------------------------------------------------

    def predict(
        self,
        x: Any = None,
        input_fn: Callable[..., Any] | None = None,
        batch_size: int | None = None,
        outputs: Sequence[str] | None = None,
        as_iterable: bool = True,
        iterate_batches: bool = False,
    ) -> Iterator[dict[str, Any]] | dict[str, Array]:
        """Nearest center of every row of every batch, and its distances to all centers.

        The labels alone, as one array: ``labels``.

        Parameters
        ----------
        x, input_fn, batch_size
            The data, as for ``fit``.
        outputs
            Which of ``cluster_idx`` (int64), ``scores`` (distance to the nearest center) and
            ``all_scores`` (distance to every center); None: all three. And ``row``, the index of
            the row in the data, which tells them apart where ``on_bad_rows="skip"`` drops some.
        as_iterable
            True: an iterator of one dict per row; False: one dict of arrays for all rows.
        iterate_batches
            With ``as_iterable``: one dict of arrays per batch; for data that has no batches of its
            own, without ``batch_size``, per piece of bounded size.

        Returns
        -------
        iterator or dict
            ``cluster_idx`` [n] int64, ``scores`` [n] and ``all_scores`` [n, k] in the dtype of
            the rows: float32 for narrower ones, float64 for whole numbers of 32 bits and more.

        Raises
        ------
        NotFittedError
            Before training.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> model.predict(x, outputs=["scores"], as_iterable=False)["scores"]
        array([0.25, 0.25, 0.25, 0.25])
        """
        inference = self._inference("predict")
        source = self._open(x, input_fn, batch_size, weigh=False)
        wanted = inference.check_outputs(outputs)
        if not as_iterable:
            with rows_shown(self.config, "predict", source.rows) as progress:
                if outputs is None:
                    progress = inference.warned_of_distances(source, progress)
                found = inference.collected(source, wanted, progress)
            self._home.learn(source)
            return found
        size = inference.size_of_pieces(source, wanted)
        if not iterate_batches:
            return RowDicts(self._learning(source, inference.batches(source, wanted, size)))
        size_given = None if source.batched else size
        return self._learning(source, inference.batches(source, wanted, size_given))

    def labels(
        self,
        x: Any = None,
        input_fn: Callable[..., Any] | None = None,
        batch_size: int | None = None,
    ) -> Array:
        """Nearest center of every row, as one array.

        Parameters
        ----------
        x, input_fn, batch_size
            The data, as for ``fit``: in memory, files, or a stream that ends.

        Returns
        -------
        ndarray
            [n] int64, one per row that was given, in their order: -1 for rows that
            ``on_bad_rows="skip"`` left out.

        Raises
        ------
        NotFittedError
            Before training.
        BadInputError
            For data that cannot be used.

        Examples
        --------
        >>> import numpy as np, shoal
        >>> x = np.array([[0.0], [1.0], [10.0], [11.0]])
        >>> shoal.KMeansClustering(None, initial_clusters=x[[0, 3]]).fit(x, steps=1).labels(x)
        array([0, 0, 1, 1])
        """
        inference = self._inference("labels")
        source = self._open(x, input_fn, batch_size, weigh=False)
        with rows_shown(self.config, "labels", source.rows) as progress:
            found = inference.labels(source, progress)
        self._home.learn(source)
        return found

    def predict_cluster_idx(self, input_fn: Any = None) -> Iterator[int]:
        """Yield the nearest center of each row; ``input_fn`` may be the data itself.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> len(set(model.predict_cluster_idx(x)))
        2
        """
        inference = self._inference("predict_cluster_idx")
        source = self._open_either(input_fn, weigh=False)
        size = inference.size_of_pieces(source, (CLUSTER_IDX,))
        batches = self._learning(source, inference.batches(source, (CLUSTER_IDX,), size))
        return (int(label) for batch in batches for label in batch[CLUSTER_IDX])

    def transform(self, input_fn: Any = None, as_iterable: bool = False) -> Any:
        """Distance of every row to every center, [n, k] in the dtype of the rows.

        float32 for narrower rows, float64 for whole numbers of 32 bits and more. Squared for
        ``squared_euclidean``. ``as_iterable=True`` yields the rows one by one. ``input_fn`` may be
        the data itself.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> model.transform(x).shape
        (4, 2)
        """
        inference = self._inference("transform")
        source = self._open_either(input_fn, weigh=False)
        if as_iterable:
            size = inference.size_of_pieces(source, (ALL_SCORES,))
            batches = self._learning(source, inference.batches(source, (ALL_SCORES,), size))
            return (row for batch in batches for row in batch[ALL_SCORES])
        with rows_shown(self.config, "transform", source.rows) as progress:
            found = inference.collected(source, (ALL_SCORES,), progress)
        self._home.learn(source)
        return found[ALL_SCORES]

    def score(
        self, input_fn: Any = None, steps: int | None = None, *, sample_weight: Any = None
    ) -> float:
        """Sum of the weighted distances of all rows of the first ``steps`` batches (None: all).

        ``input_fn`` may be the data itself; ``sample_weight`` as for ``fit``.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> model.score(x)
        1.0
        """
        inference = self._inference("score")
        source = self._open_either(input_fn, sample_weight=sample_weight)
        with rows_shown(self.config, "score", source.rows) as progress:
            found = evaluate(inference, source, steps, {}, progress=progress)
        self._home.learn(source)
        return float(found["scores"])

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        input_fn: Callable[..., Any] | None = None,
        batch_size: int | None = None,
        steps: int | None = None,
        metrics: Mapping[str, Metric] | None = None,
        name: str | None = None,
        checkpoint_path: str | None = None,
        hooks: Sequence[object] | None = None,
        *,
        sample_weight: Any = None,
    ) -> dict[str, Any]:
        """Measure the model on data.

        Parameters
        ----------
        x, y, input_fn, batch_size, sample_weight
            The data, as for ``fit``.
        steps
            Number of batches (None: all).
        metrics
            Named callables of (rows, cluster_idx, scores, clusters), called once with all rows of
            the batches that are evaluated, which are kept in memory until then. Or objects with
            ``update(rows, cluster_idx, scores, clusters)``, called with the rows of one batch
            after another, and ``result()``: nothing is kept for them. ``reset()`` is called
            first, where they have it.
        name
            Tells the results of several data sets apart.
        checkpoint_path
            A checkpoint to measure instead: a path, or the name of a file in
            ``model_dir/checkpoints``.
        hooks
            Monitors: ``begin``, ``before_step`` and ``after_step`` per batch, ``end``.

        Returns
        -------
        dict
            ``scores`` (sum of weighted distances), ``loss`` (mean per unit of weight: per row
            without weights), ``num_rows``, ``global_step``, and each of ``metrics``. With a
            ``model_dir`` also written under ``model_dir/eval``, or ``model_dir/eval_NAME``.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> model.evaluate(x)["loss"]
        0.25
        """
        del y
        name = check_name(name)
        inference = self._inference("evaluate", checkpoint_path)
        wanted = check_metrics(metrics)
        watching = Monitors(check_monitors(hooks, "hooks")) if hooks else None
        source = self._open(x, input_fn, batch_size, sample_weight=sample_weight)
        with rows_shown(self.config, "evaluate", source.rows) as progress:
            results = evaluate(inference, source, steps, wanted, watching, progress)
        self._home.learn(source)
        if (folder := self._home.directory) is not None:
            try:
                write_evaluation(folder.path, name, results)
            except OSError as error:  # the results are here, and others may only read there
                logger.warning("the results of evaluate are not written: %s", error)
        return results

    def _inference(self, method: str, checkpoint_path: str | None = None) -> Inference:
        home, settings = self._home, self._home.settings
        state = home.trained(method) if checkpoint_path is None else home.at(checkpoint_path)
        executor = settings.run.executor
        return Inference(state, settings.parameters, settings.on_bad_rows, executor)

    def _open(
        self,
        x: Any,
        input_fn: Callable[..., Any] | None,
        batch_size: int | None = None,
        *,
        shuffle: bool = True,
        weigh: bool = True,
        training: bool = False,
        sample_weight: Any = None,
    ) -> Source:
        named = self._home.asked(weigh, training)
        return open_either(x, input_fn, batch_size, named, shuffle, sample_weight)

    def _open_either(self, data: Any, **how: Any) -> Source:
        """``data``: rows, or the callable that gives them."""
        return self._open(None, data, **how) if is_input_fn(data) else self._open(data, None, **how)

    def _learning(self, source: Source, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self._home.learn(source)
            yield batch

    # --- what it holds ---------------------------------------------------------------------

    @property
    def is_fitted(self) -> bool:
        """Whether there are centers to predict with, trained or given."""
        state = self._home.to_predict()
        return state is not None and state.initialized

    @property
    def is_interrupted(self) -> bool:
        """Whether the last ``fit`` did not come to its end: killed, interrupted, or failed.

        Calling ``fit`` again, with the same data and arguments, goes on with it. After a run that
        came to its end, ``fit`` would train further.
        """
        state = self._home.current()
        return state is not None and state.unfinished is not None

    @property
    def state(self) -> State:
        """The state after the last completed step, a value."""
        return self._home.trained("state")

    @property
    def columns(self) -> tuple[Any, ...] | None:
        """Names of the columns, in the order of the centers, of the first data that had any.

        () where no data had names; None before training.
        """
        return self._home.columns

    @property
    def model_dir(self) -> str | None:
        """The directory of checkpoints.

        Without one, None; or, once training has begun with ``save_checkpoints_steps`` set, the
        temporary directory, which is not removed.
        """
        return self._home.path

    def restore(self, state: State, columns: tuple[Any, ...] | None = None) -> None:
        """Continue from ``state``, which must fit the parameters.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> again = shoal.KMeansClustering(2)
        >>> again.restore(model.state)
        >>> bool((again.clusters() == model.clusters()).all())
        True
        """
        self._home.restore(state, columns)

    def clusters(self) -> Array:
        """The centers [k, d], of length one under cosine; a copy. Given ones before training.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> sorted(model.clusters().ravel().tolist())
        [0.5, 10.5]
        """
        metric = self._home.settings.parameters.distance_metric
        return users_clusters(self._home.trained("clusters").clusters, metric)

    def get_variable_names(self) -> list[str]:
        """Names that ``get_variable_value`` takes.

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> "counts" in model.get_variable_names()
        True
        """
        return sorted(self._home.variables("get_variable_names"))

    def get_variable_value(self, name: str) -> Any:
        """A part of the state, as it is stored (cosine mini-batch centers: not of length one).

        Examples
        --------
        >>> import shoal
        >>> x = [[0.0], [1.0], [10.0], [11.0]]
        >>> model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
        >>> model.get_variable_value("counts")
        array([2., 2.])
        """
        variables = self._home.variables("get_variable_value")
        if name not in list(variables):
            raise BadInputError(f"there is no variable {name!r}; there are {sorted(variables)}")
        value = variables[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    # --- later names of the original -------------------------------------------------------

    def train(
        self,
        input_fn: Callable[..., Any],
        hooks: Sequence[object] | None = None,
        steps: int | None = None,
        max_steps: int | None = None,
    ) -> KMeansClustering:
        """Train on what ``input_fn`` gives; without ``steps`` and ``max_steps``, one pass over it.

        That is the rule of ``tf.estimator.experimental.KMeans``. ``fit`` without them trains until
        it converges.

        Parameters
        ----------
        input_fn, hooks, steps, max_steps
            As ``input_fn``, ``monitors``, ``steps`` and ``max_steps`` of ``fit``.

        Returns
        -------
        KMeansClustering
            self

        Examples
        --------
        >>> import numpy as np, shoal
        >>> x = np.arange(20.0)[:, None]
        >>> model = shoal.KMeansClustering(2).train(lambda: [x[:10], x[10:]])
        >>> model.state.global_step
        1
        """
        if steps is not None or max_steps is not None:
            return self.fit(input_fn=input_fn, steps=steps, max_steps=max_steps, monitors=hooks)
        watching = check_monitors(hooks, "hooks")
        self._home.current()
        self._trainer.fit_once(self._open(None, input_fn), watching)
        return self

    def cluster_centers(self) -> Array:
        """``clusters()``, by its later name."""
        return self.clusters()

    def predict_cluster_index(self, input_fn: Any = None) -> Iterator[int]:
        """``predict_cluster_idx(input_fn)``, by its later name."""
        return self.predict_cluster_idx(input_fn)

    latest_checkpoint = directories.latest_checkpoint
    eval_dir = directories.eval_dir

    # --- exports, and back -----------------------------------------------------------------

    export = original.export
    export_savedmodel = original.export_savedmodel
    export_saved_model = original.export_saved_model
    export_onnx = models.to_onnx
    to_sklearn = models.to_sklearn
    to_faiss_index = models.to_faiss_index
    from_centers: _Makes = classmethod(back.from_centers)  # type: ignore[assignment]
    from_sklearn: _Makes = classmethod(back.from_sklearn)  # type: ignore[assignment]
    from_faiss_index: _Makes = classmethod(back.from_faiss_index)  # type: ignore[assignment]
    from_onnx: _Makes = classmethod(back.from_onnx)  # type: ignore[assignment]

    def _to_export(
        self, method: str, checkpoint_path: str | None
    ) -> tuple[State, Parameters, tuple[Any, ...] | None]:
        """What exporters take."""
        state = self._inference(method, checkpoint_path).state
        return state, self._home.settings.parameters, self.columns

    # --- as a step of a pipeline of scikit-learn --------------------------------------------

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn wants to know of a step; only it calls this."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="clusterer",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(sparse=True, allow_nan=self._home.settings.on_bad_rows == "skip"),
        )

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are centers to predict with."""
        return self.is_fitted

    if not TYPE_CHECKING:  # type checkers know by themselves which names there are not

        def __getattr__(self, name):
            """Say what is used here instead of scikit-learn's names."""
            refuse_attribute("KMeansClustering", name)
            # Looked for again: a property that is there may have raised an AttributeError.
            return object.__getattribute__(self, name)

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        return f"KMeansClustering({self._home.settings.shown(defaults)})"

    _repr_html_ = notebook.repr_html
