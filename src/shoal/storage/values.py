"""State and parameters as arrays and plain values, for files; and back, with every check."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from shoal.state import State, Unfinished
from shoal.storage.jsonl import plain
from shoal.types import Array

#: Arrays of every state; a full-batch run under way has one more, ``clusters_before``.
ARRAYS = ("clusters", "clusters_updated", "counts")

#: Beyond every step and epoch that a run can reach.
LARGEST = 2**63

#: What files have where there is no loss yet: all are 0 or more.
NO_LOSS = -1.0

#: Parameters that are kept. Those that say how to run, not what to compute of which rows, are not.
PARAMETERS = (
    "num_clusters",
    "initial_clusters",
    "distance_metric",
    "use_mini_batch",
    "mini_batch_steps_per_iteration",
    "kmeans_plus_plus_num_retries",
    "relative_tolerance",
    "kmc2_chain_length",
    "kmeans_parallel_rounds",
    "kmeans_parallel_oversampling",
    "empty_clusters",
    "reassignment_ratio",
    "start_on_sample",
    "feature_columns",
    "weight_column",
    "on_bad_rows",
)


def parameters_to_keep(given: Mapping[str, Any], num_clusters: int) -> dict[str, Any]:
    """Parameters as JSON can hold them.

    First centers that were given as an array or a callable are not kept: they have been used.
    """
    kept = {name: _plain(given[name]) for name in PARAMETERS if name != "initial_clusters"}
    if isinstance(given["initial_clusters"], str):
        kept["initial_clusters"] = given["initial_clusters"]
    return {**kept, "num_clusters": num_clusters}


def parameters_from(value: Any, state: State) -> dict[str, Any]:
    """Parameters as files hold them beside a state; ValueError for anything else.

    A file may have come from elsewhere: it says nothing of this machine's directories.
    """
    named = isinstance(value, dict) and {"num_clusters", "distance_metric"} <= set(value)
    if not named or type(value["num_clusters"]) is not int:
        raise ValueError(f"its parameters are {value!r:.200}")
    unknown = sorted(set(value) - set(PARAMETERS))
    if unknown:
        raise ValueError(f"its parameters hold {unknown[0]!r}, which models do not keep")
    found, number = state.num_found, value["num_clusters"]
    if found > number or (state.initialized and found < number):
        raise ValueError(f"it holds {found} centers, and num_clusters is {number}")
    return dict(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return plain(value)


def parameters_to_give(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as a constructor takes them, of those that were kept."""
    given = {**kept, "weight_column": tuples(kept.get("weight_column"))}
    if isinstance(features := given.get("feature_columns"), list):
        given["feature_columns"] = [tuples(name) for name in features]
    return given


def tuples(value: Any) -> Any:
    """Tuples come back from JSON as lists."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def names_from(value: Any) -> tuple[Any, ...] | None:
    """Names of columns as JSON has them; ValueError for anything else."""
    if value is not None and not isinstance(value, list):
        raise ValueError(f"its columns are {value!r:.80}")
    names: tuple[Any, ...] | None = tuples(value)
    return names


def state_to_parts(state: State) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of a state, and the rest of it."""
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    arrays = {name: fields.pop(name) for name in (*ARRAYS, "clusters_before")}
    if arrays["clusters_before"] is None:
        del arrays["clusters_before"]
    # Of asynchronous training, of workers' own streams, of a start on a sample.
    for name in ("workers", "turns", "sample_steps_left"):
        if not fields[name]:
            del fields[name]
    if state.unfinished is not None:
        fields["unfinished"] = [NO_LOSS if one is None else one for one in state.unfinished]
    return arrays, {name: plain(value) for name, value in fields.items()}


def state_from_parts(arrays: Mapping[str, Array], fields: Mapping[str, Any]) -> State:
    """Build a state; raises ValueError unless its parts are complete and fit each other."""
    known = {field.name: field for field in dataclasses.fields(State)}
    unknown = sorted({*arrays, *fields} - set(known))
    if unknown:
        raise ValueError(f"it holds {unknown[0]!r}, which is no part of a state")
    required = [name for name, field in known.items() if field.default is dataclasses.MISSING]
    missing = sorted(set(required) - {*arrays, *fields})
    if missing:
        raise ValueError(f"it holds no {missing[0]!r}")
    _check_arrays(arrays)
    values: dict[str, Any] = {name: tuples(value) for name, value in fields.items()}
    for name, value in values.items():
        if not _is_right(name, value):
            raise ValueError(f"{name} is {value!r:.80}")
    if (memory := values.get("unfinished")) is not None:
        values["unfinished"] = unfinished_from(memory)
    return State(**{**arrays, **values})


def unfinished_from(memory: tuple[float, ...]) -> Unfinished:
    """What a run remembers, as files have it."""
    epoch, loss, smoothed, lowest, misses = memory
    return Unfinished(int(epoch), _known(loss), _known(smoothed), lowest, int(misses))


def _known(loss: float) -> float | None:
    return None if loss < 0 else loss


def _check_arrays(arrays: Mapping[str, Array]) -> None:
    clusters = arrays["clusters"]
    shape = clusters.shape
    fits = len(shape) == 2 and shape[1] > 0 and arrays["counts"].shape == shape[:1]
    others = [arrays[name] for name in ("clusters_updated", "clusters_before") if name in arrays]
    if not fits or any(other.shape != shape for other in others):
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(f"its arrays do not fit each other: {shapes}")
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(f"{name} has dtype {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite")


def _is_right(name: str, value: Any) -> bool:
    """Whether a value can be this field of a state."""
    if name == "initialized":
        return isinstance(value, bool)
    if name == "workers":
        pairs = isinstance(value, tuple) and all(isinstance(pair, tuple) for pair in value)
        numbers = [number for pair in value for number in pair] if pairs else [-1]
        return pairs and all(len(pair) == 2 for pair in value) and min(numbers, default=0) >= 0
    if name == "turns":
        return isinstance(value, tuple) and all(type(one) is int and one >= 0 for one in value)
    if name == "unfinished":
        return value is None or (
            isinstance(value, tuple)
            and len(value) == 5
            and max(abs(value[0]), abs(value[4])) < LARGEST
            and all(type(item) in (int, float) and abs(item) <= math.inf for item in value)
        )
    return type(value) is int and 0 <= value < (2**128 if name == "seed" else LARGEST)
