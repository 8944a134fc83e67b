"""The arguments of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from shoal.cli.machines import add_asynchronous, add_machines
from shoal.config import EMPTY_CLUSTERS, ON_BAD_ROWS, SEEDINGS
from shoal.metric import COSINE_DISTANCE, METRICS
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

#: Options of ``fit`` that say when to write into ``--model-dir``: the parameter of each.
CHECKPOINT_OPTIONS = {
    "checkpoint_steps": "save_checkpoints_steps",
    "checkpoint_secs": "save_checkpoints_secs",
    "summary_steps": "save_summary_steps",
}

#: The model file where none is named.
MODEL = "model.safetensors"

DATA = (
    "a .npy, .npz, .csv, .parquet, .arrow, .feather or .ipc file, a directory or a pattern of "
    "such files, or a URL (Parquet and Arrow need shoal[parquet], URLs shoal[remote]); several of "
    "them are one data set, in the order given; - reads CSV from standard input"
)

#: What ``predict`` and ``transform`` write.
OUTPUT = """\
DATA is read, and the file written, piece by piece: both may be larger than memory. The file appears
when all of it is written; one that is there already is replaced with --force only. Rows are in the
order of DATA. Where rows are skipped (--on-bad-rows, or as in training), .csv and .parquet files
begin with a column "row", the index in DATA of each row that is written, from 0; a .npy file is
just shorter. "-o -" writes CSV to standard output as it comes, the summary to standard error.

"-o DIR/" writes DIR/part-00000.parquet and so on, a file for each part of DATA, which appears when
all of it is written; with --ray each worker writes its own. The column "row" is the index in DATA.

--keep and --keep-all put columns of DATA before those of the result, with their types; of CSV they
are text in .csv, and in .parquet whole numbers, numbers or text, as all of their values are.
"""
LABELS = """\
.npy      the cluster of each row, int64 [n]
.csv      columns cluster_idx and scores, the distance to the center of that cluster; and of models
          trained with --sphere km, that distance in kilometres
.parquet  the same

"""
DISTANCES = """\
.npy      [n, k], of float32 or, for float64 data and wide integers, float64
.csv      columns d0, d1, ... d(k-1)
.parquet  one column, distances, of fixed-size lists of k numbers

Distances are squared for squared_euclidean.

"""
MEASURES = """\
Prints the number of rows, the loss (the weighted sum of the distances of all rows to their centers)
and the loss per row (per unit of weight). A model trained with weights is measured with them. With
--model-dir also written under DIR/eval, or DIR/eval_NAME.
"""


#: What ``export`` writes, and how names of such files end.
FORMATS = {
    "onnx": ".onnx",
    "savedmodel": "",
    "npy": ".npy",
    "npz": ".npz",
    "faiss": ".faiss",
    "safetensors": ".safetensors",
}
EXPORTS = """\
onnx         predicts in onnxruntime and others: centers, metric, names of columns (shoal[onnx])
savedmodel   a directory, predicts in TensorFlow and TensorFlow Serving (shoal[tensorflow])
npy          the centers, [k, d]
npz          the whole model, for NumPy; shoal reads it too
faiss        a flat index of the centers, or with --ivf an empty IVF index of them (shoal[faiss])
safetensors  the whole model, as fit writes it

