"""shoal.sklearn beside scikit-learn: small data, defaults, mini-batches, a range of k.

    python -m benchmarks.sklearn_face [small] [defaults] [minibatch] [partial] [choose]

Calls take turns in one process and the least time of each counts: of the process where it may use
one CPU (`taskset -c 0`), which what else runs on the machine changes little, else of the clock.
Ratios: scikit-learn's time divided by shoal's. Prints tables; benchmarks/results/sklearn_face.txt
holds some.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import sklearn.cluster
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_blobs

import shoal
import shoal.sklearn as ours
from benchmarks import data, machine
from benchmarks.timing import available_threads

theirs = sklearn.cluster
Call = Callable[[], Any]


#: One thread each: the time of the process, which others on the machine change little.
clock = time.process_time if available_threads() == 1 else time.perf_counter


def seconds(first: Call, second: Call, least: int = 3, spent: float = 0.1) -> tuple[float, float]:
    """The least time of each of two calls that take turns."""
    best = [math.inf, math.inf]
    for call in (first, second):
        call()
    begin, turn = clock(), 0
    while turn < least or clock() - begin < spent:
        for i, call in enumerate((first, second)):
            start = clock()
            call()
            best[i] = min(best[i], clock() - start)
        turn += 1
    return best[0], best[1]


def partial_of(model: Any, method: str, x: Any) -> Call:
    """A call of a method with the rows."""
    return functools.partial(getattr(model, method), x)


def mean(ratios: Iterable[float]) -> float:
    """The geometric mean."""
    return math.exp(np.mean(np.log(list(ratios))))


def line(*cells: object, widths: Sequence[int] = ()) -> None:
    """Print cells of a table."""
    texts = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells]
    widths = widths or [26] + [12] * (len(texts) - 1)
    print("  ".join(t.ljust(w) for t, w in zip(texts, widths, strict=True)).rstrip(), flush=True)


# ---- Small data ----


def small() -> None:
    """fit, predict and fit_predict of small float64 rows, defaults but for k and n_init."""
    print("\n## Small data: scikit-learn's time / shoal's\n")
    line("n x d, k, n_init", "fit", "predict", "fit_predict")
    every: dict[str, list[float]] = {"fit": [], "predict": [], "fit_predict": []}
    cases = itertools.product((100, 1000, 5000), (2, 10, 50), (2, 8, 20), ("auto", 10))
    for n, d, k, runs in cases:
        x, _ = make_blobs(n, d, centers=k, cluster_std=2.0, random_state=0)
        given = {"n_clusters": k, "n_init": runs, "random_state": 0}
        mine, other = ours.KMeans(**given).fit(x), theirs.KMeans(**given).fit(x)
        found = []
        for name in every:
            a, b = seconds(partial_of(mine, name, x), partial_of(other, name, x))
            every[name].append(b / a)
            found.append(b / a)
        line(f"{n} x {d}, {k}, {runs}", *found)
    line("geometric mean", *(mean(values) for values in every.values()))
    line("least", *(min(values) for values in every.values()))


# ---- Defaults ----


def sets() -> dict[str, Any]:
    """Rows and k: scikit-learn's data and blobs of several overlaps."""
    found = {
        "iris, 3": (load_iris().data, 3),
        "wine, 3": (load_wine().data, 3),
        "breast cancer, 8": (load_breast_cancer().data, 8),
        "digits, 10": (load_digits().data, 10),
    }
    for overlap in (1.0, 3.0, 6.0):
        x, _ = make_blobs(3000, 8, centers=20, cluster_std=overlap, random_state=1)
        found[f"blobs std {overlap}, 20"] = (x, 20)
    return found | large(5000, 30)


def large(rows: int, k: int) -> dict[str, Any]:
    """Some rows of the larger data sets that are there."""
    found = {}
    for name in ("glove", "minilm", "cities"):
        x = getattr(data, name)()
        if x is not None:
            some = np.random.default_rng(0).choice(len(x), min(rows, len(x)), replace=False)
            found[f"{name}, {k}"] = (np.ascontiguousarray(x[np.sort(some)]), k)
    return found


def defaults(seeds: int = 20) -> None:
    """Inertia over seeds; what the seeds of one package and of the other leave to chance beside."""
    print(f"\n## Defaults: inertia over {seeds} seeds, shoal's / theirs (± standard error)\n")
    widths = [26, 20, 12, 20, 12]
    line("data, k", "mean, auto", "best, auto", "mean, 10", "best, 10", widths=widths)
    table = []
    for name, (x, k) in sets().items():
        found, texts = [], []
        for runs in ("auto", 10):
            mine, other = (
                [
                    package.KMeans(k, n_init=runs, random_state=seed).fit(x).inertia_
                    for seed in range(seeds)
                ]
                for package in (ours, theirs)
            )
            found += [np.mean(mine) / np.mean(other), np.min(mine) / np.min(other)]
            chance = math.hypot(*(np.std(one) / np.mean(one) for one in (mine, other)))
            texts += [f"{found[-2]:.5f} ± {chance / math.sqrt(seeds):.5f}", f"{found[-1]:.5f}"]
        table.append(found)
        line(name, *texts, widths=widths)
    line("mean", *(f"{value:.5f}" for value in np.mean(table, axis=0)), widths=widths)
    line("largest", *(f"{value:.5f}" for value in np.max(table, axis=0)), widths=widths)


