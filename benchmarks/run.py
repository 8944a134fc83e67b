"""Run the benchmarks: ``python -m benchmarks.run [--quick] [--only NAME]``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import machine, peers, report
from benchmarks.settings import Settings
from benchmarks.timing import QUICK, Effort, available_threads

# One module each, with cases(settings), run(case, settings), notes(rows) and COLUMNS; MERGES where
# cases join those written before.
NAMES = ("train", "predict", "minibatch", "seeding", "dtypes", "threads", "small")
RESULTS = Path(__file__).with_name("results")


def main() -> None:
    """Parse the arguments, run what they choose, print and write the tables."""
    args = _arguments()
    settings = _settings(args)
    peers.announce_missing()
    about = machine.machine(args.threads)
    print(machine.describe(about), flush=True)
    found = False
    with peers.limited(args.threads):
        for name in NAMES:
            if args.only in NAMES and args.only != name:
                continue
            module = importlib.import_module(f"benchmarks.{name}")
            chosen = [
                case
                for case in module.cases(settings)
                if args.only in f"{name} {case.name}" and (case.quick or not args.quick)
            ]
            if chosen:
                found = True
                _benchmark(name, module, chosen, settings, args.out, about)
    if not found:
        raise SystemExit(f"no case matches {args.only!r}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, cases and repetitions")
    parser.add_argument(
        "--only",
        default="",
        metavar="NAME",
        help=f"one benchmark ({', '.join(NAMES)}), or the cases with this in their name",
    )
    parser.add_argument("--threads", type=int, default=available_threads())
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for JSON and Markdown; whole benchmarks write to benchmarks/results",
    )
    args = parser.parse_args()
    if args.out is None and not args.quick and args.only in ("", *NAMES):
        args.out = RESULTS
    return args


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(args.threads, args.quick, QUICK if args.quick else Effort())


def _benchmark(
    name: str,
    module: ModuleType,
    chosen: list[Any],
    settings: Settings,
    out: Path | None,
    about: dict[str, Any],
) -> None:
    """Run the cases of one benchmark; what is known is written after each of them."""
    table = report.Table(module.COLUMNS)
    print(f"\n{name}: {module.__doc__}\n{table.header()}", flush=True)
    rows: list[report.Row] = []
    for case in chosen:
        row = module.run(case, settings)
        if row is None:
            continue
        rows.append(row)
        print(table.line(row), flush=True)
        if out is not None:
            notes = [*report.verdict(rows), *module.notes(rows)]
            report.write(out, name, about, rows, module.COLUMNS, notes)
    for line in (*report.verdict(rows), *module.notes(rows)):
        print(line, flush=True)
    if rows and out is not None:
        print(f"written: {out / name}.json, {out / name}.md", flush=True)


if __name__ == "__main__":
    main()
