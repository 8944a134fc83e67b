"""The arguments of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from shoal.config import EMPTY_CLUSTERS, ON_BAD_ROWS, SEEDINGS
from shoal.metric import METRICS
from shoal.version import __version__

#: Options of ``fit`` that make a model what it is: the parameter of each, and its default.
MODEL_OPTIONS: dict[str, tuple[str, Any]] = {
    "clusters": ("num_clusters", 8),
    "metric": ("distance_metric", METRICS[0]),
    "init": ("initial_clusters", "kmeans_plus_plus"),
    "seed": ("random_seed", 0),
    "mini_batch": ("use_mini_batch", False),
    "empty_clusters": ("empty_clusters", EMPTY_CLUSTERS[0]),
    "columns": ("feature_columns", None),
    "weight": ("weight_column", None),
}

DATA = (
    "a .npy, .npz, .csv, .parquet, .arrow, .feather or .ipc file, a directory or a pattern of "
    "such files, or a URL (Parquet and Arrow need shoal[parquet], URLs shoal[remote])"
)


def add_arguments(parser: argparse.ArgumentParser, **commands: Callable[..., object]) -> None:
    """Add the commands, each a function of the options, and what each of them takes."""
    parser.add_argument("--version", action="version", version=f"shoal {__version__}")
    add = parser.add_subparsers(required=True, metavar="COMMAND").add_parser
    one = add("fit", help="train on a file and write a model")
    _add_fit_options(one)

    two = add("predict", help="write the nearest center of every row")
    two.add_argument("data", help=DATA)
    which = two.add_mutually_exclusive_group()
    which.add_argument("-m", "--model", default="model.npz", help="model file (model.npz)")
    which.add_argument("--model-dir", dest="model", help="directory of checkpoints, instead")
    two.add_argument("-o", "--output", required=True, help="a .npy, .csv or .parquet file")

    three = add("inspect", help="say what a model holds")
    three.add_argument("model", help="model file, or directory of checkpoints")

    for command, skipped in ((one, "does not train on them"), (two, "writes fewer rows")):
        command.add_argument(
            "--on-bad-rows",
            choices=ON_BAD_ROWS,
            default=ON_BAD_ROWS[0],
            help=f"rows with values that are not finite: an error, or skip, which {skipped}",
        )
        command.add_argument("--threads", type=int, help="threads (default: all there are)")
        command.add_argument("-q", "--quiet", action="store_true", help="no progress")
    for name, command in (("fit", one), ("predict", two), ("inspect", three)):
        command.set_defaults(command=commands[name])
        command.add_argument("--json", action="store_true", help="print the result as JSON")


def _add_fit_options(fit: argparse.ArgumentParser) -> None:
    """Options of ``fit``; those of MODEL_OPTIONS have no default, to know which were given."""
    add = fit.add_argument
    defaults = {option: default for option, (_, default) in MODEL_OPTIONS.items()}
    add("data", help=DATA)
    add("-k", "--clusters", type=int, help=f"number of clusters ({defaults['clusters']})")
    where = fit.add_mutually_exclusive_group()
    where.add_argument("-m", "--model", default="model.npz", help="file to write (model.npz)")
    where.add_argument(
        "--model-dir", help="directory of checkpoints to write instead, every ten minutes"
    )
    add("--metric", choices=METRICS, help=f"distance ({defaults['metric']})")
    add("--init", choices=SEEDINGS, help=f"choice of first centers ({defaults['init']})")
    add("--seed", type=int, help=f"seed of every random choice ({defaults['seed']})")
    add("--mini-batch", action="store_const", const=True, help="train by mini-batches")
    add("--batch-size", type=int, help="rows per mini-batch")
    until = fit.add_mutually_exclusive_group()
    until.add_argument("--steps", type=int, help="steps to train (default: until converged)")
    until.add_argument("--max-steps", type=int, help="... in total, those of before included")
    add("--tolerance", type=float, help="stop when the loss changes by less")
    add(
        "--empty-clusters",
        choices=EMPTY_CLUSTERS,
        help=f"what to do with clusters without rows ({defaults['empty_clusters']})",
    )
    add("--columns", type=_names, help="columns to use: a,b,c (all numeric ones)")
    add("--weight", help="column of row weights")
    add("--resume", action="store_true", help="train what is there further, as it was trained")
    add("--force", action="store_true", help="replace an existing model file")


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names no column")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names a column twice")
    return names
