"""What a SavedModel is fed with: rows, or what a ``serving_input_fn`` makes of requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from shoal.errors import BadInputError
from shoal.sources.columns import listed
from shoal.types import Array

INPUT = "input"


class Received(NamedTuple):
    """The rows in the graph, and the tensors that requests fill."""

    rows: Any
    receivers: dict[str, Any]


def received(
    tf: Any,
    serving_input_fn: Callable[[], Any] | None,
    centers: Array,
    columns: tuple[Any, ...] | None,
) -> Received:
    """The input of the graph: one placeholder [n, d], or what ``serving_input_fn`` builds.

    That may return what the original's did: an object with ``features`` and ``receiver_tensors``,
    or a tuple (features, labels, inputs). Or features that are placeholders themselves. Features
    are a tensor [n, d], or a dict of columns, each [n] or [n, m].
    """
    dim = centers.shape[1]
    if serving_input_fn is None:
        rows = tf.compat.v1.placeholder(centers.dtype, [None, dim], name=INPUT)
        return Received(rows, {INPUT: rows})
    found = serving_input_fn()
    if hasattr(found, "receiver_tensors"):
        features, receivers = found.features, found.receiver_tensors
    elif isinstance(found, tuple) and len(found) == 3:
        features, _, receivers = found
    else:
        features = receivers = found
    if not isinstance(receivers, Mapping):
        receivers = {INPUT: receivers}
    for where, tensors in (("features", features), ("inputs", receivers)):
        for tensor in tensors.values() if isinstance(tensors, Mapping) else [tensors]:
            if not isinstance(tensor, tf.Tensor):
                raise BadInputError(
                    f"serving_input_fn returned {where} of type {type(tensor).__name__}; it must "
                    "return an object with features and receiver_tensors, dense tensors or dicts "
                    "of them"
                )
    if isinstance(features, Mapping):
        features = _joined(tf, features, columns)
    if features.shape.rank not in (None, 2) or features.shape[-1] not in (None, dim):
        raise BadInputError(
            f"serving_input_fn returned features of shape {features.shape}; the model needs rows "
            f"[n, {dim}]"
        )
    return Received(features, {str(name): tensor for name, tensor in receivers.items()})


def _joined(tf: Any, features: Mapping[Any, Any], columns: tuple[Any, ...] | None) -> Any:
    """Columns side by side, in the order of the model's names, or of the dict if it has none."""
    names = list(features)
    if columns:
        by_name = {str(name): name for name in features}
        names = [by_name.get(str(column)) for column in columns]
        if None in names or len(names) != len(features):
            raise BadInputError(
                f"serving_input_fn returned the features {listed(tuple(features))}; the model has "
                f"the columns {listed(columns)}: they must agree, in any order"
            )
    parts = [tf.cast(features[name], tf.float64) for name in names]
    return tf.concat([part[:, None] if part.shape.rank == 1 else part for part in parts], axis=1)