# ---- Mini-batches ----


def minibatch(seeds: int = 4) -> None:
    """MiniBatchKMeans from the same budget of rows; all rows' inertia."""
    print(f"\n## MiniBatchKMeans: {seeds} seeds, batches of 1,024, 5 epochs\n")
    line("data, k", "inertia", "time ratio", "lost: shoal", "theirs")
    every, times = [], []
    blobs, _ = make_blobs(20_000, 8, centers=1000, cluster_std=1.0, random_state=2)
    cases = {**large(20_000, 50), "blobs, 1000": (blobs.astype(np.float32), 1000)}
    for name, (x, k) in cases.items():
        given = {"n_clusters": k, "max_iter": 5, "max_no_improvement": None}
        pair: list[list[float]] = [[], []]
        spent, lost = [math.inf, math.inf], [0, 0]
        for seed in range(seeds):
            for i, package in enumerate((ours, theirs)):
                start = clock()
                model = package.MiniBatchKMeans(**given, random_state=seed).fit(x)
                spent[i] = min(spent[i], clock() - start)
                pair[i].append(model.inertia_)
                lost[i] += k - len(np.unique(model.labels_))
        every.append(np.mean(pair[0]) / np.mean(pair[1]))
        times.append(spent[1] / spent[0])
        line(name, f"{every[-1]:.5f}", times[-1], *lost)
    line("mean", f"{np.mean(every):.5f}", mean(times))


def partial() -> None:
    """partial_fit at k = 1,000."""
    print("\n## partial_fit, k = 1,000: scikit-learn's time / shoal's\n")
    line("data, rows", "ratio")
    for name, (x, _) in large(70_000, 0).items():
        for rows in (256, 1024, 4096, 16_384, 65_536):
            if len(x) < rows:
                continue
            models = []
            for package in (ours, theirs):
                model = package.MiniBatchKMeans(1000, init=x[:1000], random_state=0, n_init=1)
                models.append(model.partial_fit(x[:2000]))
            batch = x[:rows]
            a, b = seconds(*(partial_of(model, "partial_fit", batch) for model in models))
            line(f"{name.split(',')[0]}, {rows:,}", b / a)


# ---- A range of k ----


def choose(rows: int = 100_000, columns: int = 50, most: int = 101, tried: int = 8) -> None:
    """choose_k and the loop that people write, of which only some values of k are run."""
    x, _ = make_blobs(rows, columns, centers=12, cluster_std=6.0, random_state=3)
    numbers = range(2, most + 1)
    some = np.unique(np.geomspace(2, most, tried).astype(int)).tolist()

    def loop(k: int) -> float:
        model = theirs.KMeans(k, random_state=0).fit(x)
        metrics.silhouette_score(x, model.labels_, sample_size=2000, random_state=0)
        metrics.calinski_harabasz_score(x, model.labels_)
        metrics.davies_bouldin_score(x, model.labels_)
        return float(model.inertia_)

    print(f"\n## {len(numbers)} values of k on {rows:,} x {columns}, float64\n")
    spent, inertia = [], []
    for k in some:
        start = clock()
        inertia.append(loop(k))
        spent.append(clock() - start)
    whole = float(np.interp(numbers, some, spent).sum())
    print(f"scikit-learn's loop, k = {some}: {', '.join(f'{t:.2f}' for t in spent)} s;")
    print(f"between them by interpolation, all {len(numbers)}: {whole:.0f} s\n")
    for name, more in {"choose_k": {}, "choose_k, warm_start": {"warm_start": True}}.items():
        start = clock()
        choice = shoal.choose_k(x, numbers, num_threads=available_threads(), **more)
        taken = clock() - start
        ratios = [choice.inertia[k - 2] / other for k, other in zip(some, inertia, strict=True)]
        line(name, f"{taken:.1f} s", f"{whole / taken:.2f} times", f"inertia {mean(ratios):.5f}")


PARTS = {
    "small": small,
    "defaults": defaults,
    "minibatch": minibatch,
    "partial": partial,
    "choose": choose,
}


def main(names: Sequence[str]) -> None:
    """Run some parts, or all."""
    print(machine.describe(machine.machine(available_threads())))
    warnings.simplefilter("ignore")
    for name in names or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
