"""The command line: arguments to estimator, results to standard output; no maths."""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import shoal
from shoal.config import EMPTY_CLUSTERS, SEEDINGS
from shoal.errors import BadInputError, MissingExtraError
from shoal.export.npz import load_model, save_model
from shoal.metric import METRICS
from shoal.sources.array import Columns
from shoal.sources.files import read_file

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for an error, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    quiet = getattr(options, "quiet", False)
    logging.basicConfig(
        stream=sys.stderr, format="shoal: %(message)s", level="WARNING" if quiet else "INFO"
    )
    try:
        result: Result = options.command(options)
    except (shoal.ShoalError, OSError) as error:
        print(f"shoal: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    interrupted = result.pop("interrupted", False)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name.replace('_', ' '):<14} {_text(v)}" for name, v in result.items()))
    return 1 if interrupted else 0


def fit(options: argparse.Namespace) -> Result:
    """Train on a file and write the model."""
    model_file = Path(options.model)
    if model_file.exists() and not (options.resume or options.force):
        raise BadInputError(
            f"{model_file} exists: pass --resume to train it further, or --force to replace it"
        )
    if not model_file.parent.is_dir():
        raise BadInputError(f"there is no directory {model_file.parent} for the model")
    run = shoal.RunConfig(progress=False if options.quiet else "auto", log_step_count_steps=10)
    if options.resume:
        model = load_model(model_file, config=run, num_threads=options.threads)
        given = model.get_params()
        data, names = _read(options.data, given["feature_columns"], given["weight_column"])
    else:
        data, names = _read(options.data, options.columns, options.weight)
        model = shoal.KMeansClustering(
            options.clusters,
            initial_clusters=options.init,
            distance_metric=options.metric,
            random_seed=options.seed,
            use_mini_batch=options.mini_batch,
            relative_tolerance=options.tolerance,
            config=run,
            empty_clusters=options.empty_clusters,
            feature_columns=names,
            weight_column=options.weight,
            num_threads=options.threads,
        )
    began = time.perf_counter()
    interrupted = False
    try:
        model.fit(data, steps=options.steps, batch_size=options.batch_size)
    except KeyboardInterrupt:
        if not model.is_fitted:
            raise BadInputError("interrupted before the centers were chosen") from None
        interrupted = True
    save_model(model, model_file)
    if interrupted:
        print(
            f"shoal: interrupted after step {model.state.global_step}; go on with: "
            f"shoal fit {options.data} --model {model_file} --resume",
            file=sys.stderr,
        )
    seconds = time.perf_counter() - began
    measured = model.evaluate(data)
    return {
        "rows": measured["num_rows"],
        "columns": names or model.state.clusters.shape[1],
        "clusters": len(model.state.clusters),
        "metric": model.get_params()["distance_metric"],
        "steps": measured["global_step"],
        "loss": measured["scores"],
        "loss_per_row": measured["loss"],
        "seconds": round(seconds, 3),
        "model": str(model_file),
        "interrupted": interrupted,
    }


def predict(options: argparse.Namespace) -> Result:
    """Write the nearest center of every row, and its distance."""
    target = Path(options.output)
    writer = WRITERS.get(target.suffix)
    if writer is None:
        raise BadInputError(f"{target} is of no known kind; files end in one of {tuple(WRITERS)}")
    model = load_model(options.model, num_threads=options.threads)
    given = model.get_params()
    data, _ = _read(options.data, given["feature_columns"], None)
    model.set_params(weight_column=None)
    found = model.predict(data, outputs=("cluster_idx", "scores"), as_iterable=False)
    assert isinstance(found, dict)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        writer(beside, found)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return {
        "rows": len(found["cluster_idx"]),
        "clusters_used": len(np.unique(found["cluster_idx"])),
        "loss": float(found["scores"].sum(dtype=np.float64)),
        "output": str(target),
    }


