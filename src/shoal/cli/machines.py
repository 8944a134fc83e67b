"""Other machines of the command line: ``--ray ADDRESS --workers N``."""

from __future__ import annotations

import argparse
from typing import Any

from shoal.cli.data import STANDARD
from shoal.errors import BadInputError


def add_machines(command: argparse.ArgumentParser) -> None:
    """Add the options that say where rows are read and assigned."""
    command.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="let workers of a Ray cluster read and assign the rows: host:port, auto for the one "
        "that runs on this machine, local to start one (needs shoal[ray])",
    )
    command.add_argument("--workers", type=int, metavar="N", help="so many of them, with --ray")


def add_asynchronous(fit: argparse.ArgumentParser) -> None:
    """Add the options of mini-batches of each worker at its own pace."""
    fit.add_argument(
        "--asynchronous",
        action="store_const",
        const=True,
        help="train by mini-batches of each worker, applied as they come (with --mini-batch)",
    )
    fit.add_argument(
        "--max-staleness",
        type=int,
        metavar="N",
        help="... made with centers at most N steps old (four for each worker)",
    )


def executor_of(options: argparse.Namespace) -> Any:
    """The executor that options ask for, until the command ends; None: this process."""
    if getattr(options, "executor", None) is not None:
        return options.executor
    address, workers = getattr(options, "ray", None), getattr(options, "workers", None)
    if address is None and workers is None:
        return None
    if address is None or workers is None:
        given, missing = ("--workers", "--ray ADDRESS") if address is None else ("--ray", "-N")
        missing = missing.replace("-N", "--workers N")
        raise BadInputError(f"{given} is given without {missing}: give both, or neither")
    if STANDARD in options.data:
        raise BadInputError(
            "- is standard input, which is read by this process alone: give files with --ray"
        )
    from shoal.executors.ray import RayExecutor

    made = RayExecutor(workers, address, num_threads=options.threads)
    options.executor = options.at_end.enter_context(made)
    return options.executor


def check_asynchronous(options: argparse.Namespace, executor: Any) -> None:
    """Refuse asynchronous training by one process, which is none."""
    if options.asynchronous and executor is None:
        raise BadInputError(
            "--asynchronous is given without --ray ADDRESS --workers N: this process alone would "
            "train as it does without. Give them, or leave it out"
        )
