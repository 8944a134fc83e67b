"""A model as an ONNX file, for every runtime that reads those.

Inputs: ``X`` [N, d]. Outputs: ``cluster_idx`` [N] int64, ``scores`` [N], ``all_scores`` [N, k].
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

import numpy as np

from shoal.checks import path_of, warn_user, whole_number
from shoal.config import Parameters
from shoal.errors import BadInputError, MissingExtraError
from shoal.export import onnx_graph
from shoal.export.endings import check_ending
from shoal.export.shifted import check_dtype, shifted, users_centers, warn_of_coarse
from shoal.metric import METRICS, is_cosine
from shoal.state import State
from shoal.storage import safetensors
from shoal.storage.files import whole_file
from shoal.storage.jsonl import plain
from shoal.storage.values import names_from
from shoal.types import Array, Floats
from shoal.version import __version__

#: Versions of the operators of ONNX, and the one that is written if nothing else is said: what
#: onnxruntime reads since 1.12, of 2022.
OLDEST, NEWEST, USUAL = 13, 28, 17
#: No file of protobuf is larger.
LARGEST_BYTES = 2_000_000_000
#: Among the first bytes of our files: the field ``producer_name``.
MAGIC = b"\x12\x05shoal"
#: What the keys of the metadata begin with.
PREFIX = "shoal."


class Found(NamedTuple):
    """What a file says of its model."""

    centers: Array  # [k, d] in the dtype of the graph
    metric: str
    columns: tuple[Any, ...] | None
    opset: int
    version: str  # of shoal


def write(
    state: State,
    parameters: Parameters,
    columns: tuple[Any, ...] | None,
    path: str | os.PathLike[str],
    *,
    dtype: object = "float32",
    opset: int = USUAL,
) -> None:
    """Write a file, which appears whole or not at all.

    Parameters
    ----------
    state, parameters, columns
        The model. Columns that have names keep them in the metadata, in the order of ``X``.
    path
        Where to write; what is there is replaced.
    dtype
        ``"float32"`` or ``"float64"``: of ``X``, the centers, the distances.
    opset
        Version of the operators, from 13 to 28.

    Raises
    ------
    BadInputError
        If the file cannot be written, ``dtype`` or ``opset`` is not among those, or there is no
        room for the centers in them.
    MissingExtraError
        Without the package ``onnx``.
    """
    check_ending(path, ".onnx")
    content = to_model(state, parameters, columns, dtype=dtype, opset=opset).SerializeToString()
    with whole_file(path) as file:
        file.write(content)


def to_model(
    state: State,
    parameters: Parameters,
    columns: tuple[Any, ...] | None,
    *,
    dtype: object = "float32",
    opset: int = USUAL,
) -> Any:
    """The ``onnx.ModelProto`` that ``write`` writes."""
    onnx = _onnx("export to ONNX")
    found, metric = check_dtype(dtype), parameters.distance_metric
    opset = whole_number("opset", opset, OLDEST, NEWEST)
    if opset > onnx.defs.onnx_opset_version():
        raise BadInputError(
            f"opset is {opset}, and onnx {onnx.__version__} knows those up to "
            f"{onnx.defs.onnx_opset_version()}: upgrade onnx, or choose one of {OLDEST} … that"
        )
    centers = users_centers(state, metric)
    if centers.size * found.itemsize > LARGEST_BYTES:
        raise BadInputError(
            f"the centers have {centers.size * found.itemsize:,} bytes as {found.name}; a file of "
            f"ONNX has room for {LARGEST_BYTES:,}: export them as .npy, or a SavedModel"
        )
    model = shifted(state, metric, found)
    if not _warn_of_equal(centers, model.centers):
        warn_of_coarse(state, metric, found, "Use dtype='float64'")
    helper = onnx.helper
    operators = [helper.make_opsetid("", opset)]
    made = helper.make_model(
        onnx_graph.graph(model, is_cosine(metric), opset),
        producer_name="shoal",
        producer_version=__version__,
        doc_string=f"k-means: {len(centers)} clusters, {metric}",
        opset_imports=operators,
        ir_version=helper.find_min_ir_version_for(operators),
    )
    metadata = {
        "version": __version__,
        "distance_metric": metric,
        "num_clusters": str(len(centers)),
        "num_columns": str(centers.shape[1]),
        "columns": json.dumps(plain(columns or None)),
    }
    metadata["crc32"] = safetensors.checksum(_arrays(onnx, made), metadata)
    helper.set_model_props(made, {PREFIX + name: value for name, value in metadata.items()})
    return made


def read(path: str | os.PathLike[str]) -> Found:
    """What a file that ``write`` wrote holds; BadInputError for any other."""
    file = path_of("path", path)
    if not file.is_file():
        raise BadInputError(f"there is no file {file}")
    onnx = _onnx(f"reading {file.name}")
    try:
        model = onnx.load_model_from_string(file.read_bytes())
        said = {
            one.key.removeprefix(PREFIX): one.value
            for one in model.metadata_props
            if one.key.startswith(PREFIX)
        }
        if "version" not in said:
            raise BadInputError(
                f"{file} is no ONNX file of shoal, or damaged: its metadata says nothing of shoal"
            )
        arrays = _arrays(onnx, model)
        if said.pop("crc32", None) != safetensors.checksum(arrays, said):
            raise ValueError("its checksum is not that of its content")
        metric, centers = said["distance_metric"], onnx_graph.centers_of(arrays)
        columns = names_from(json.loads(said["columns"]))
        shape = (int(said["num_clusters"]), int(said["num_columns"]))
        [opset] = [one.version for one in model.opset_import if not one.domain]
        if metric not in METRICS or centers.shape != shape or not np.isfinite(centers).all():
            raise ValueError(f"{metric} centers of shape {centers.shape}, said to be {shape}")
    except BadInputError:
        raise
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's own, and whatever a damaged file leads to
        raise BadInputError(
            f"{file} is no ONNX file of shoal, or damaged: {str(error) or type(error).__name__}"
        ) from error
    return Found(centers, metric, columns, opset, said["version"])


def _arrays(onnx: Any, model: Any) -> dict[str, Array]:
    """The constants of a graph."""
    tensors = model.graph.initializer
    return {one.name: onnx.numpy_helper.to_array(one) for one in tensors}


def _warn_of_equal(exact: Floats, rounded: Floats) -> bool:
    """Warn where centers differ and, as they are written, do not."""
    if exact.dtype == rounded.dtype:  # nothing is rounded but what is far from the others
        return False
    lost = len(np.unique(exact, axis=0)) - len(np.unique(rounded, axis=0))
    if lost > 0:
        warn_user(
            f"{lost} of {len(exact)} centers are the same as others in {rounded.dtype}, and no row "
            "is assigned to them: dtype='float64' tells them apart"
        )
    return lost > 0


def _onnx(feature: str) -> Any:
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise MissingExtraError(feature, "onnx", "onnx") from None
    return onnx
