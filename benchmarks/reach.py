"""Time to a loss within 0.1 % of that of 20 full passes from the same centers, by every way."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks import data, exact, ours, peers, report, starts
from benchmarks.data import Rows
from benchmarks.settings import Settings
from benchmarks.timing import PAUSE

PASSES = 20
WITHIN = 1.001  # times the loss of so many passes
MOST = 12  # full passes behind a start on a sample
RUNS = 3
SECONDS = 20.0  # for the settings of one way


@dataclass(frozen=True)
class Case:
    """Rows and a number of centers."""

    name: str
    rows: Callable[[], Rows | None]
    k: int
    quick: bool = True


@dataclass(frozen=True)
class Setting:
    """One setting of a way to train: what it is, and the call that gives the centers."""

    name: str
    call: Callable[[], Any]


def cases(settings: Settings) -> Iterator[Case]:
    """Yield rows with many for each center, and some with few."""
    del settings
    yield Case("china k=64", data.china, 64)
    yield Case("glove k=100", data.glove, 100)
    yield Case("glove k=400", data.glove, 400)
    yield Case("glove k=1000", data.glove, 1000)
    yield Case("minilm k=40", data.minilm, 40)
    yield Case("minilm k=100", data.minilm, 100)
    yield Case("blobs 16-d k=50", partial(data.blobs, 1_000_000, 16, 50), 50)
    yield Case("blobs 128-d k=256", partial(data.blobs, 300_000, 128, 200), 256)


def run(case: Case, settings: Settings) -> report.Row | None:
    """Measure one case; None where its data is missing."""
    rows = case.rows()
    if rows is None:
        return None
    rows = rows[: settings.quick_rows()]
    first = data.first_rows(rows, case.k)
    centers = np.ascontiguousarray(rows[first])
    losses = _losses(rows, centers, settings.threads, PASSES + 1)
    target = losses[PASSES] * WITHIN
    plain = next(steps for steps, loss in enumerate(losses) if loss <= target)
    found = {
        name: _reached(rows, target, given)
        for name, given in _ways(rows, first, plain, settings.threads).items()
    }
    times = {name: way["ms"] for name, way in found.items() if way["ms"] is not None}
    theirs = {name: ms for name, ms in times.items() if not name.startswith("shoal")}
    best = min(theirs, key=lambda name: theirs[name], default=None)
    own = min(ms for name, ms in times.items() if name.startswith("shoal"))
    return {
        "name": case.name,
        "n": len(rows),
        "d": rows.shape[1],
        "k": case.k,
        "threads": settings.threads,
        "quick": settings.quick,
        "plain": plain,
        "target": target,
        "ways": found,
        "ms": times,
        "best": best,
        "ratio": None if best is None else theirs[best] / own,
    }


def _losses(rows: Rows, centers: Rows, threads: int, steps: int, **options: Any) -> list[float]:
    """Return the loss before each of so many steps."""
    heard = Losses()
    estimator = ours.estimator(centers, threads, **options)
    estimator.fit(rows, steps=steps, monitors=[heard])
    return heard.losses


class Losses:
    """A monitor that keeps the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_step(self, context: Any) -> None:
        """Keep it."""
        self.losses.append(context.loss)


def _reached(rows: Rows, target: float, given: Sequence[Setting]) -> report.Row:
    """Return the time of the first setting that reaches the loss, or how far the last one came."""
    told: report.Row = {"setting": None, "ms": None, "above": None}
    begin = time.perf_counter()
    for setting in given:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                centers = setting.call()
            except Exception as error:
                return told | {"failed": str(error).strip().splitlines()[-1][:200]}
            loss = exact.inertia(rows, np.asarray(centers))
            told = {"setting": setting.name, "ms": None, "above": loss / target * WITHIN - 1}
            if loss <= target:
                return told | {"ms": min(_timed(setting.call) for _ in range(RUNS)) * 1e3}
        if time.perf_counter() - begin > SECONDS:
            break
    return told