def inspect(options: argparse.Namespace) -> Result:
    """Say what a model file holds."""
    model = load_model(options.model)
    state, given = model.state, model.get_params()
    counts = np.sort(state.counts)[::-1]
    return {
        "model": str(options.model),
        "clusters": len(state.clusters),
        "columns": given["feature_columns"] or state.clusters.shape[1],
        "dtype": str(state.clusters.dtype),
        "metric": given["distance_metric"],
        "training": "mini-batch" if given["use_mini_batch"] else "full batch",
        "steps": state.global_step,
        "seed": state.seed,
        "largest_counts": [round(float(count), 3) for count in counts[:5]],
        "smallest_count": round(float(counts[-1]), 3),
    }


def _read(path: str, features: Sequence[str] | None, weight: str | None) -> tuple[Any, Any]:
    """Data of a file, and the names of its columns where it has names."""
    data, _ = read_file(path, Columns(features, weight))
    if not isinstance(data, dict):
        if features or weight:
            raise BadInputError(f"--columns and --weight name columns; {path} has no names")
        return data, None
    names = list(features) if features else sorted(name for name in data if name != weight)
    return data, names


def _write_npy(path: Path, found: dict[str, Any]) -> None:
    with open(path, "wb") as file:
        np.save(file, found["cluster_idx"])


def _write_csv(path: Path, found: dict[str, Any]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(found)
        writer.writerows(zip(*(values.tolist() for values in found.values()), strict=True))


def _write_parquet(path: Path, found: dict[str, Any]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("writing Parquet", "pyarrow", "parquet") from None
    parquet.write_table(pyarrow.table(found), path)


WRITERS = {".npy": _write_npy, ".csv": _write_csv, ".parquet": _write_parquet}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shoal", description="k-means clustering: exact, reproducible to the bit, fast."
    )
    parser.add_argument("--version", action="version", version=f"shoal {shoal.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data_help = "a .npy, .csv or .parquet file (Parquet needs shoal[parquet])"

    one = commands.add_parser("fit", help="train on a file and write a model")
    one.set_defaults(command=fit)
    one.add_argument("data", help=data_help)
    one.add_argument("-k", "--clusters", type=int, default=8, help="number of clusters (8)")
    one.add_argument("-m", "--model", default="model.npz", help="file to write (model.npz)")
    one.add_argument("--metric", choices=METRICS, default=METRICS[0])
    one.add_argument("--init", choices=SEEDINGS, default="kmeans_plus_plus")
    one.add_argument("--seed", type=int, default=0, help="seed of every random choice (0)")
    one.add_argument("--mini-batch", action="store_true", help="train by mini-batches")
    one.add_argument("--batch-size", type=int, help="rows per mini-batch")
    one.add_argument("--steps", type=int, help="steps to train (default: until converged)")
    one.add_argument("--tolerance", type=float, help="stop when the loss changes by less")
    one.add_argument("--empty-clusters", choices=EMPTY_CLUSTERS, default=EMPTY_CLUSTERS[0])
    one.add_argument("--columns", type=_names, help="columns to use: a,b,c (all numeric ones)")
    one.add_argument("--weight", help="column of row weights")
    one.add_argument("--resume", action="store_true", help="train the model file further")
    one.add_argument("--force", action="store_true", help="replace an existing model file")

    two = commands.add_parser("predict", help="write the nearest center of every row")
    two.set_defaults(command=predict)
    two.add_argument("data", help=data_help)
    two.add_argument("-m", "--model", default="model.npz", help="model file (model.npz)")
    two.add_argument("-o", "--output", required=True, help="a .npy, .csv or .parquet file")

    three = commands.add_parser("inspect", help="say what a model file holds")
    three.set_defaults(command=inspect)
    three.add_argument("model", help="model file")

    for command in (one, two, three):
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    for command in (one, two):
        command.add_argument("--threads", type=int, help="threads (default: all there are)")
        command.add_argument("-q", "--quiet", action="store_true", help="no progress")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())
