"""The command ``export``: a model in another form."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from shoal.cli.data import STANDARD, is_read
from shoal.cli.help import FORMATS
from shoal.cli.models import trained_columns, with_centers
from shoal.cli.output import Result
from shoal.errors import BadInputError
from shoal.export import npz, to_faiss, to_npy, to_onnx, to_savedmodel
from shoal.saving import save_model

logger = logging.getLogger("shoal")

#: What writes each format.
WRITERS: dict[str, Callable[..., None]] = {
    "onnx": to_onnx,
    "savedmodel": to_savedmodel,
    "npy": to_npy,
    "npz": npz.save_model,
    "faiss": to_faiss,
    "safetensors": save_model,
}
#: Options that some formats have alone, with what they are if they are not given.
OWN = {"dtype": ("onnx", None), "opset": ("onnx", None), "ivf": ("faiss", False)}
#: Formats in which columns have no names.
NAMELESS = ("npy", "faiss")


def export(options: argparse.Namespace) -> Result:
    """Write a model in another form."""
    name = _format(options)
    given = {}
    for option, (owner, default) in OWN.items():
        if getattr(options, option) == default:
            continue
        if name != owner:
            raise BadInputError(f"--{option} is for --format {owner}, and the format is {name}")
        given[option] = getattr(options, option)
    target = _target(options)
    model = with_centers(options.model)
    WRITERS[name](model, target, **given)
    columns = trained_columns(model)
    if columns and name in NAMELESS:
        names = ", ".join(map(str, columns))
        logger.info("%s has no names of columns: their order is %s", target.name, names)
    return {
        "model": options.model,
        "format": name,
        "clusters": len(model.state.clusters),
        "columns": columns or model.state.clusters.shape[1],
        "metric": model.get_params()["distance_metric"],
        "output": options.output,
        "bytes": sum(file.stat().st_size for file in _files(target)),
    }


def _format(options: argparse.Namespace) -> str:
    """As it is given, or as the name of the output ends."""
    if options.format is not None:
        return str(options.format)
    suffix = Path(options.output).suffix
    for name, usual in FORMATS.items():
        if suffix and suffix == usual:
            return name
    raise BadInputError(
        f"{options.output} does not say its format: give --format, one of {', '.join(FORMATS)}, or "
        f"a name that ends in {', '.join(filter(None, FORMATS.values()))}"
    )


def _target(options: argparse.Namespace) -> Path:
    target = Path(options.output)
    if options.output == STANDARD:
        raise BadInputError("models are not written to standard output: give -o a name")
    if not target.parent.is_dir():
        raise BadInputError(f"there is no directory {target.parent} for {target.name}")
    if is_read(target, [options.model]):
        raise BadInputError(f"{target} is the model itself: choose another name for the export")
    if options.format == "savedmodel":
        if target.is_dir() and any(target.iterdir()):
            raise BadInputError(f"directory {target} is not empty: choose another one")
        if target.exists() and not target.is_dir():
            raise BadInputError(f"{target} is a file: give -o the name of a directory")
    elif target.is_dir():
        raise BadInputError(f"{target} is a directory: give -o the name of a file")
    elif target.exists() and not options.force:
        raise BadInputError(f"{target} exists: pass --force to replace it")
    return target


def _files(target: Path) -> list[Path]:
    if not target.is_dir():
        return [target]
    return [one for one in target.rglob("*") if one.is_file()]
