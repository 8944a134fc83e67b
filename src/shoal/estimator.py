"""KMeansClustering: the estimator with a life cycle. Parameters, fit … evaluate; no maths."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from shoal import config as names
from shoal import directories
from shoal.checks import one_of, positive
from shoal.config import InitialClusters, Parameters, RunConfig
from shoal.errors import BadInputError
from shoal.export import back, models, original
from shoal.hooks.idle import IdleClusters
from shoal.inference import ALL_SCORES, CLUSTER_IDX, SCORES
from shoal.metric import COSINE_DISTANCE, SQUARED_EUCLIDEAN_DISTANCE
from shoal.other_names import own_parameters, refuse_attribute, refuse_parameters
from shoal.shards.workspace import Workspace
from shoal.sources.columns import Columns, check_label, check_labels, listed
from shoal.state import State
from shoal.storage.model_dir import ModelDir
from shoal.training import Training, check_model_dir
from shoal.types import Array

MODES = ("train", "eval", "infer")

#: The type of what makes a model of centers from elsewhere.
_Makes: TypeAlias = "Callable[..., KMeansClustering]"


class ModelFnOps(NamedTuple):
    """What ``model_fn`` returns: results, and callables that compute the rest."""

    mode: str
    predictions: dict[str, Array] | None
    loss: float | None
    train_op: Callable[[], float] | None
    eval_metric_ops: dict[str, Any]


class KMeansClustering(Training):
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
        feature_columns: Sequence[Any] | None = None,
        weight_column: Any = None,
        on_bad_rows: str = "error",
        memory_budget: int | None = None,
        num_threads: int | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self"}
        self._state: State | None = None
        self._columns: tuple[Any, ...] | None = None
        self._dir: ModelDir | None = None
        self._workspace = Workspace()
        self._idle = IdleClusters(streamed=True, whole=False)
        self._configure(given)

    def _configure(self, given: dict[str, Any]) -> None:
        """Check all parameters, then keep them: nothing changes where one is wrong."""
        algorithm = {
            name: value for name, value in given.items() if name in Parameters.__dataclass_fields__
        }
        named = Columns(
            check_labels(given["feature_columns"], "feature_columns"),
            check_label(given["weight_column"], "weight_column"),
        )
        parameters = Parameters.checked(named, **algorithm)
        folder = check_model_dir(given["model_dir"])
        if given["relative_tolerance"] is not None:
            positive("relative_tolerance", given["relative_tolerance"])
        config = given["config"]
        if config is not None and not isinstance(config, RunConfig):
            raise BadInputError(f"config is {config!r}; it must be a shoal.RunConfig or None")
        one_of("on_bad_rows", given["on_bad_rows"], names.ON_BAD_ROWS)
        if self._state is not None and (
            parameters.num_clusters != self._parameters.num_clusters
            or parameters.distance_metric != self._parameters.distance_metric
        ):
            raise BadInputError(
                "num_clusters and distance_metric cannot change once there are centers: "
                "make a new KMeansClustering"
            )
        known = self._columns if self._state is not None else None
        if known and named.features not in (None, known):
            raise BadInputError(
                f"feature_columns is {listed(named.features or ())}, and the model was trained on "
                f"{listed(known)}: they must agree. Make a new KMeansClustering"
            )
        self._attach(folder, parameters, named.features)
        if self._state is None:
            self._columns = None  # what was learned belongs to other centers
        self._given, self._named = given, named
        self._parameters = parameters
        self._run = names.DEFAULT_CONFIG if config is None else config

    # --- parameters ------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters as given, by name."""
        del deep
        return dict(self._given)

    def set_params(self, **params: Any) -> KMeansClustering:
        """Change parameters; the trained state is kept where it still fits them."""
        refuse_parameters("KMeansClustering", params, self._given)
        unknown = sorted(set(params) - set(self._given))
        if unknown:
            raise BadInputError(
                f"KMeansClustering has no parameter {unknown[0]!r}; it has {sorted(self._given)}"
            )
        self._configure({**self._given, **params})
        return self

    @property
    def config(self) -> RunConfig:
        """The RunConfig."""
        return self._run

    @property
    def model_fn(self) -> Callable[..., ModelFnOps]:
        """The model as a function ``(features, labels, mode, metrics=None)`` of this estimator."""
        return self._model_fn

    def _model_fn(
        self,
        features: Any,
        labels: Any,
        mode: str,
        metrics: Mapping[str, Callable[..., Any]] | None = None,
    ) -> ModelFnOps:
        """Predictions and loss of ``features``, and for ``mode="train"`` a step to run on them."""
        del labels
        one_of("mode", mode, MODES)
        if hasattr(features, "__next__"):
            raise BadInputError(
                f"features is {type(features).__name__}, which can be read once, and is needed "
                "several times: give the rows of one batch, or a callable that returns batches"
            )
        predictions, loss, results = None, None, {}
        if mode != "train" or self.is_fitted:
            predicted = self.predict(features, outputs=(ALL_SCORES, CLUSTER_IDX), as_iterable=False)
            assert isinstance(predicted, dict)
            predictions = predicted
        if mode == "eval":
            results = self.evaluate(features, metrics=metrics)
            loss = results["scores"]

        def train_op() -> float:
            losses: list[float] = []
            step = self.partial_fit if self._parameters.use_mini_batch else self.fit
            step(features, steps=1, monitors=[_Recorder(losses)])
            return losses[-1] if losses else float("nan")

        return ModelFnOps(mode, predictions, loss, train_op if mode == "train" else None, results)

    # --- later names of the original -------------------------------------------------------

    def train(
        self,
        input_fn: Callable[[], Any],
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
        if steps is None and max_steps is None:
            return self._fit_once(input_fn, hooks)
        return self.fit(input_fn=input_fn, steps=steps, max_steps=max_steps, monitors=hooks)

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
        return state, self._parameters, self.columns

    # --- as a step of a pipeline of scikit-learn --------------------------------------------

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn wants to know of a step; only it calls this."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="clusterer",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(sparse=True, allow_nan=self._given["on_bad_rows"] == "skip"),
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
        shown = []
        for name, value in self._given.items():
            default = defaults[name].default
            if isinstance(shape := getattr(value, "shape", None), tuple) and len(shape) == 2:
                kind = "array" if isinstance(value, np.ndarray) else type(value).__name__
                shown.append(f"{name}={kind}{shape}")
            elif name == "initial_clusters" and isinstance(value, Mapping):
                shape = len(next(iter(value.values()))), len(value)
                shown.append(f"{name}={type(value).__name__}{shape}")
            elif name == "feature_columns" and value is not None:
                shown.append(f"{name}={list(self._named.features or ())}")
            elif default is inspect.Parameter.empty or value != default:
                shown.append(f"{name}={value!r}")
        return f"KMeansClustering({', '.join(shown)})"


class _Recorder:
    def __init__(self, losses: list[float]) -> None:
        self._losses = losses

    def after_step(self, context: Any) -> None:
        self._losses.append(context.loss)
