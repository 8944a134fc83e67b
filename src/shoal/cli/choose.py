"""``shoal choose-k``: fits over a range of k, and what indices say of them."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import shoal
from shoal.cli.arguments import MODEL_OPTIONS
from shoal.cli.data import is_read, open_data, say_columns
from shoal.cli.output import Result
from shoal.errors import BadInputError
from shoal.metric import COSINE_DISTANCE
from shoal.sources.columns import Columns


def choose_k(options: argparse.Namespace) -> Result:
    """Print the table, which k each index suggests, and why."""
    picture = None if options.plot is None else _picture(options)
    source = open_data(options, Columns(options.columns, options.weight))
    say_columns(source.pages, bool(options.columns or options.sphere))
    default = COSINE_DISTANCE if options.sphere else MODEL_OPTIONS["metric"][1]
    choice = shoal.choose_k(
        source,
        options.numbers,
        distance_metric=options.metric or default,
        initial_clusters=options.init or MODEL_OPTIONS["init"][1],
        num_runs=options.runs,
        warm_start=options.warm_start,
        sample_size=options.sample_size,
        gap=options.gap,
        random_seed=MODEL_OPTIONS["seed"][1] if options.seed is None else options.seed,
        num_threads=options.threads,
    )
    if picture is not None:
        choice.plot().savefig(picture)
    suggested = {name: one.k for name, one in choice.suggested.items()}
    if not options.json:
        print(choice)
        return {"best": choice.best if suggested else "none"}
    columns: dict[str, Any] = {
        name: [None if math.isnan(value) else value for value in column.tolist()]
        for name, column in choice.columns().items()
    }
    return {
        **columns,
        "sample": len(choice.sample),
        "suggested": suggested,
        "best": choice.best if suggested else None,
    }


def _picture(options: argparse.Namespace) -> Path:
    """Where the picture goes, before anything is computed."""
    target = Path(options.plot)
    if target.suffix not in (".png", ".svg", ".pdf"):
        raise BadInputError(f"--plot is {target}; it must end in .png, .svg or .pdf")
    if not target.parent.is_dir():
        raise BadInputError(f"there is no directory {target.parent} for {target.name}")
    if is_read(target, options.data):
        raise BadInputError(f"{target} is read by this command: choose another file to write")
    if target.exists() and not options.force:
        raise BadInputError(f"{target} exists: pass --force to replace it")
    from shoal.choosing.plot import check_plots

    check_plots()
    return target
