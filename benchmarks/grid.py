"""Training runs and one cold pass on a grid of dimensions, numbers of centers and kinds of data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data, exact, heatmap, ours, predict, report, starts
from benchmarks.data import Rows
from benchmarks.settings import Settings
from benchmarks.timing import Effort, Race, race
from benchmarks.trainers import Job, Trained, calls, jobs

KINDS: dict[str, Callable[[int, int, int], Rows]] = {
    "blobs": data.blobs,  # as many true centers as asked for
    "uniform": lambda n, d, _: data.uniform(n, d),
    "heavy-tailed": lambda n, d, _: data.heavy_tailed(n, d),
}
DIMS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 384, 768)
KS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)

ITERATIONS, FEWER = 10, 5
MOST_ROWS, MOST_VALUES = 2_000_000, 2**25
ELKAN_K = 256  # with more centers Elkan's first iteration alone outlasts the others' runs

TRAIN = Effort(least=3, most=3, hopeless=1.5, skips=True)
PREDICT = Effort(least=3, most=3, hopeless=1.5)

MERGES = True  # cases join those written before


@dataclass(frozen=True)
class Case:
    """A cell of the grid."""

    kind: str
    d: int
    k: int

    @property
    def name(self) -> str:
        """What tells it from other cells."""
        return f"{self.kind} d={self.d} k={self.k}"

    @property
    def quick(self) -> bool:
        """Whether a quick look takes it."""
        return self.d in (2, 16, 128) and self.k in (8, 256)

    def size(self, seconds: float) -> tuple[int, int]:
        """Return rows and iterations, so that a plain run by matrix products takes `seconds`."""
        # Nanoseconds per row and iteration, fitted to scikit-learn on two cores with AVX-512.
        row = 8 + 0.5 * self.d + self.k * (0.3 + 0.012 * self.d)
        n = int(seconds / (ITERATIONS * row * 1e-9))
        least = 4 * self.k
        iterations = FEWER if n < least / 3 else ITERATIONS
        return max(least, min(n, MOST_ROWS, MOST_VALUES // self.d)), iterations


def cases(settings: Settings) -> Iterator[Case]:
    """Yield the cells that the command line chose."""
    for kind in settings.kinds or KINDS:
        for d in settings.dims or DIMS:
            for k in settings.ks or KS:
                yield Case(kind, d, k)


def run(case: Case, settings: Settings) -> report.Row:
    """Measure one cell."""
    n, iterations = case.size(settings.grid_seconds)
    rows = KINDS[case.kind](n, case.d, case.k)
    job = Job(rows, data.first_rows(rows, case.k), iterations, settings.threads)
    given = jobs(job, arranged=False)
    if case.k > ELKAN_K:
        given.pop("sklearn elkan", None)
    trained = race(calls(given, iterations), TRAIN, calls(given, 1))
    assigners = predict.assigners(rows, job.centers, settings.threads)
    passed = race(assigners, PREDICT)
    return {
        "name": case.name,
        "kind": case.kind,
        "n": n,
        "d": case.d,
        "k": case.k,
        "threads": settings.threads,
        "quick": settings.quick,
        "train": _train(job, trained),
        "predict": _predict(case.name, rows, job.centers, passed),
        "noise": max(trained.noise, passed.noise),
        "met": _ratio(trained)[1] >= 1 and _ratio(passed)[1] >= 1,
    }


def _train(job: Job, found: Race[Trained]) -> report.Row:
    best, ratio = _ratio(found)
    return {
        "ms": {name: seconds * 1e3 for name, seconds in found.best.items()},
        "best": best,
        "ratio": ratio,
        "iterations": {name: result.iterations for name, result in found.results.items()},
        "inertia": {
            name: exact.inertia(job.rows, found.results[name].centers)
            for name in filter(None, ("shoal", best))
        },
        "failed": sorted(found.failed),
    }


def _predict(name: str, rows: Rows, centers: Rows, found: Race[predict.Pass]) -> report.Row:
    best, ratio = _ratio(found)
    own = found.results["shoal"]
    recomputed = float(exact.distances(rows, centers, own.labels).sum())
    exact.check(name, ours.loss(rows, centers, 1), recomputed)
    ms = {name: seconds * 1e3 for name, seconds in found.best.items()}
    return {"ms": ms, "best": best, "ratio": ratio, "failed": sorted(found.failed)}


def _ratio(found: Race[object]) -> tuple[str | None, float]:
    """Return the best peer, and its time / shoal's."""
    peers = {name: time for name, time in found.best.items() if name != "shoal"}
    best = min(peers, key=lambda name: peers[name], default=None)
    return best, math.inf if best is None else peers[best] / found.best["shoal"]


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    lines = []
    for what in ("train", "predict"):
        ratios = {row["name"]: row[what]["ratio"] for row in rows}
        mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
        slower = sorted((ratio, name) for name, ratio in ratios.items() if ratio < 1)
        lines.append(
            f"{what}: {len(ratios)} of {len(KINDS) * len(DIMS) * len(KS)} cells, geometric mean "
            f"of the ratio {mean:.2f}, lowest {min(ratios.values()):.2f}; slower than the best "
            f"peer in {len(slower)}"
            + ("." if not slower else ": " + ", ".join(f"{n} ({r:.2f})" for r, n in slower) + ".")
        )
    names = ", ".join(starts.available())
    lines.append(
        f"Each run makes {ITERATIONS} iterations ({FEWER} where 4 k rows are many); the same first "
        f"centers for all but {names}, which choose their own. The least of three; peers that "
        f"took more than {TRAIN.hopeless:g} times as long as the best peer ran once, or not at all "
        "where one iteration took so long. "
        f"scikit-learn's elkan takes part up to k = {ELKAN_K}."
    )
    return lines


def finish(rows: Sequence[report.Row], folder: Path, title: str) -> list[Path | None]:
    """Draw the pictures; return what was written."""
    return [
        heatmap.draw(rows, what, folder / f"{title}-{what}.png", list(KINDS))
        for what in ("train", "predict")
    ]


def _cell(what: str, key: str) -> Callable[[report.Row], str]:
    def cell(row: report.Row) -> str:
        value = row[what][key]
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    return cell


COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    report.text("n"),
    ("its", lambda row: str(row["train"]["iterations"]["shoal"])),
    ("train ms", lambda row: f"{row['train']['ms']['shoal']:.1f}"),
    ("best peer", _cell("train", "best")),
    ("train ratio", _cell("train", "ratio")),
    ("predict ms", lambda row: f"{row['predict']['ms']['shoal']:.2f}"),
    ("best peer", _cell("predict", "best")),
    ("predict ratio", _cell("predict", "ratio")),
    report.MET,
    report.NOISE,
]