The file appears when all of it is written.
"""

#: What ``choose-k`` prints.
CHOOSING = """\
Fits each k by full batches over the same rows, and prints inertia, silhouettes, Calinski-Harabasz
and Davies-Bouldin (with --gap, the gap statistic), and which k each of them suggests, and why.
"""


def add_arguments(parser: argparse.ArgumentParser, *commands: Callable[..., object]) -> None:
    """Add the commands, each a function of the options, and what each of them takes."""
    parser.add_argument("--version", action="version", version=f"shoal {__version__}")
    add = parser.add_subparsers(required=True, metavar="COMMAND", dest="name").add_parser
    kept = argparse.RawDescriptionHelpFormatter
    made = {
        "fit": add("fit", help="train on data and write a model"),
        "choose-k": add(
            "choose-k",
            help="say how many clusters there may be",
            formatter_class=kept,
            epilog=CHOOSING,
        ),
        "predict": add(
            "predict",
            help="write the nearest center of every row",
            formatter_class=kept,
            epilog=LABELS + OUTPUT,
        ),
        "transform": add(
            "transform",
            help="write the distance of every row to every center",
            formatter_class=kept,
            epilog=DISTANCES + OUTPUT,
        ),
        "evaluate": add(
            "evaluate", help="measure a model on data", formatter_class=kept, epilog=MEASURES
        ),
        "export": add(
            "export", help="write a model in another form", formatter_class=kept, epilog=EXPORTS
        ),
        "inspect": add("inspect", help="say what a model holds, in any form"),
    }
    _add_fit_options(made["fit"])
    _add_choose_options(made["choose-k"])
    for name in ("export", "inspect"):
        made[name].add_argument(
            "model", type=_path, help="model file, or directory of checkpoints", metavar="MODEL"
        )
    _add_export_options(made["export"])
    for name in ("predict", "transform", "evaluate"):
        _add_options_to_apply(made[name])
    for name in ("predict", "transform"):
        _add_output(made[name])
    _add_weights(made["evaluate"])
    skipped = {"fit": "does not train on them", "evaluate": "does not count them"}
    for command in commands:
        name = command.__name__.replace("_", "-")
        if name not in ("inspect", "choose-k", "export"):
            remembered = ON_BAD_ROWS[0] if name == "fit" else "as the model was trained"
            _add_run_options(made[name], skipped.get(name, "writes fewer rows"), remembered)
        made[name].set_defaults(command=command)
        made[name].add_argument("--json", action="store_true", help="print the result as JSON")


def _add_options_to_apply(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("data", nargs="+", type=_path, metavar="DATA", help=DATA)
    which = command.add_mutually_exclusive_group()
    which.add_argument("-m", "--model", type=_path, default=MODEL, help=f"model file ({MODEL})")
    which.add_argument(
        "--model-dir", type=_path, dest="model", help="directory of checkpoints, instead"
    )
    add("--sphere", type=_two_names, metavar="LAT,LON", help="other names than those of training")


def _add_output(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    output = "file to write: .npy, .csv or .parquet, or a directory; - is standard output"
    add("-o", "--output", type=_path, required=True, help=output)
    add("--force", action="store_true", help="replace an existing file")
    beside = command.add_mutually_exclusive_group()
    beside.add_argument(
        "--keep", type=_names, help="columns of DATA to write beside the result: id,title"
    )
    beside.add_argument("--keep-all", action="store_true", help="... all of them")


def _add_weights(evaluate: argparse.ArgumentParser) -> None:
    weights = evaluate.add_mutually_exclusive_group()
    weights.add_argument("--weight", help="column of row weights (that of training)")
    weights.add_argument("--no-weight", action="store_true", help="every row counts the same")
    evaluate.add_argument(
        "--name", dest="eval_name", help="of the results in a directory of checkpoints"
    )


def _add_run_options(command: argparse.ArgumentParser, skipped: str, remembered: str) -> None:
    command.add_argument(
        "--on-bad-rows",
        choices=ON_BAD_ROWS,
        help="rows with values that are missing or not finite: an error, or skip, which "
        f"{skipped} ({remembered})",
    )
    command.add_argument("--threads", type=int, help="threads (default: all there are)")
    add_machines(command)
    command.add_argument("-q", "--quiet", action="store_true", help="no progress")


def _add_fit_options(fit: argparse.ArgumentParser) -> None:
    """Options of ``fit``; those of MODEL_OPTIONS have no default, to know which were given."""
    add = fit.add_argument
    defaults = {option: default for option, (_, default) in MODEL_OPTIONS.items()}
    add("data", nargs="+", type=_path, metavar="DATA", help=DATA)
    add("-k", "--clusters", type=int, help=f"number of clusters ({defaults['clusters']})")
    where = fit.add_mutually_exclusive_group()
    where.add_argument(
        "-m",
        "--model",
        type=_path,
        default=MODEL,
        help=f"file to write ({MODEL}); as .npz, for NumPy, if it ends so",
    )
    where.add_argument(
        "--model-dir",
        type=_path,
        help="directory of checkpoints to write instead, every ten minutes",
    )
    add("--checkpoint-steps", type=int, help="a checkpoint also after so many steps")
    add("--checkpoint-secs", type=float, help="seconds between checkpoints (600)")
    add("--summary-steps", type=int, help="steps between lines of metrics.jsonl (100)")
    add(
        "--metric",
        choices=METRICS,
        help=f"distance ({defaults['metric']}), with --sphere {COSINE_DISTANCE}",
    )
    add("--init", choices=SEEDINGS, help=f"choice of first centers ({defaults['init']})")
    add("--seed", type=int, help=f"seed of every random choice ({defaults['seed']})")
    add("--mini-batch", action="store_const", const=True, help="train by mini-batches")
    add("--batch-size", type=int, help="rows per mini-batch")
    add_asynchronous(fit)
    until = fit.add_mutually_exclusive_group()
    until.add_argument("--steps", type=int, help="steps to train (default: until converged)")
    until.add_argument("--max-steps", type=int, help="... in total, those of before included")
    add("--tolerance", type=float, help="stop when the loss changes by less")
    add(
        "--empty-clusters",
        choices=EMPTY_CLUSTERS,
        help=f"what to do with clusters without rows ({defaults['empty_clusters']})",
    )
    which = fit.add_mutually_exclusive_group()
    which.add_argument("--columns", type=_names, help="columns to use: a,b,c (all numeric ones)")
    which.add_argument(
        "--sphere",
        type=_two_names,
        metavar="LAT,LON",
        help="two columns, latitude and longitude in degrees, used as points of the sphere",
    )
    add("--weight", help="column of row weights")
    add(
        "--no-evaluate",
        action="store_true",
        help="do not measure the loss at the end, which is one more pass over the data",
    )
    add("--resume", action="store_true", help="train what is there further, as it was trained")
    add("--force", action="store_true", help="replace an existing model file")


def _add_choose_options(choose: argparse.ArgumentParser) -> None:
    add = choose.add_argument
    add("data", nargs="+", type=_path, metavar="DATA", help=DATA)
    add(
        "-k",
        "--k",
        dest="numbers",
        type=_numbers,
        default="2:10",
        metavar="FIRST:LAST[:STEP]",
        help="numbers of clusters, the last included; or 2,4,8 (2:10)",
    )
    add("--metric", choices=METRICS, help=f"distance ({MODEL_OPTIONS['metric'][1]})")
    add("--init", choices=SEEDINGS, help=f"first centers ({MODEL_OPTIONS['init'][1]})")
    add("--seed", type=int, help=f"seed of every random choice ({MODEL_OPTIONS['seed'][1]})")
    add("--runs", type=int, default=1, help="fits of each k, of which the best counts (1)")
    add("--warm-start", action="store_true", help="begin each k with the centers of the one before")
    add("--sample-size", type=int, default=2000, help="rows of the exact silhouette (2000)")
    add("--gap", type=int, default=0, help="reference data sets of the gap statistic (0: none)")
    which = choose.add_mutually_exclusive_group()
    which.add_argument("--columns", type=_names, help="columns to use: a,b,c (all numeric ones)")
    which.add_argument(
        "--sphere",
        type=_two_names,
        metavar="LAT,LON",
        help="two columns, latitude and longitude in degrees, used as points of the sphere",
    )
    add("--weight", help="column of row weights")
    add("--plot", type=_path, help="picture to write: .png, .svg or .pdf (needs shoal[plot])")
    add("--force", action="store_true", help="replace an existing picture")
    add("--threads", type=int, help="threads (default: all there are)")
    add("-q", "--quiet", action="store_true", help="no log lines")


def _add_export_options(export: argparse.ArgumentParser) -> None:
    add = export.add_argument
    add("--format", choices=FORMATS, help="see below (as the name of the output ends)")
    add("-o", "--output", type=_path, required=True, help="file or directory to write")
    add("--force", action="store_true", help="replace an existing file")
    add("--dtype", choices=("float32", "float64"), help="of onnx (float32)")
    add("--opset", type=int, help="version of the operators of onnx (17)")
    add("--ivf", action="store_true", help="of faiss: an IVF index whose lists are the clusters")
    add("-q", "--quiet", action="store_true", help="no log lines")


def _numbers(text: str) -> list[int]:
    """2:20 with the last, 2:20:3 in steps, 2,4,8."""
    try:
        if ":" not in text:
            return [int(part) for part in text.split(",")]
        first, last, *step = (int(part) for part in text.split(":"))
        if len(step) < 2:
            numbers = list(range(first, last + 1, *step))
            if numbers:
                return numbers
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} must be like 2:20, 10:100:10 or 2,4,8")


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names no column")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names a column twice")
    return names


def _two_names(text: str) -> list[str]:
    names = _names(text)
    if len(names) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} must be two columns: latitude,longitude")
    return names


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    return text
