"""Run the benchmarks: ``python -m benchmarks.run [--quick] [--only NAME]``."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

from benchmarks import assign, peers, report, train
from benchmarks.timing import QUICK, Effort, available_threads, machine

BENCHMARKS: dict[str, ModuleType] = {"assign": assign, "train": train}
NOISY = 1.25
RESULTS = Path(__file__).with_name("results")


def main() -> None:
    """Parse the arguments, run what they choose, print and write the tables."""
    args = _arguments()
    peers.announce_missing()
    about = machine(args.threads)
    print(report.header(about), flush=True)
    found = False
    with peers.limited(args.threads):
        for name, module in BENCHMARKS.items():
            chosen = [case for case in module.cases() if args.only in f"{name} {case.name}"]
            found = found or bool(chosen)
            if args.quick:
                chosen = [case for case in chosen if case.quick]
            rows = _table(name, module, chosen, args)
            if rows and args.out is not None:
                report.write(args.out, name, about, rows, module.COLUMNS)
                print(f"written: {args.out / name}.json, {args.out / name}.md", flush=True)
    if not found:
        raise SystemExit(f"no case matches {args.only!r}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, cases and repetitions")
    parser.add_argument(
        "--only", default="", metavar="NAME", help="cases with this in their name: assign, glove"
    )
    parser.add_argument("--threads", type=int, default=available_threads())
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for JSON and Markdown; a complete run writes to benchmarks/results",
    )
    args = parser.parse_args()
    if args.out is None and not args.quick and args.only in ("", *BENCHMARKS):
        args.out = RESULTS
    return args


def _table(
    name: str, module: ModuleType, chosen: list[object], args: argparse.Namespace
) -> list[report.Row]:
    if not chosen:
        return []
    widths = module.WIDTHS
    print(f"\n{name}: {module.__doc__}", flush=True)
    print(report.text_line([title for title, _ in module.COLUMNS], widths), flush=True)
    rows = []
    for case in chosen:
        row = module.run(case, args.threads, QUICK if args.quick else Effort(), args.quick)
        if row is not None:
            rows.append(row)
            cells = [cell(row) for _, cell in module.COLUMNS]
            print(report.text_line(cells, widths), flush=True)
    disturbed = sum(row["noise"] > NOISY for row in rows)
    if disturbed:
        print(f"{disturbed} of {len(rows)} rows are noisy: repeat them on a quiet machine")
    judged = [row["met"] for row in rows if row.get("met") is not None]
    if judged:
        print(f"{sum(judged)} of {len(judged)} goals met", flush=True)
    return rows


if __name__ == "__main__":
    main()
