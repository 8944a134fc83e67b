"""Whole runs: 20 full-batch iterations from the same centers, beside every peer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import exact, levels, machine, memory, ours, report, starts
from benchmarks.data import Rows, first_rows
from benchmarks.settings import Settings
from benchmarks.table import CASES, ITERATIONS, MEAN_GOALS, Case
from benchmarks.timing import QUICK, Effort, Race, race
from benchmarks.trainers import Job, Trained, calls, jobs
from shoal import _core

PEERS = (
    "sklearn lloyd",
    "sklearn elkan",
    "sklearnex",
    "faiss",
    "faiss super",
    "superkmeans",
    "fastkmeans",
)


# Whole runs take seconds; peers that cannot be the best run once.
RUNS = Effort(least=3, most=7, hopeless=1.5)
# At other levels those that took so many times as long as the best peer are not run again.
FAR = 2.0


def cases(settings: Settings) -> Iterator[Case]:
    """Yield the rows of the table."""
    del settings
    yield from CASES


def run(case: Case, settings: Settings) -> report.Row | None:
    """Measure one case; None where its data is missing."""
    rows = case.load(settings)
    if rows is None:
        return None
    job = Job(rows, first_rows(rows, case.k), ITERATIONS, settings.threads)
    held = bool(levels.current().suffix)  # to less than the processor has
    left_out = _known_slow(case) if held else []
    given = {name: one for name, one in jobs(job).items() if name not in left_out}
    found = race(calls(given, ITERATIONS), QUICK if settings.quick else RUNS, calls(given, 1))
    row = describe(job, found)
    check_own_loss(case.name, job)
    row.update(name=case.name, quick=settings.quick, goal=None if held else case.goal)
    row["met"] = None if held or row["ratio"] is None else row["ratio"] >= case.goal
    row["target"], row["left_out"] = _core.simd_target(), left_out
    row.update({"memory_mb": None} if held else _memory(rows, job))
    return row


def _known_slow(case: Case) -> list[str]:
    """Name the peers that today's table without limits shows to be far from the best."""
    about = report.read_machine(report.RESULTS, "train")
    here = machine.machine(1)
    if about is None or any(about[what] != here[what] for what in ("cpu", "date")):
        return []
    for row in report.read(report.RESULTS, "train"):
        if row["name"] == case.name:
            limit = FAR * row["ms"][row["best"]]
            return sorted(name for name, ms in row["ms"].items() if ms > limit)
    return []


def describe(job: Job, found: Race[Trained]) -> report.Row:
    """Return times, ratio to the best peer and inertia of a race of whole runs."""
    ms = {name: seconds * 1e3 for name, seconds in found.best.items()}
    peers = {name: time for name, time in ms.items() if name != "shoal"}
    best = min(peers, key=lambda name: peers[name], default=None)
    return {
        "n": len(job.rows),
        "d": job.rows.shape[1],
        "k": job.k,
        "dtype": str(job.rows.dtype),
        "threads": job.threads,
        "iterations": {name: result.iterations for name, result in found.results.items()},
        "ms": ms,
        "best": best,
        "ratio": None if best is None else ms[best] / ms["shoal"],
        "inertia": {
            name: exact.inertia(job.rows, result.centers) for name, result in found.results.items()
        },
        "own_start": _own_start(found),
        "failed": found.failed,
        "noise": found.noise,
        "seconds": found.seconds,
    }


def check_own_loss(name: str, job: Job) -> None:
    """Stop where the loss that shoal reports is not the float64 inertia of its centers."""
    model = ours.train(job.rows, job.centers, min(job.most, 3), job.threads)
    recomputed = exact.inertia(job.rows, model.clusters())
    scale = float(np.square(job.rows, dtype=np.float64).sum()) if recomputed == 0 else 0.0
    exact.check(name, abs(model.score(job.rows)), recomputed, scale)


def _own_start(found: Race[Trained]) -> list[str]:
    """Name the peers that did not begin at the given centers."""
    first: dict[str, Any] = found.warmed
    expected = first["shoal"].centers
    return [
        name
        for name in found.results
        if name in first and not starts.same(first[name].centers, expected)
    ]


def _memory(rows: Rows, job: Job) -> report.Row:
    budgets = {"default": None, "0": 0}
    jobs = [memory.train(budget, ITERATIONS, job.threads) for budget in budgets.values()]
    grown = memory.Memory(rows, job.centers).growth(jobs)
    if grown is None:
        return {"memory_mb": None}
    measured = dict(zip(budgets, grown, strict=True))
    allowed = {name: memory.allowed_mb(rows, budget) for name, budget in budgets.items()}
    within = all(measured[name] <= allowed[name] for name in budgets)
    return {"memory_mb": measured, "memory_allowed_mb": allowed, "within_budget": within}


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    lines = []
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        goal = MEAN_GOALS.get(rows[0]["target"])
        met = "-" if goal is None else f"goal {goal}: {report.flag(mean >= goal)}"
        lines.append(f"Geometric mean of the ratio over {len(ratios)} cases: {mean:.2f} ({met}).")
    lines.append(
        "Ratio: time of the best peer / time of shoal. Inertia columns: how far each peer's, "
        "computed in float64 from its centers, is above shoal's. scikit-learn's and "
        "scikit-learn-intelex's `fit` make one more assignment at the end. Peers that took more "
        f"than {RUNS.hopeless:g} times as long as the best peer ran once, or not at all where one "
        "iteration took so long."
    )
    return lines + remarks(rows)


def remarks(rows: Sequence[report.Row]) -> list[str]:
    """Return a line for each peer that did not do quite what the others did."""
    lines = []
    for row in rows:
        if row.get("left_out"):
            names = ", ".join(row["left_out"])
            lines.append(
                f"{row['name']}: not run again, at least {FAR:g} times as slow as the best peer "
                f"with all that the processor has: {names}."
            )
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["own_start"]:
            names = ", ".join(row["own_start"])
            lines.append(
                f"{row['name']}: not at the centers of the others after one iteration, by its own "
                f"choice of first ones or treatment of empty clusters: {names}."
            )
        for failed in row["failed"].items():
            reasons.setdefault(failed, []).append(row["name"])
    return lines + [
        f"{name} cannot {', '.join(which)}: {reason}" for (name, reason), which in reasons.items()
    ]


def _mb(budget: str) -> report.Column:
    def cell(row: report.Row) -> str:
        return "-" if row["memory_mb"] is None else f"{row['memory_mb'][budget]:.1f}"

    return f"MB budget {budget}", cell


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    report.text("n"),
    report.text("d"),
    report.text("k"),
    *(report.milliseconds(name) for name in ("shoal", *PEERS)),
    report.text("best", "best peer"),
    report.number("ratio"),
    report.GOAL,
    report.MET,
    _mb("default"),
    _mb("0"),
    ("in budget", lambda row: report.flag(row.get("within_budget"))),
    report.NOISE,
]
INERTIA: list[report.Column] = [
    ("shoal inertia", lambda row: f"{row['inertia']['shoal']:.8g}"),
    *(report.excess(name) for name in PEERS),
]
DETAILS: list[report.Column] = [report.text("name", "case"), *INERTIA]
