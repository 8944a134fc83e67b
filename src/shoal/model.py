"""A model: what it holds, and what it says of data. Training is in estimator.py."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from shoal.checks import whole_number
from shoal.config import Parameters, RunConfig
from shoal.errors import BadInputError, CheckpointError, not_fitted
from shoal.evaluation import Metric, check_metrics, check_name, evaluate, write_evaluation
from shoal.hooks import Monitors, check_monitors, rows_shown
from shoal.inference import ALL_SCORES, CLUSTER_IDX, Inference
from shoal.loop import users_clusters
from shoal.opening import known_names, learned_names, names_asked, open_either
from shoal.row_dicts import RowDicts
from shoal.sources.columns import Columns
from shoal.sources.open import Source
from shoal.state import State
from shoal.steps.seeding import from_centers
from shoal.storage.checkpoint import Checkpoint
from shoal.storage.model_dir import ModelDir, read_file
from shoal.storage.values import parameters_to_keep
from shoal.types import Array

logger = logging.getLogger("shoal")


#: Parts of a state that are no variables: what a run that goes on remembers.
HIDDEN = ("batches", "unfinished", "clusters_before")


class Model:
    """Centers and the rest of a state, with the parameters they were made with."""

    _given: dict[str, Any]  # the parameters as the user gave them
    _parameters: Parameters
    _named: Columns  # feature_columns and weight_column
    _run: RunConfig
    _state: State | None
    _columns: tuple[Any, ...] | None  # names, of the first data that had any
    _dir: ModelDir | None  # where it is kept

    # --- what it says of data --------------------------------------------------------------

    def predict(
        self,
        x: Any = None,
        input_fn: Callable[[], Any] | None = None,
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
        """
        inference = self._inference("predict")
        source = self._open(x, input_fn, batch_size, weigh=False)
        wanted = inference.check_outputs(outputs)
        if not as_iterable:
            with rows_shown(self._run, "predict", source.rows) as progress:
                if outputs is None:
                    progress = inference.warned_of_distances(source.rows, progress)
                found = inference.collected(source, wanted, progress)
            self._learn(source)
            return found
        size = inference.size_of_pieces(wanted)
        if not iterate_batches:
            return RowDicts(self._learning(source, inference.batches(source, wanted, size)))
        size_given = None if source.batched else size
        return self._learning(source, inference.batches(source, wanted, size_given))

    def labels(
        self,
        x: Any = None,
        input_fn: Callable[[], Any] | None = None,
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
        with rows_shown(self._run, "labels", source.rows) as progress:
            found = inference.labels(source, progress)
        self._learn(source)
        return found

    def predict_cluster_idx(self, input_fn: Any = None) -> Iterator[int]:
        """Yield the nearest center of each row; ``input_fn`` may be the data itself."""
        inference = self._inference("predict_cluster_idx")
        source = self._open_either(input_fn, weigh=False)
        size = inference.size_of_pieces((CLUSTER_IDX,))
        batches = self._learning(source, inference.batches(source, (CLUSTER_IDX,), size))
        return (int(label) for batch in batches for label in batch[CLUSTER_IDX])

    def transform(self, input_fn: Any = None, as_iterable: bool = False) -> Any:
        """Distance of every row to every center, [n, k] in the dtype of the rows.

        float32 for narrower rows, float64 for whole numbers of 32 bits and more. Squared for
        ``squared_euclidean``. ``as_iterable=True`` yields the rows one by one. ``input_fn`` may be
        the data itself.
        """
        inference = self._inference("transform")
        source = self._open_either(input_fn, weigh=False)
        if as_iterable:
            size = inference.size_of_pieces((ALL_SCORES,))
            batches = self._learning(source, inference.batches(source, (ALL_SCORES,), size))
            return (row for batch in batches for row in batch[ALL_SCORES])
        with rows_shown(self._run, "transform", source.rows) as progress:
            found = inference.collected(source, (ALL_SCORES,), progress)
        self._learn(source)
        return found[ALL_SCORES]

    def score(
        self, input_fn: Any = None, steps: int | None = None, *, sample_weight: Any = None
    ) -> float:
        """Sum of the weighted distances of all rows of the first ``steps`` batches (None: all).

        ``input_fn`` may be the data itself; ``sample_weight`` as for ``fit``.
        """
        inference = self._inference("score")
        source, steps = self._open_either(input_fn, sample_weight=sample_weight), _steps(steps)
        with rows_shown(self._run, "score", source.rows) as progress:
            found = evaluate(inference, source, steps, {}, progress=progress)
        self._learn(source)
        return float(found["scores"])

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        input_fn: Callable[[], Any] | None = None,
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
        """
        del y
        name = check_name(name)
        inference = self._inference("evaluate", checkpoint_path)
        wanted = check_metrics(metrics)
        watching = Monitors(check_monitors(hooks, "hooks")) if hooks else None
        source = self._open(x, input_fn, batch_size, sample_weight=sample_weight)
        with rows_shown(self._run, "evaluate", source.rows) as progress:
            results = evaluate(inference, source, _steps(steps), wanted, watching, progress)
        self._learn(source)
        if self._dir is not None:
            try:
                write_evaluation(self._dir.path, name, results)
            except OSError as error:  # the results are here, and others may only read there
                logger.warning("the results of evaluate are not written: %s", error)
        return results

    def _inference(self, method: str, checkpoint_path: str | None = None) -> Inference:
        state = (
            self._trained(method) if checkpoint_path is None else self._state_of(checkpoint_path)
        )
        return Inference(state, self._parameters, self._given["on_bad_rows"], self._run.executor)

    def _trained(self, method: str) -> State:
        state = self._with_centers(self._current())
        if state is None or not state.initialized:
            raise not_fitted(method)
        return state

    def _with_centers(self, state: State | None) -> State | None:
        """The state, or that of given centers where none are trained yet."""
        if self._parameters.has_centers and (state is None or not state.initialized):
            return from_centers(self._parameters)
        return state

    def _state_of(self, checkpoint_path: str) -> State:
        path, found = read_file(checkpoint_path, None if self._dir is None else self._dir.path)
        found.check_fits(path, self._parameters, self._named.features)
        if not found.state.initialized:
            raise BadInputError(f"checkpoint_path {path} was written before there were centers")
        return found.state

    def _current(self) -> State | None:
        """The state; where another process has trained on in ``model_dir``, that from there.

        A state that could not be saved stays: what is in memory is not thrown away.
        """
        if self._dir is not None and self._dir.holds(self._state):
            self._take(self._dir.news(self._check_found))
        return self._state

    def _take(self, found: Checkpoint | None) -> None:
        if found is not None:
            self._state, self._columns = found.state, found.columns

    def _check_found(self, found: Checkpoint) -> None:
        """Refuse checkpoints that someone has put into ``model_dir`` where they do not fit."""
        assert self._dir is not None
        found.check_fits(self._dir.path, self._parameters, self._named.features)
        if not self._dir.holds(self._state):
            raise CheckpointError(
                f"model_dir {self._dir.path} was trained further by another process, to step "
                f"{found.state.global_step}, and this model has steps that could not be saved: "
                "save it with shoal.save_model, or make a new KMeansClustering to go on "
                "from the directory"
            )

    def _open_either(self, data: Any, batch_size: int | None = None, **how: Any) -> Source:
        if callable(data) and not hasattr(data, "__array__"):
            return self._open(None, data, batch_size, **how)
        return self._open(data, None, batch_size, **how)

    # --- names of columns ------------------------------------------------------------------

    def _known(self) -> tuple[Any, ...] | None:
        return known_names(self._parameters, self._state, self._named, self._columns)

    def _learn(self, source: Source) -> None:
        """Remember the names of the columns of data, if they are the first."""
        if not self._columns and source.columns:
            self._columns = learned_names(self._known(), self._named, source)

    def _learning(self, source: Source, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            self._learn(source)
            yield batch

    # --- what it holds ---------------------------------------------------------------------

    @property
    def is_fitted(self) -> bool:
        """Whether there are centers to predict with, trained or given."""
        state = self._with_centers(self._current())
        return state is not None and state.initialized

    @property
    def state(self) -> State:
        """The state after the last completed step, a value."""
        return self._trained("state")

    @property
    def columns(self) -> tuple[Any, ...] | None:
        """Names of the columns, in the order of the centers, of the first data that had any.

        () where no data had names; None before training.
        """
        self._current()
        return self._columns or self._known()

    def restore(self, state: State, columns: tuple[Any, ...] | None = None) -> None:
        """Continue from ``state``, which must fit the parameters."""
        if state.num_found != self._parameters.num_clusters:
            raise BadInputError(
                f"the state has {state.num_found} centers, num_clusters is "
                f"{self._parameters.num_clusters}: they must agree"
            )
        if self._dir is not None and self._current() is not None:
            raise CheckpointError(
                f"model_dir {self._dir.path} holds a model already: choose an empty directory"
            )
        self._state, self._columns = state, columns

    def _kept_parameters(self) -> dict[str, Any]:
        """The parameters as files hold them."""
        given = {
            **self._given,
            "feature_columns": self._named.features,
            "weight_column": self._named.weight,
        }
        return parameters_to_keep(given, self._parameters.num_clusters)

    def clusters(self) -> Array:
        """The centers [k, d], of length one under cosine; a copy. Given ones before training."""
        return users_clusters(self._trained("clusters"), self._parameters)

    def get_variable_names(self) -> list[str]:
        """Names that ``get_variable_value`` takes."""
        return sorted(self._variables("get_variable_names"))

    def get_variable_value(self, name: str) -> Any:
        """A part of the state, as it is stored (cosine mini-batch centers: not of length one)."""
        variables = self._variables("get_variable_value")
        if name not in list(variables):
            raise BadInputError(f"there is no variable {name!r}; there are {sorted(variables)}")
        value = variables[name]
        return value.copy() if isinstance(value, np.ndarray) else value

    def _variables(self, method: str) -> dict[str, Any]:
        state = self._with_centers(self._current())
        if state is None:
            raise not_fitted(method)
        fields = [name for name in State.__dataclass_fields__ if name not in HIDDEN]
        return {name: getattr(state, name) for name in fields}

    def _open(
        self,
        x: Any,
        input_fn: Callable[[], Any] | None,
        batch_size: int | None = None,
        *,
        shuffle: bool = True,
        weigh: bool = True,
        training: bool = False,
        sample_weight: Any = None,
    ) -> Source:
        named = names_asked(self._parameters, self._state, self._named, self._columns)
        named = dataclasses.replace(named, weigh=weigh, exact=named.exact and training)
        return open_either(x, input_fn, batch_size, named, shuffle, sample_weight)


def _steps(steps: int | None) -> int | None:
    return None if steps is None else whole_number("steps", steps, 1)
