"""A model as a TensorFlow SavedModel, with the signatures of the original.

Served by TensorFlow Serving, read by ``tf.saved_model.load`` and ``saved_model_cli``. Signatures:
``cluster_idx`` (nearest center of each row, int64), ``scores`` (its distance), ``all_scores``
(distance to every center), and ``serving_default``, which is one of them; also ``cluster_index``
and ``all_distances``, as the later estimator named two of them. Each has the input ``input``, rows
[n, d] in the dtype of the centers, unless ``serving_input_fn`` says otherwise, and the output
``output``. The variable ``clusters`` is what ``model.clusters()`` gives.

The graph computes in float64, so that labels are those of ``predict`` but where two centers are as
near as float64 can tell: |y|² - 2 y·c + |c|² of rows and centers from which the mean of the centers
is taken first, as far as that is from the origin. The distance of the nearest is then measured by
itself, so that it has all its digits. A row with a value that is not finite gets the
label -1, and NaN for its distances.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shoal.config import Parameters
from shoal.errors import BadInputError, MissingExtraError
from shoal.export.folders import write_stamped
from shoal.export.serving_input import Received, received
from shoal.export.shifted import shifted, users_centers
from shoal.inference import ALL_SCORES, CLUSTER_IDX, SCORES
from shoal.metric import is_cosine
from shoal.state import State
from shoal.storage.jsonl import json_object, write_json
from shoal.types import Array
from shoal.version import __version__

SERVING_DEFAULT = "serving_default"
#: Names of the later estimator for the same.
LATER = {"cluster_index": CLUSTER_IDX, "all_distances": ALL_SCORES}
OUTPUTS = (CLUSTER_IDX, SCORES, ALL_SCORES, *LATER)

ASSETS = "assets.extra"
DESCRIPTION = "shoal.json"
BINARY, TEXT = "saved_model.pb", "saved_model.pbtxt"
LEFT_OUT = -1


@dataclass(frozen=True)
class Wishes:
    """What a user may ask of a SavedModel, checked."""

    serving_input_fn: Callable[[], Any] | None = None
    default: str = CLUSTER_IDX
    assets: Mapping[str, Path] = field(default_factory=dict)
    as_text: bool = False
    strip_default_attrs: bool = False


def export_savedmodel(
    state: State,
    parameters: Parameters,
    columns: tuple[Any, ...] | None,
    base: Path,
    wishes: Wishes,
) -> str:
    """Write a SavedModel into a new time-stamped directory in ``base``; return its path."""
    tensorflow("export_savedmodel")
    path = write_stamped(base, lambda part: write(state, parameters, columns, part, wishes))
    return str(path)


def write(
    state: State,
    parameters: Parameters,
    columns: tuple[Any, ...] | None,
    folder: Path,
    wishes: Wishes,
) -> None:
    """Write a SavedModel into an empty directory.

    Raises
    ------
    OSError
        If a file cannot be written.
    MissingExtraError
        Without TensorFlow.
    BadInputError
        If ``serving_input_fn`` gives no rows for this model.
    """
    tf = tensorflow("a SavedModel")
    try:
        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            inputs = received(tf, wishes.serving_input_fn, state.clusters, columns)
            session.run(tf.compat.v1.global_variables_initializer())  # those of the user's
            outputs = _outputs(tf, session, inputs.rows, state, parameters)
            _save(tf, session, folder, _signatures(tf, inputs, outputs, wishes.default), wishes)
    except tf.errors.OpError as error:
        raise OSError(None, f"TensorFlow says: {error.message}") from error
    for name, source in wishes.assets.items():
        target = folder / ASSETS / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    (folder / ASSETS).mkdir(exist_ok=True)
    write_json(folder / ASSETS / DESCRIPTION, _description(state, parameters, columns))


def describe(folder: Path) -> dict[str, Any]:
    """What a SavedModel of ours says of itself; needs no TensorFlow."""
    path = folder / ASSETS / DESCRIPTION
    try:
        found = json_object(path.read_bytes())
        missing = {"num_clusters", "num_columns", "distance_metric"} - set(found)
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{folder} is no SavedModel of shoal: {error}") from None
    if missing:
        raise BadInputError(f"{folder} is no SavedModel of shoal: {path} has no {min(missing)}")
    return dict(found)


def is_savedmodel(folder: Path) -> bool:
    """Whether a directory holds a SavedModel, ours or another's."""
    return (folder / BINARY).is_file() or (folder / TEXT).is_file()


def tensorflow(what: str) -> Any:
    """Import TensorFlow."""
    try:
        return importlib.import_module("tensorflow")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] != "tensorflow":
            raise  # it is there, and something that it needs is not
        raise MissingExtraError(what, "tensorflow", "tensorflow") from None


