"""The arguments of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from shoal.cli.completion import SHELLS
from shoal.cli.help import CODES, DATA, EXAMPLES, FORMATS, SUMMARIES, epilog
from shoal.cli.machines import add_asynchronous, add_machines
from shoal.config import EMPTY_CLUSTERS, ON_BAD_ROWS, SEEDINGS
from shoal.metric import COSINE_DISTANCE, METRICS
from shoal.report.plane import MAPS
from shoal.version import __version__

#: Options of ``fit`` that make a model what it is: the parameter of each, and its default.
MODEL_OPTIONS: dict[str, tuple[str, Any]] = {
    "clusters": ("num_clusters", 8),
    "metric": ("distance_metric", METRICS[0]),
    "init": ("initial_clusters", "kmeans_plus_plus"),
    "seed": ("random_seed", 0),
    "mini_batch": ("use_mini_batch", False),
    "empty_clusters": ("empty_clusters", EMPTY_CLUSTERS[0]),
    "start_on_sample": ("start_on_sample", False),
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

#: Commands that read DATA.
READING = ("fit", "choose-k", "predict", "transform", "evaluate")

#: How shells complete names of files, as shtab has it (``shtab.FILE``).
FILE = {
    "bash": "_shtab_compgen_files",
    "zsh": "_files",
    "tcsh": "f",
    "fish": "(__fish_complete_path (commandline -ct))",
    "powershell": "_shtab_powershell_compgen_files",
}


def add_arguments(parser: argparse.ArgumentParser, *commands: Callable[..., object]) -> None:
    """Add the commands, each a function of the options, and what each of them takes."""
    parser.formatter_class, parser.epilog = _formatter, CODES
    parser.add_argument("--version", action="version", version=f"shoal {__version__}")
    add = parser.add_subparsers(required=True, metavar="COMMAND", dest="name").add_parser
    made = {
        name: add(
            name,
            help=SUMMARIES[name],
            description=SUMMARIES[name].capitalize() + ".",
            formatter_class=_formatter,
            epilog=epilog(name),
        )
        for name in EXAMPLES
    }
    _add_fit_options(made["fit"])
    _add_choose_options(made["choose-k"])
    for name in ("export", "inspect", "report"):
        what = "model file, or directory of checkpoints"
        _add_path(made[name].add_argument, "model", help=what, metavar="MODEL")
    _add_export_options(made["export"])
    _add_report_options(made["report"])
    for name in ("predict", "transform", "evaluate"):
        _add_options_to_apply(made[name])
    for name in ("predict", "transform"):
        _add_output(made[name])
    _add_weights(made["evaluate"])
    skipped = {"fit": "does not train on them", "evaluate": "does not count them"}
    _add_demo_options(made["demo"])
    made["completion"].add_argument("shell", choices=SHELLS)
    for command in commands:
        name = command.__name__.replace("_", "-")
        if name in READING:
            words = "say what would be read and how much memory it takes, and stop"
            made[name].add_argument("--preview", action="store_true", help=words)
        if name in READING and name != "choose-k":
            remembered = ON_BAD_ROWS[0] if name == "fit" else "as the model was trained"
            _add_run_options(made[name], skipped.get(name, "writes fewer rows"), remembered)
        made[name].set_defaults(command=command)
        if name != "completion":
            made[name].add_argument("--json", action="store_true", help="print the result as JSON")


def _add_options_to_apply(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    _add_path(add, "data", nargs="+", metavar="DATA", help=DATA)
    which = command.add_mutually_exclusive_group()
    path = which.add_argument
    _add_path(path, "-m", "--model", default=MODEL, help=f"model file ({MODEL})")
    _add_path(path, "--model-dir", dest="model", help="directory of checkpoints, instead")
    add("--sphere", type=_two_names, metavar="LAT,LON", help="other names than those of training")


def _add_output(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    output = "file to write: .npy, .csv or .parquet, or a directory; - is standard output"
    _add_path(add, "-o", "--output", required=True, help=output)
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
    _add_path(add, "data", nargs="+", metavar="DATA", help=DATA)
    add("-k", "--clusters", type=int, help=f"number of clusters ({defaults['clusters']})")
    where = fit.add_mutually_exclusive_group()
    _add_path(
        where.add_argument,
        "-m",
        "--model",
        default=MODEL,
        help=f"file to write ({MODEL}); as .npz, for NumPy, if it ends so",
    )
    _add_path(
        where.add_argument,
        "--model-dir",
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
    add(
        "--start-on-sample",
        nargs="?",
        type=float,
        const=True,
        metavar="PART",
        help="full batches: up to 20 steps on this part of the rows (0.25) before those on all, "
        "for 2,000 rows per cluster or more",
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
    _add_path(add, "data", nargs="+", metavar="DATA", help=DATA)
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
    _add_path(add, "--plot", help="picture to write: .png, .svg or .pdf (needs shoal[plot])")
    add("--force", action="store_true", help="replace an existing picture")
    add("--threads", type=int, help="threads (default: all there are)")
    add("-q", "--quiet", action="store_true", help="no log lines")


def _add_export_options(export: argparse.ArgumentParser) -> None:
    add = export.add_argument
    add("--format", choices=FORMATS, help="see below (as the name of the output ends)")
    _add_path(add, "-o", "--output", required=True, help="file or directory to write")
    add("--force", action="store_true", help="replace an existing file")
    add("--dtype", choices=("float32", "float64"), help="of onnx (float32)")
    add("--opset", type=int, help="version of the operators of onnx (17)")
    add("--ivf", action="store_true", help="of faiss: an IVF index whose lists are the clusters")
    add("-q", "--quiet", action="store_true", help="no log lines")


def _add_report_options(report: argparse.ArgumentParser) -> None:
    add = report.add_argument
    _add_path(add, "data", nargs="+", metavar="DATA", help=DATA)
    _add_path(add, "-o", "--output", required=True, help="page to write, .html")
    add("--force", action="store_true", help="replace an existing file")
    add("--title", help="heading of the page")
    add("--name-column", help="column that names rows (the first of text that tells them apart)")
    add("--keep", type=_names, help="columns of DATA that are shown of rows: id,title (all)")
    _add_path(add, "--metadata", help="file of a table with a row for each of DATA, for its names")
    _add_path(add, "--vocabulary", help="file with the term of each column, a line each")
    add(
        "--image-shape",
        type=_shape,
        metavar="HEIGHT,WIDTH[,CHANNELS]",
        help="rows are images of this shape: 28,28 or 8,8,3; 1,1,3 are pixels",
    )
    add("--map", choices=MAPS, default=MAPS[0], help="what the map shows (auto)")
    _add_path(add, "--history", help="metrics.jsonl of training (that of a directory MODEL)")
    add("--sample-size", type=int, default=5000, help="rows on the map (5000)")
    add("--silhouette-size", type=int, default=2000, help="... of the exact silhouette (2000)")
    add("--examples", type=int, default=3, help="nearest and farthest rows of each cluster (3)")
    add("--seed", type=int, default=0, help="seed of the sample (0)")
    add("--sphere", type=_two_names, metavar="LAT,LON", help="other names than those of training")
    weights = report.add_mutually_exclusive_group()
    weights.add_argument("--weight", help="column of row weights (that of training)")
    weights.add_argument("--no-weight", action="store_true", help="every row counts the same")
    add("--on-bad-rows", choices=ON_BAD_ROWS, help="rows with bad values (as in training)")
    add("--threads", type=int, help="threads (default: all there are)")
    add("-q", "--quiet", action="store_true", help="no progress")


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28)


def _add_demo_options(demo: argparse.ArgumentParser) -> None:
    add = demo.add_argument
    add("-k", "--clusters", type=int, default=5, help="number of clusters (5)")
    add("--rows", type=int, default=100_000, help="number of points (100000)")
    add("--seed", type=int, default=0, help="of the points and the run (0)")
    _add_path(add, "-o", "--output", help="write the points, as .csv")
    add("--force", action="store_true", help="replace an existing file")


def _add_path(add: Callable[..., argparse.Action], *names: str, **how: Any) -> None:
    """Add an argument that is a path, which shells complete."""
    vars(add(*names, type=_path, **how))["complete"] = FILE


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


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in text.replace("x", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be like 28,28 or 8,8,3") from None


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    return text
