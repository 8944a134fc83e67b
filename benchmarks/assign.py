"""One assignment pass: shoal, scikit-learn and faiss on the same rows and centers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import data, memory, peers, report
from benchmarks.data import Rows
from benchmarks.timing import Effort, interleave, noise

QUICK_ROWS = 20_000

NOT_SLOWER = 1 / 1.1  # at most 10 % slower


@dataclass(frozen=True)
class Case:
    """Rows, a number of centers, and how many times faster than which peers shoal must be."""

    name: str
    rows: Callable[[], Rows | None]
    k: int
    goal: float
    against: tuple[str, ...]
    memory: bool = False
    quick: bool = True


def cases() -> Iterator[Case]:
    """Yield the named data sets, then the grid."""
    both = ("sklearn", "faiss")
    yield Case("glove k=1000", data.glove, 1000, 1.3, both, memory=True)
    yield Case("minilm k=1000", data.minilm, 1000, 1.1, both, memory=True)
    yield Case("cities k=1000", data.cities, 1000, 1.0, ("faiss",), memory=True)
    for d in (2, 3, 8, 16, 50, 128, 384):
        for k in (2, 8, 50, 100, 256, 1000, 4096):
            quick = d in (2, 16, 128) and k in (8, 256)
            rows = partial(_grid_rows, d, k)
            yield Case(f"grid d={d} k={k}", rows, k, NOT_SLOWER, ("sklearn",), quick=quick)


def run(case: Case, threads: int, effort: Effort, quick: bool) -> report.Row | None:
    """Measure one case; None where its data is missing."""
    rows = case.rows()
    if rows is None:
        return None
    if quick:
        rows = rows[:QUICK_ROWS]
    centers = data.first_centers(rows, case.k)
    results, seconds = interleave(peers.assigners(rows, centers, threads), effort)

    ours = results["shoal"]
    distances = {name: _distances(rows, centers, found.labels) for name, found in results.items()}
    inertia = {name: float(found.sum()) for name, found in distances.items()}
    if ours.loss is None or not np.isclose(ours.loss, inertia["shoal"], rtol=1e-9):
        raise RuntimeError(f"{case.name}: loss {ours.loss} is not that of the labels")
    ms = {name: min(times) * 1e3 for name, times in seconds.items()}
    ratio = {name: ms[name] / ms["shoal"] for name in ms if name != "shoal"}
    present = [ratio[name] for name in case.against if name in ratio]
    return {
        "name": case.name,
        "n": rows.shape[0],
        "d": rows.shape[1],
        "k": case.k,
        "dtype": str(rows.dtype),
        "threads": threads,
        "quick": quick,
        "ms": ms,
        "ratio": ratio,
        "inertia": inertia,
        "excess": {
            name: float((found - distances["shoal"]).sum()) / inertia["shoal"]
            for name, found in distances.items()
        },
        "reported_loss": {name: found.loss for name, found in results.items()},
        "labels_differ": {
            name: int(np.count_nonzero(found.labels != ours.labels))
            for name, found in results.items()
        },
        "looked_again": ours.looked_again,
        "memory_mb": memory.assign_growth(rows, centers, threads) if case.memory else None,
        "goal": {"ratio": case.goal, "against": list(case.against)},
        "met": min(present) >= case.goal if len(present) == len(case.against) else None,
        "noise": noise(seconds),
        "seconds": seconds,
    }


def _grid_rows(d: int, k: int) -> Rows:
    most = int(min(400_000, 4e7 / d))
    n = int(min(400_000, max(20_000, 2e9 / (d * k)), 4e7 / d))
    return data.gaussian(most, d)[:n]


def _distances(rows: Rows, centers: Rows, labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the squared distance of each row to the center of its label, in float64."""
    result = np.empty(len(rows))
    step = max(1, 2**21 // rows.shape[1])
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        difference = rows[part].astype(np.float64) - centers[labels[part]]
        result[part] = np.einsum("ij,ij->i", difference, difference)
    return result


def _goal(row: report.Row) -> str:
    return f">={row['goal']['ratio']:.2f} {'+'.join(row['goal']['against'])}"


def _differing(name: str) -> report.Column:
    return f"{name} labels", lambda row: str(row["labels_differ"].get(name, "-"))


COLUMNS: list[report.Column] = [
    ("case", lambda row: row["name"]),
    ("n", lambda row: str(row["n"])),
    ("d", lambda row: str(row["d"])),
    ("k", lambda row: str(row["k"])),
    ("dtype", lambda row: row["dtype"]),
    ("threads", lambda row: str(row["threads"])),
    *(report.milliseconds(name) for name in ("shoal", "sklearn", "faiss")),
    *(report.ratio(name) for name in ("sklearn", "faiss")),
    ("inertia", lambda row: f"{row['inertia']['shoal']:.6g}"),
    *(report.excess(name) for name in ("sklearn", "faiss")),
    *(_differing(name) for name in ("sklearn", "faiss")),
    ("unsettled", lambda row: str(row["looked_again"])),
    ("MB", lambda row: "-" if row["memory_mb"] is None else f"{row['memory_mb']:.1f}"),
    report.NOISE,
    ("goal", _goal),
    ("met", lambda row: report.flag(row["met"])),
]
WIDTHS = [19, 7, 4, 5, 8, 7, 9, 10, 9, 13, 11, 11, 15, 13, 14, 12, 9, 5, 5, 22, 3]
