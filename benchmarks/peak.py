"""How close to the limit: multiply-adds per second against the processor's peak, measured here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks import ours, report
from benchmarks.data import first_centers
from benchmarks.settings import Settings
from benchmarks.table import ITERATIONS, Case, named
from benchmarks.timing import race

SOURCE = Path(__file__).with_name("peak.c")


def cases(settings: Settings) -> Iterator[Case]:
    """Yield some rows of the table."""
    del settings
    yield from named("glove k=1000", "minilm k=1000")


@lru_cache(maxsize=1)
def rates() -> dict[str, float]:
    """Return multiply-adds per second of one core for each kind; empty without a C compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        print("skipped: peak: no C compiler (set CC)", flush=True)
        return {}
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder, "peak"))
        subprocess.run([compiler, "-O2", "-march=native", "-o", program, SOURCE], check=True)
        done = subprocess.run([program], check=True, capture_output=True, text=True)
    found = (line.split() for line in done.stdout.splitlines())
    return {name: float(rate) for name, rate in found}


def run(case: Case, settings: Settings) -> report.Row | None:
    """Measure one case; None where its data or a compiler is missing."""
    rows, peak = case.load(settings), rates()
    if rows is None or not peak:
        return None
    centers = first_centers(rows, case.k)
    labels = np.zeros(len(rows), np.int32)
    threads = settings.threads
    found = race(
        {
            "shoal predict": lambda: ours.assign(rows, centers, labels, threads),
            "shoal train": lambda: ours.train(rows, centers, ITERATIONS, threads).clusters(),
        },
        settings.effort,
    )
    work = float(len(rows)) * case.k * rows.shape[1]
    rate = {
        "predict": work / found.best["shoal predict"],
        "train": work * ITERATIONS / found.best["shoal train"],
    }
    return {
        "name": case.name,
        "n": len(rows),
        "d": rows.shape[1],
        "k": case.k,
        "threads": threads,
        "quick": settings.quick,
        "ms": {name: seconds * 1e3 for name, seconds in found.best.items()},
        "peak_per_core": peak,
        "rate": rate,
        "share": {
            what: {kind: value / (threads * limit) for kind, limit in peak.items()}
            for what, value in rate.items()
        },
        "noise": found.noise,
        "seconds": found.seconds,
    }


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    if not rows:
        return []
    peak = ", ".join(f"{kind} {rate / 1e9:.0f}" for kind, rate in rows[0]["peak_per_core"].items())
    return [
        f"Peak of one core, in 10⁹ multiply-adds per second: {peak} (`peak.c`, compiled with "
        "-march=native and run just before).",
        "Rate: n·k·d multiply-adds, those of brute force, per second of a whole cold pass, or per "
        f"iteration of a run of {ITERATIONS}, the validation of the rows included. It counts work "
        "that was avoided as done, so shares beyond 100 % are possible.",
    ]


def _rate(what: str) -> report.Column:
    return f"{what} 10⁹/s", lambda row: f"{row['rate'][what] / 1e9:.0f}"


def _share(what: str, kind: str) -> report.Column:
    def cell(row: report.Row) -> str:
        share = row["share"][what].get(kind)
        return "-" if share is None else f"{share:.0%}"

    return f"{what} of {kind}", cell


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    report.milliseconds("shoal predict"),
    _rate("predict"),
    *(_share("predict", kind) for kind in ("float32", "int8", "int8-tiles")),
    report.milliseconds("shoal train"),
    _rate("train"),
    *(_share("train", kind) for kind in ("float32", "int8", "int8-tiles")),
    report.NOISE,
]