def _timed(call: Callable[[], Any]) -> float:
    time.sleep(PAUSE)
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _ways(rows: Rows, first: Any, plain: int, threads: int) -> dict[str, list[Setting]]:
    """Return the settings of each way to train, those that take less time first."""
    centers, k = np.ascontiguousarray(rows[first]), len(first)
    ways = {
        "shoal": [Setting(f"{plain} passes", lambda: _shoal(rows, centers, threads, plain))],
        "shoal on sample": _on_sample(rows, centers, threads),
    }
    if peers.sklearn is not None:
        ways["sklearn lloyd"] = [
            Setting(f"{most} passes", partial(_sklearn, peers.sklearn.KMeans, rows, centers, most))
            for most in (plain, plain + 1, plain + 2)
        ]
        ways["sklearn minibatch"] = [
            Setting(f"batches of {size}, {epochs} epochs", partial(_batches, rows, centers, *way))
            for way in ((1024, 1), (4096, 2), (4096, 4), (16384, 4), (16384, 8), (16384, 16))
            for size, epochs in [way]
        ]
    if peers.sklearnex is not None:
        ways["sklearnex"] = [
            Setting(
                f"{most} passes", partial(_sklearn, peers.sklearnex.KMeans, rows, centers, most)
            )
            for most in (plain, plain + 1, plain + 2)
        ]
    if peers.faiss is not None:
        ways["faiss sample"] = [
            Setting(f"{per} rows per center, {most} passes", partial(_faiss, rows, centers, *way))
            for way in ((256, 10), (256, 25), (512, 25), (1024, 25), (2048, 25))
            for per, most in [way]
        ]
    if peers.superkmeans is not None:
        flat = [(0.3, 10), (0.3, 20), (0.3, 40), (0.6, 20), (1.0, 20), (1.0, 25)]
        ways["superkmeans sample"] = [
            Setting(f"{part} of the rows, {most} passes", partial(_super, rows, k, part, most))
            for part, most in flat
        ]
        ways["superkmeans hierarchical"] = [
            Setting(f"{refine} passes at the end", partial(_hierarchical, rows, k, refine))
            for refine in (0, 2, 5, 10, 20)
        ]
    return ways


def _shoal(rows: Rows, centers: Rows, threads: int, steps: int, **options: Any) -> Any:
    return ours.train(rows, centers, steps, threads, **options).clusters()


def _on_sample(rows: Rows, centers: Rows, threads: int) -> list[Setting]:
    return [
        Setting(
            f"0.25 of the rows, then {steps} passes",
            partial(_shoal, rows, centers, threads, steps, start_on_sample=True),
        )
        for steps in range(1, MOST + 1)
    ]


def _sklearn(kind: Any, rows: Rows, centers: Rows, most: int) -> Any:
    model = kind(len(centers), init=centers, n_init=1, max_iter=most, tol=0)
    return model.fit(rows).cluster_centers_


def _batches(rows: Rows, centers: Rows, size: int, epochs: int) -> Any:
    model = peers.sklearn.MiniBatchKMeans(
        len(centers),
        init=centers,
        n_init=1,
        batch_size=size,
        max_iter=epochs,
        tol=0,
        max_no_improvement=None,
        compute_labels=False,
        random_state=0,
    )
    return model.fit(rows).cluster_centers_


def _faiss(rows: Rows, centers: Rows, per_center: int, most: int) -> Any:
    model = peers.faiss.Kmeans(
        rows.shape[1],
        len(centers),
        niter=most,
        max_points_per_centroid=per_center,
        min_points_per_centroid=1,
    )
    model.train(rows, init_centroids=centers)
    return model.centroids


def _super(rows: Rows, k: int, part: float, most: int) -> Any:
    model = peers.superkmeans.SuperKMeans(
        k,
        rows.shape[1],
        hierarchical=False,
        iters=most,
        sampling_fraction=part,
        max_points_per_cluster=10**9,
        seed=starts.SEED,
        early_termination=False,
        tol=0,
    )
    return model.train(rows)


def _hierarchical(rows: Rows, k: int, refine: int) -> Any:
    """As it is by default; with passes at the end, these are over all rows."""
    whole = {"max_points_per_cluster": 10**9} if refine else {}
    model = peers.superkmeans.SuperKMeans(
        k,
        rows.shape[1],
        hierarchical=True,
        iters_refinement=refine,
        seed=starts.SEED,
        **whole,
    )
    return model.train(rows)


def notes(rows: Sequence[report.Row]) -> list[str]:
    """Return the lines below the table."""
    lines = [
        f"The least of {RUNS} runs in ms of the first setting of each way whose loss, in float64 "
        f"over all rows, is within 0.1 % of that of {PASSES} full passes from the same centers; in "
        "brackets how far above those passes the last setting tried ended, where none was within. "
        "Settings are tried from the quickest on, for at most "
        f"{SECONDS:.0f} s a way; those that were taken are in the JSON file. superkmeans begins at "
        "rows of its own. Ratio: best peer / best of shoal."
    ]
    for row in rows:
        taken = [
            f"{name}: {way['setting']}"
            for name, way in row["ways"].items()
            if way["ms"] is not None
        ]
        lines.append(f"{row['name']}: {'; '.join(taken)}.")
    return lines


def _way(name: str) -> report.Column:
    def cell(row: report.Row) -> str:
        way = row["ways"].get(name)
        if way is None or (way["ms"] is None and way["above"] is None):
            return "-"
        return f"({way['above']:+.2%})" if way["ms"] is None else f"{way['ms']:.1f}"

    return name, cell


WAYS = (
    "shoal",
    "shoal on sample",
    "sklearn lloyd",
    "sklearnex",
    "sklearn minibatch",
    "faiss sample",
    "superkmeans sample",
    "superkmeans hierarchical",
)
COLUMNS: list[report.Column] = [
    report.text("name", "case"),
    ("rows / k", lambda row: f"{row['n'] / row['k']:.0f}"),
    *(_way(name) for name in WAYS),
    report.text("best", "best peer"),
    report.number("ratio"),
]