def _description(
    state: State, parameters: Parameters, columns: tuple[Any, ...] | None
) -> dict[str, Any]:
    return {
        "format": 1,
        "version": __version__,
        "num_clusters": len(state.clusters),
        "num_columns": state.clusters.shape[1],
        "distance_metric": parameters.distance_metric,
        "dtype": state.clusters.dtype.name,
        "columns": list(columns or ()),
        "global_step": state.global_step,
    }


def _save(tf: Any, session: Any, folder: Path, signatures: dict[str, Any], wishes: Wishes) -> None:
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    builder.add_meta_graph_and_variables(
        session,
        [v1.saved_model.tag_constants.SERVING],
        signature_def_map=signatures,
        strip_default_attrs=wishes.strip_default_attrs,
        clear_devices=True,
        # Tables of a serving_input_fn, and the files that they are filled from.
        assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
        main_op=v1.tables_initializer(),
    )
    builder.save(as_text=wishes.as_text)


def _signatures(tf: Any, inputs: Received, outputs: dict[str, Any], default: str) -> dict[str, Any]:
    names = {name: name for name in outputs} | LATER
    names[SERVING_DEFAULT] = LATER.get(default, default)
    signature_of = tf.compat.v1.saved_model.predict_signature_def
    return {
        signature: signature_of(inputs.receivers, {"output": outputs[name]})
        for signature, name in names.items()
    }


def _outputs(
    tf: Any, session: Any, given: Any, state: State, parameters: Parameters
) -> dict[str, Any]:
    """The outputs for rows [n, d], by name."""
    dtype, metric = state.clusters.dtype, parameters.distance_metric
    near = shifted(state, metric, np.dtype(np.float64))
    _variable(tf, session, "clusters", users_centers(state, metric))
    rows = tf.cast(given, tf.float64)
    finite = tf.reduce_all(tf.math.is_finite(rows), axis=1)
    directed = tf.ones_like(finite)
    if cosine := is_cosine(metric):
        rows, directed = _unit(tf, rows)
    rows -= _variable(tf, session, "shoal/shift", near.shift)
    centers = _variable(tf, session, "shoal/centers", near.centers)
    # Less the square of the row, which is the same for all centers.
    less = tf.linalg.matmul(-2.0 * rows, centers, transpose_b=True)
    less += _variable(tf, session, "shoal/constants", near.constants)
    nearest = tf.argmin(less, axis=1)
    # Of the nearest center by itself: of a row close to it the products leave no digit.
    scores = tf.reduce_sum(tf.square(rows - tf.gather(centers, nearest)), axis=1)
    squares = tf.reduce_sum(tf.square(rows), axis=1, keepdims=True)
    distances = tf.maximum(less + squares, tf.constant(0.0, tf.float64))
    if cosine:
        zeros = _variable(tf, session, "shoal/zeros", near.zeros.astype(np.float64))
        one = tf.constant(1.0, tf.float64)
        scores = tf.where(directed, 0.5 * (scores + tf.gather(zeros, nearest)), one)
        distances = tf.where(directed[:, None], 0.5 * distances, one)
        nearest = tf.where(directed, nearest, tf.constant(0, tf.int64))
    # Not ==, which compares objects in a graph of version 1.
    is_nearest = tf.equal(tf.range(len(near.centers), dtype=tf.int64), nearest[:, None])
    distances = tf.where(is_nearest, scores[:, None], distances)
    nan = tf.constant(np.nan, tf.float64)
    labels = tf.where(finite, nearest, tf.constant(LEFT_OUT, tf.int64))
    scores = tf.cast(tf.where(finite, scores, nan), dtype)
    all_scores = tf.cast(tf.where(finite[:, None], distances, nan), dtype)
    return {
        CLUSTER_IDX: tf.identity(labels, name=CLUSTER_IDX),
        SCORES: tf.identity(scores, name=SCORES),
        ALL_SCORES: tf.identity(all_scores, name=ALL_SCORES),
    }


def _unit(tf: Any, rows: Any) -> tuple[Any, Any]:
    """Rows of length one, and which have a direction: others stay zero."""
    # By the largest value first, so that no square leaves the range of float64.
    rows = tf.math.divide_no_nan(rows, tf.reduce_max(tf.abs(rows), axis=1, keepdims=True))
    length = tf.sqrt(tf.reduce_sum(tf.square(rows), axis=1, keepdims=True))
    return tf.math.divide_no_nan(rows, length), length[:, 0] > 0


def _variable(tf: Any, session: Any, name: str, value: Array) -> Any:
    """A variable whose value is in the checkpoint of the SavedModel and not in its graph."""
    variable = tf.compat.v1.get_variable(
        name,
        value.shape,
        value.dtype,
        tf.compat.v1.zeros_initializer(),
        trainable=False,
        use_resource=True,
    )
    initializer = variable.initializer
    session.run(initializer, {initializer.inputs[1]: value})
    return variable
