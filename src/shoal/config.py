"""Parameters of an algorithm and of a run, checked once."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from shoal.checks import one_of, positive, whole_number
from shoal.dtypes import check_dtype, first_inexact, inexact, widened
from shoal.errors import BadInputError
from shoal.machine import available_memory, available_threads
from shoal.metric import SQUARED_EUCLIDEAN_DISTANCE, check_magnitude, check_metric
from shoal.sources.array import to_rows
from shoal.sources.brought import prepared, ragged
from shoal.sources.columns import Columns, as_lists, is_frame, is_table
from shoal.sources.foreign import to_array
from shoal.sources.sparse import without_gaps

RANDOM_INIT = "random"
KMEANS_PLUS_PLUS_INIT = "kmeans_plus_plus"
KMC2_INIT = "kmc2"
AFKMC2_INIT = "afkmc2"
KMEANS_PARALLEL_INIT = "kmeans_parallel"
SEEDINGS = (RANDOM_INIT, KMEANS_PLUS_PLUS_INIT, KMEANS_PARALLEL_INIT, KMC2_INIT, AFKMC2_INIT)
EMPTY_CLUSTERS = ("relocate", "keep", "error")
ON_BAD_ROWS = ("error", "skip")

#: The most threads, candidates and the like: what the core counts them with.
LARGEST_COUNT = 2**31 - 1
#: The most candidates for one center: they are in memory together.
MOST_CANDIDATES = 2**20
ALL_COLUMNS = Columns()

#: What executors have: see executors/base.py.
EXECUTOR = ("num_parts", "here", "start", "share", "submit", "gather", "close")

#: What error messages call asynchronous training.
ASYNCHRONOUS = "asynchronous=True (RunConfig)"

#: Bytes that may be kept beside the data; a quarter of the data, if that is more.
DEFAULT_MEMORY_BUDGET = 256 << 20

#: Random or named seeding, given centers, or ``f(inputs, remaining) -> rows``.
InitialClusters = str | Any | Callable[[list[Any], int], Any]


@dataclass(frozen=True)
class OnSample:
    """How training starts on a sample: of which part of the rows, and for how many steps."""

    fraction: float = 0.25
    steps: int = 20


class Parameters(NamedTuple):
    """What the algorithm does; every field checked."""

    num_clusters: int
    initial_clusters: InitialClusters = RANDOM_INIT
    distance_metric: str = SQUARED_EUCLIDEAN_DISTANCE
    random_seed: int = 0
    use_mini_batch: bool = True
    mini_batch_steps_per_iteration: int = 1
    kmeans_plus_plus_num_retries: int = 2
    kmc2_chain_length: int = 200
    kmeans_parallel_rounds: int = 5
    kmeans_parallel_oversampling: float = 2.0
    empty_clusters: str = "relocate"
    reassignment_ratio: float = 0.0
    start_on_sample: OnSample | None = None
    num_threads: int = 1
    memory_budget: int | None = None
    columns: tuple[Any, ...] = ()  # names, of given centers that have any

    @classmethod
    def checked(cls, named: Columns = ALL_COLUMNS, **parameters: Any) -> Parameters:
        """Check every parameter; ``num_clusters=None`` takes the number of given centers.

        ``named`` says which columns of given centers are used.
        """
        initial, columns = check_initial_clusters(parameters["initial_clusters"], named)
        parameters["initial_clusters"], parameters["columns"] = initial, columns
        if parameters["num_clusters"] is None:
            if not isinstance(initial, np.ndarray):
                raise BadInputError(
                    "num_clusters is None; it must be a whole number >= 1, unless "
                    "initial_clusters is an array"
                )
            parameters["num_clusters"] = len(initial)
        parameters["num_clusters"] = whole_number("num_clusters", parameters["num_clusters"], 1)
        if isinstance(initial, np.ndarray) and len(initial) != parameters["num_clusters"]:
            raise BadInputError(
                f"num_clusters is {parameters['num_clusters']}, but initial_clusters has "
                f"{len(initial)} rows: they must agree, or pass num_clusters=None"
            )
        check_metric(parameters["distance_metric"])
        if isinstance(initial, np.ndarray):
            check_magnitude(initial, parameters["distance_metric"], "initial_clusters")
        if parameters.get("random_seed") is None:
            parameters["random_seed"] = secrets.randbits(63)
        parameters["random_seed"] = whole_number(
            "random_seed", parameters["random_seed"], 0, 2**128
        )
        if not isinstance(parameters["use_mini_batch"], (bool, np.bool_)):
            raise BadInputError(
                f"use_mini_batch is {parameters['use_mini_batch']!r}; it must be True or False"
            )
        period, chain = "mini_batch_steps_per_iteration", "kmc2_chain_length"
        parameters[period] = whole_number(period, parameters[period], 0, LARGEST_COUNT)
        parameters[chain] = whole_number(chain, parameters[chain], 1, MOST_CANDIDATES)
        rounds, oversampling = "kmeans_parallel_rounds", "kmeans_parallel_oversampling"
        parameters[rounds] = whole_number(rounds, parameters.get(rounds, 5), 1, LARGEST_COUNT)
        parameters[oversampling] = positive(oversampling, parameters.get(oversampling, 2.0))
        retries = parameters["kmeans_plus_plus_num_retries"]
        parameters["kmeans_plus_plus_num_retries"] = whole_number(
            "kmeans_plus_plus_num_retries", retries, -(2**31), MOST_CANDIDATES
        )
        one_of("empty_clusters", parameters.get("empty_clusters", "relocate"), EMPTY_CLUSTERS)
        check_reassignment(parameters)
        parameters["start_on_sample"] = on_sample(
            parameters.get("start_on_sample"), bool(parameters["use_mini_batch"])
        )
        threads = parameters.get("num_threads")
        parameters["num_threads"] = (
            available_threads()
            if threads is None
            else whole_number("num_threads", threads, 1, LARGEST_COUNT)
        )
        if parameters.get("memory_budget") is not None:
            parameters["memory_budget"] = whole_number(
                "memory_budget", parameters["memory_budget"], 0
            )
        return cls(**parameters)

    @property
    def has_centers(self) -> bool:
        """Whether centers are given."""
        return isinstance(self.initial_clusters, np.ndarray)

    def keeps(self, size: int) -> bool:
        """Whether ``size`` bytes of rows of files are kept once they are decoded."""
        room = self.memory_budget
        if room is None:
            room = (available_memory() or 0) // 4
        return size <= room

    def without(self, size: int) -> Parameters:
        """The same, of which ``size`` bytes of the budget are spent on rows."""
        if self.memory_budget is None:
            return self
        return self._replace(memory_budget=self.memory_budget - size)

    def check_asynchronous(self) -> None:
        """Refuse what workers at a pace of their own cannot do."""
        if not self.use_mini_batch:
            raise BadInputError(
                f"{ASYNCHRONOUS} is for mini-batches, and use_mini_batch is False: a step of a "
                "full batch takes the rows of all workers. Use use_mini_batch=True"
            )
        if self.reassignment_ratio > 0:
            raise BadInputError(
                f"{ASYNCHRONOUS} and reassignment_ratio={self.reassignment_ratio:g} do not go "
                "together: clusters move to rows of a batch that is already gone. Use 0"
            )

    def budget(self, data: int) -> int:
        """How many bytes may be kept beside ``data`` bytes of rows."""
        default = max(data // 4, DEFAULT_MEMORY_BUDGET)
        return default if self.memory_budget is None else self.memory_budget


def check_reassignment(parameters: dict[str, Any]) -> None:
    """Check ``reassignment_ratio`` among the parameters, and that it has an effect."""
    ratio = parameters.get("reassignment_ratio", 0)
    real = isinstance(ratio, (int, float, np.number)) and not isinstance(ratio, bool)
    if not real or not 0 <= ratio <= 1:
        raise BadInputError(f"reassignment_ratio is {ratio!r:.80}; it must be a number from 0 to 1")
    parameters["reassignment_ratio"] = float(ratio)
    if ratio and not parameters["use_mini_batch"]:
        raise BadInputError(
            f"reassignment_ratio is {ratio}, and use_mini_batch is False: full batches have "
            "empty_clusters for clusters without rows"
        )
    period = parameters["mini_batch_steps_per_iteration"]
    if ratio and period > 1:
        raise BadInputError(
            f"reassignment_ratio is {ratio}, and mini_batch_steps_per_iteration is {period}: "
            "counts, by which clusters are compared, then begin anew each period. Use 0 or 1 there"
        )


def on_sample(value: object, use_mini_batch: bool = False) -> OnSample | None:
    """Check ``start_on_sample``: False, True, a part of the rows, or that and a number of steps."""
    if value is None or value is False or (isinstance(value, np.bool_) and not value):
        return None
    if use_mini_batch:
        raise BadInputError(
            f"start_on_sample is {value!r:.80}, and use_mini_batch is True: mini-batches are "
            "samples already. Use use_mini_batch=False, or leave it out"
        )
    if isinstance(value, (bool, np.bool_)):
        return OnSample()
    given: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"fraction": value}
    known = [field.name for field in dataclasses.fields(OnSample)]
    fraction = given.get("fraction", OnSample.fraction)
    real = isinstance(fraction, (int, float, np.number)) and not isinstance(fraction, bool)
    if not real or not 0 < fraction < 1 or set(given) - set(known):
        raise BadInputError(
            f"start_on_sample is {value!r:.80}; it must be False, True, a part of the rows between "
            f"0 and 1, or a dict with any of {known}, such as {dataclasses.asdict(OnSample())}"
        )
    steps = whole_number("start_on_sample['steps']", given.get("steps", OnSample.steps), 1)
    return OnSample(float(fraction), steps)


def check_initial_clusters(
    value: object, named: Columns
) -> tuple[InitialClusters, tuple[Any, ...]]:
    """A seeding name, a callable, or given centers as a float array [k, d]; names of its columns.

    Centers of a frame, table or dict have names.
    """
    if isinstance(value, str):
        return one_of("initial_clusters", value, SEEDINGS), ()
    if callable(value) and not hasattr(value, "__array__"):
        return value, ()
    if value is None:
        raise BadInputError(
            f"initial_clusters is None; allowed are {SEEDINGS}, an array [k, d] or a callable"
        )
    value = prepared(value, "initial_clusters")
    if not (is_frame(value) or is_table(value)):
        return check_centers(value, "initial_clusters"), ()
    found = to_rows(value, named._replace(weigh=False), "initial_clusters")
    if found.missing is not None and found.missing.any():
        raise BadInputError(
            f"initial_clusters has a missing value (null) in row {found.missing.argmax()}: every "
            "value must be finite"
        )
    return check_centers(found.rows, "initial_clusters"), found.columns


def check_centers(value: object, name: str) -> Any:
    """Return given centers as a finite float array [k, d] of its own."""
    given = to_array(without_gaps(value), name)
    try:
        centers = np.array(given)
    except ValueError as error:
        raise ragged(given, name, error) from None
    if centers.ndim == 1 and centers.dtype == object:
        centers = as_lists(centers, given, name)
    if centers.ndim != 2 or centers.shape[0] == 0 or centers.shape[1] == 0:
        raise BadInputError(
            f"{name} has shape {centers.shape}; it must be (k, d) with k >= 1 and d >= 1"
        )
    check_dtype(centers.dtype, name)
    if (at := first_inexact(centers)) is not None:
        row, column = divmod(at, centers.shape[1])
        raise inexact(name, centers[row, column], f"row {row}, column {column}")
    if centers.dtype.kind in "iub":
        centers = centers.astype(np.float64)
    centers = centers.astype(widened(centers.dtype), copy=False)  # of the centers of such rows
    if not np.isfinite(centers).all():
        row, column = np.argwhere(~np.isfinite(centers))[0]
        raise BadInputError(
            f"{name} holds {centers[row, column]} in row {row}, column {column}: "
            "every value must be finite"
        )
    return centers


@dataclass(frozen=True)
class RunConfig:
    """How a run behaves around the algorithm.

    Parameters
    ----------
    save_checkpoints_steps, save_checkpoints_secs
        With a ``model_dir``: a checkpoint after so many steps, and once so many seconds have
        passed since the last one, whichever comes first. None: not for this reason. The end of a
        run is always saved.
    keep_checkpoint_max
        Checkpoints kept; the oldest go first. None: all.
    save_summary_steps
        With a ``model_dir``: steps between lines of ``metrics.jsonl``, and between TensorBoard
        summaries. None: neither is written.
    log_step_count_steps
        Steps between log lines; where steps are long there are lines by time besides.
    executor
        Where the rows of arrays and files live and are assigned: see ``shoal.executors``. None: in
        this process. What comes as a stream is computed in this process always, but the batches
        that an ``input_fn(worker, num_workers)`` gives. Results do not depend on it.
    asynchronous
        Mini-batches: every part of the data is trained on at a pace of its own, with batches of its
        own rows in an order of its own, and what it finds is applied as it comes, once; the loss of
        a step is that at the centers which it was made with. Results depend on which comes first,
        but for one part, which gives those of synchronous training.
    max_staleness
        ... and how many steps may be applied, at the most, between the one whose centers a step was
        made with and itself: 0 has the parts take turns. None: four for each part.
    progress
        ``"auto"``: a bar on a terminal or in a notebook for work over a second (extra
        ``shoal[progress]``; a plainer one on terminals without), log lines otherwise; True: always
        a bar of ``shoal[progress]``; False: silence.
    tensorboard
        With a ``model_dir``: write TensorBoard event files. ``"auto"``: where the extra
        ``shoal[tensorboard]`` is installed; True: an error where it is not; False: never.
    max_no_improvement
        Without a given stop, training ends when the loss (of mini-batches: smoothed) has not
        reached a new low for this many steps; mini-batches of a stream end with it instead.
    max_epochs
        ... and mini-batch training after this many passes at the latest.
    init_buffer_rows
        Rows of a one-shot stream kept while centers are chosen, to be trained on afterwards.

    Raises
    ------
    BadInputError
        For a value out of range.

    Examples
    --------
    >>> import shoal
    >>> config = shoal.RunConfig(save_checkpoints_secs=60, progress=False)
    >>> config.replace(save_summary_steps=10).save_summary_steps
    10
    """

    save_checkpoints_steps: int | None = None
    save_checkpoints_secs: float | None = 600
    keep_checkpoint_max: int | None = 5
    save_summary_steps: int | None = 100
    log_step_count_steps: int = 100
    executor: Any = None
    asynchronous: bool = False
    max_staleness: int | None = None
    progress: bool | str = "auto"
    tensorboard: bool | str = "auto"
    max_no_improvement: int = 10
    max_epochs: int = 100
    init_buffer_rows: int = 1_000_000

    def __post_init__(self) -> None:
        for name in ("progress", "tensorboard"):
            value = getattr(self, name)
            if not isinstance(value, bool) and not (isinstance(value, str) and value == "auto"):
                raise BadInputError(f"{name} is {value!r:.80}; allowed are True, False and 'auto'")
        for name in ("save_checkpoints_steps", "keep_checkpoint_max", "save_summary_steps"):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), 1, or_none=True)
        if self.save_checkpoints_secs is not None:
            positive("save_checkpoints_secs", self.save_checkpoints_secs, or_none=True)
        for name in ("log_step_count_steps", "max_no_improvement", "max_epochs"):
            whole_number(name, getattr(self, name), 1)
        whole_number("init_buffer_rows", self.init_buffer_rows, 0)
        check_executor(self.executor)
        self._check_asynchronous()

    def _check_asynchronous(self) -> None:
        if not isinstance(self.asynchronous, bool):
            raise BadInputError(f"asynchronous is {self.asynchronous!r:.80}; allowed: True, False")
        if self.max_staleness is None:
            return
        whole_number("max_staleness", self.max_staleness, 0, or_none=True)
        if not self.asynchronous:
            raise BadInputError(
                f"max_staleness is {self.max_staleness}, and asynchronous is False: it bounds "
                "asynchronous training alone. Use asynchronous=True, or leave it out"
            )

    def replace(self, **changes: Any) -> RunConfig:
        """Return a copy with some fields changed."""
        known = {field.name for field in dataclasses.fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise BadInputError(f"RunConfig has no {unknown[0]!r}; it has {sorted(known)}")
        return dataclasses.replace(self, **changes)


def check_executor(value: Any) -> Any:
    """Return what can hold rows and answer for them, or None."""
    if value is None:
        return None
    missing = [name for name in EXECUTOR if not hasattr(value, name)]
    if missing or isinstance(value, type):
        raise BadInputError(
            f"executor is {value!r:.80}; it must be None or an executor, an object with "
            f"{', '.join(EXECUTOR)}: see shoal.executors"
        )
    return value


#: What ``config=None`` means.
DEFAULT_CONFIG = RunConfig()
