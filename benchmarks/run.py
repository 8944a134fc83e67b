"""Run the benchmarks: ``python -m benchmarks.run [--quick] [--only NAME]``."""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import levels, machine, peers, report
from benchmarks.settings import Settings
from benchmarks.timing import QUICK, Effort, available_threads

# One module each, with cases(settings), run(case, settings), notes(rows) and COLUMNS. It may have
# DETAILS, a second table in Markdown; where it MERGES, cases join those written before, and
# finish(rows, folder) draws them.
NAMES = (
    "train",
    "converge",
    "reach",
    "predict",
    "minibatch",
    "seeding",
    "dtypes",
    "threads",
    "peak",
    "small",
    "sparse",
    "grid",
)
RESULTS = report.RESULTS
PICTURES = Path(__file__).resolve().parent.parent / "docs"


def main() -> None:
    """Parse the arguments, run what they choose, print and write the tables."""
    args = _arguments()
    settings = _settings(args)
    found = False
    with peers.limited(args.threads):
        about = _checked(args)
        print(machine.describe(about), flush=True)
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
                _benchmark(name, module, chosen, settings, args, about)
    if not found:
        raise SystemExit(f"no case matches {args.only!r}")


def _checked(args: argparse.Namespace) -> dict[str, Any]:
    """Describe machine and peers; the peers must be there, as many threads, at their best."""
    if machine.has_avx512():
        levels.widen(machine.cores())
    about = machine.machine(args.threads)
    lacking = [f"{name} is not installed" for name in peers.missing()]
    faults = [*lacking, *machine.faults(about, levels.current())]
    for fault in faults:
        print(fault, flush=True)
    if faults and not args.any_peers:
        raise SystemExit(
            "the comparison would not be a fair one: mend that (pip install shoal[bench]), or "
            "measure all the same with --any-peers, for yourself"
        )
    return about


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
    parser.add_argument(
        "--level",
        choices=levels.LEVELS,
        default="all",
        help="all: what the processor has (default); avx512: shoal without AMX; avx2: everybody",
    )
    parser.add_argument(
        "--any-peers",
        action="store_true",
        help="go on where a peer is missing or not at its best: writes nothing by default",
    )
    grid = parser.add_argument_group("the grid's share")
    grid.add_argument("--kinds", type=_words, default=(), help="of data, as in blobs,uniform")
    grid.add_argument("--dims", type=_numbers, default=(), help="columns, as in 2,3,16")
    grid.add_argument("--ks", type=_numbers, default=(), help="numbers of centers")
    grid.add_argument(
        "--grid-seconds", type=float, default=0.05, help="that a plain run takes; default 0.05"
    )
    grid.add_argument("--grid-minutes", type=float, default=float("inf"), help="stop after them")
    grid.add_argument("--resume", action="store_true", help="only cells without a result")
    args = parser.parse_args()
    levels.enforce(args.level)
    whole = not args.quick and not args.any_peers
    if args.out is None and whole and args.only in ("", *NAMES):
        args.out = RESULTS
    return args


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        args.threads,
        args.quick,
        QUICK if args.quick else Effort(),
        args.kinds,
        args.dims,
        args.ks,
        args.grid_seconds / 5 if args.quick else args.grid_seconds,
    )


def _benchmark(
    name: str,
    module: ModuleType,
    chosen: list[Any],
    settings: Settings,
    args: argparse.Namespace,
    about: dict[str, Any],
) -> None:
    """Run the cases of one benchmark; what is known is written after each of them."""
    table = report.Table(module.COLUMNS)
    print(f"\n{name}: {module.__doc__}\n{table.header()}", flush=True)
    merges, out = getattr(module, "MERGES", False), args.out
    title = name + levels.current().suffix  # of the results
    kept = report.read(out, title) if merges and out is not None else []
    end = time.monotonic() + (args.grid_minutes * 60 if merges else float("inf"))
    rows: dict[str, report.Row] = {row["name"]: row for row in kept}
    for case in chosen:
        if merges and args.resume and case.name in rows:
            continue
        if time.monotonic() > end:
            print("the time is over: go on with --resume", flush=True)
            break
        row = module.run(case, settings)
        if row is None:
            continue
        rows[case.name] = row
        print(table.line(row), flush=True)
        if out is not None:
            _write(title, module, list(rows.values()), out, about)
    if not rows:
        return
    for line in (*report.verdict(list(rows.values())), *module.notes(list(rows.values()))):
        print(line, flush=True)
    if out is not None:
        written = [f"{out / title}.json", f"{out / title}.md"]
        if hasattr(module, "finish"):
            folder = PICTURES if out == RESULTS and title == name else out
            written += map(str, filter(None, module.finish(list(rows.values()), folder, title)))
        print(f"written: {', '.join(written)}", flush=True)


def _write(
    name: str, module: ModuleType, rows: list[report.Row], out: Path, about: dict[str, Any]
) -> None:
    notes = [*report.verdict(rows), *module.notes(rows)]
    tables = [module.COLUMNS, *([module.DETAILS] if hasattr(module, "DETAILS") else [])]
    report.write(out, name, about, rows, tables, notes)


if __name__ == "__main__":
    main()
