"""The command ``inspect``: what a model holds, in any of its forms."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import shoal
from shoal.cli.models import trained_columns, with_centers
from shoal.cli.output import Result
from shoal.cli.places import names_of_places
from shoal.config import check_centers
from shoal.errors import BadInputError
from shoal.export import faiss, npy, onnx, savedmodel
from shoal.export.folders import numbers
from shoal.export.numbered import ONNX_FILE
from shoal.sphere import from_sphere

#: First bytes of a .npy file.
NPY = b"\x93NUMPY"
#: Exports that are named.
MOST_SHOWN = 5


def inspect(options: argparse.Namespace) -> Result:
    """Say what a model file, an export of one, or a directory of checkpoints holds."""
    path = Path(options.model)
    first = b""
    if path.is_file():
        with open(path, "rb") as file:
            first = file.read(16)
    elif (path / ONNX_FILE).is_file():  # what export() writes without TensorFlow
        path = path / ONNX_FILE
    if path.suffix == ".onnx" or onnx.MAGIC in first:
        found = _of_onnx(path)
    elif path.suffix == ".faiss" or first[:4] in faiss.MAGIC:
        found = _of_faiss(path)
    elif first.startswith(NPY):
        found = _of_npy(path)
    elif savedmodel.is_savedmodel(path):
        found = _of_savedmodel(path)
    else:
        _refuse_parent(path)
        found = _of_model(with_centers(options.model))
    return {"model": str(options.model), **found}


def _refuse_parent(path: Path) -> None:
    """Name what is in a directory of exports, of which one is to be inspected."""
    inside = numbers(path) if path.is_dir() else {}
    exports = [
        inside[number]
        for number in sorted(inside)
        if savedmodel.is_savedmodel(inside[number]) or (inside[number] / ONNX_FILE).is_file()
    ]
    if exports:
        named = ", ".join(one.name for one in exports[-MOST_SHOWN:])
        raise BadInputError(
            f"{path} is a directory of {len(exports)} exports ({named}): name one of them, the "
            f"newest is {exports[-1]}"
        )


def _of_onnx(path: Path) -> Result:
    found = onnx.read(path)
    return {
        "format": "onnx",
        **_centers(found.centers, found.columns),
        "metric": found.metric,
        "opset": found.opset,
        "version": f"shoal {found.version}",
    }


def _of_faiss(path: Path) -> Result:
    index = faiss.read(path)
    found = faiss.from_index(index)
    lists = {"vectors": index.ntotal} if hasattr(index, "nlist") else {}
    return {
        "format": "faiss",
        "index": type(index).__name__,
        **_centers(found.centers),
        "metric": found.metric,
        **lists,
    }


def _of_npy(path: Path) -> Result:
    return {"format": "npy", **_centers(check_centers(npy.read(path), path.name))}


def _of_savedmodel(path: Path) -> Result:
    said = savedmodel.describe(path)
    return {
        "format": "savedmodel",
        "clusters": said["num_clusters"],
        "columns": said.get("columns") or said["num_columns"],
        "dtype": said.get("dtype"),
        "metric": said["distance_metric"],
        "steps": said.get("global_step"),
        "version": f"shoal {said.get('version')}",
    }


def _centers(centers: Any, columns: Any = None) -> Result:
    return {
        "clusters": len(centers),
        "columns": list(columns) if columns else centers.shape[1],
        "dtype": str(centers.dtype),
    }


def _of_model(model: shoal.KMeansClustering) -> Result:
    state, given = model.state, model.get_params()
    counts = np.sort(state.counts)[::-1]
    return {
        **_centers(state.clusters, trained_columns(model)),
        "metric": given["distance_metric"],
        "training": "mini-batch" if given["use_mini_batch"] else "full batch",
        "steps": state.global_step,
        "seed": state.seed,
        "largest_counts": [round(float(count), 3) for count in counts[:5]],
        "smallest_count": round(float(counts[-1]), 3),
        **({"on_bad_rows": "skip"} if given["on_bad_rows"] == "skip" else {}),
        **_places(model),
        **({"complete": not model.is_interrupted} if model.model_dir else {}),
    }


def _places(model: shoal.KMeansClustering) -> Result:
    """Centers in degrees, of models of places."""
    if not names_of_places(trained_columns(model)):
        return {}
    centers = model.clusters()
    known = np.any(
        centers != 0, axis=1
    )  # opposite places have their mean in the middle, which is no place
    lat, lon = (np.round(one, 6).tolist() for one in from_sphere(centers[known]))
    found = iter(zip(lat, lon, strict=True))
    return {"centers": [list(next(found)) if one else None for one in known.tolist()]}
