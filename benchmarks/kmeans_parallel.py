"""k-means|| beside greedy k-means++: the loss at the first centers, and after ten steps.

    python -m benchmarks.kmeans_parallel [--seeds 20] [--k 1000] [--rows 400000]
    python -m benchmarks.kmeans_parallel --files 4000000

On word vectors (GloVe, 50 columns), both with 2 + ln k further candidates per pick, seeds in turn.
``--files``: so many rows of 50 columns in Parquet files instead, in a folder that goes away, with
the readings of each row before the first step, and the seconds they take, for k-means|| alone.
benchmarks/results/kmeans_parallel.txt holds what it printed.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import shoal
from benchmarks import data
from benchmarks.outofcore import generate
from benchmarks.timing import available_threads

METHODS = {"k-means++": "kmeans_plus_plus", "k-means||": "kmeans_parallel"}
STEPS = 10


class Watch:
    """When training began, and the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.began = 0.0

    def begin(self, _context: Any) -> None:
        """The centers are chosen."""
        self.began = time.perf_counter()

    def after_step(self, context: Any) -> None:
        """Keep the loss."""
        self.losses.append(context.loss)


def fitted(
    rows: Any, k: int, method: str, seed: int, steps: int = STEPS + 1, **options: Any
) -> tuple[float, Watch]:
    """Seconds until the centers are chosen, and what was seen."""
    watch = Watch()
    model = shoal.KMeansClustering(
        k,
        initial_clusters=method,
        random_seed=seed,
        use_mini_batch=False,
        kmeans_plus_plus_num_retries=-1,
        **options,
    )
    start = time.perf_counter()
    model.fit(rows, steps=steps, monitors=[watch])
    return watch.began - start, watch


def compare(rows: Any, k: int, seeds: int) -> None:
    """Both methods, seed by seed."""
    print(f"GloVe, {len(rows):,} x {rows.shape[1]}, k = {k}, {available_threads()} threads\n")
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in METHODS}
    for seed, name in itertools.product(range(seeds), METHODS):
        seconds, watch = fitted(rows, k, METHODS[name], seed)
        found[name].append((seconds, watch.losses[0], watch.losses[STEPS]))
    print("method        seconds   first loss       after ten steps: mean, deviation")
    means = {}
    for name, values in found.items():
        seconds, first, after = zip(*values, strict=True)
        means[name] = statistics.mean(after)
        spread = statistics.stdev(after) if seeds > 1 else 0.0
        line = f"{name:12} {min(seconds):8.2f} {statistics.mean(first):16,.0f}"
        print(f"{line} {means[name]:16,.0f} {spread:12,.0f}")
    ratio = means["k-means||"] / means["k-means++"]
    print(f"\nmean loss after {STEPS} steps, to that of k-means++: {ratio:.5f}, {seeds} seeds")


def from_files(number: int, k: int) -> None:
    """k-means|| over rows that are not kept in memory."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), number, 50, 1000)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        source = shoal.open(folder)
        read = []
        stream = type(source).stream

        def counted(given: Any) -> Any:
            for piece in stream(given):
                read.append(len(piece))
                yield piece

        type(source).stream = counted  # type: ignore[method-assign]
        seconds, watch = fitted(folder, k, "kmeans_parallel", 0, memory_budget=0, steps=1)
        type(source).stream = stream  # type: ignore[method-assign]
        passes = sum(read) / number - len(watch.losses)
        print(f"{size / 1e9:.2f} GB of Parquet, {number:,} rows, k = {k}: first centers in")
        print(f"{seconds:.0f} s and {passes:.2f} passes, that in which values are checked included")


def main() -> None:
    """Compare, or read files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--files", type=int, default=0)
    options = parser.parse_args()
    if options.files:
        from_files(options.files, options.k)
        return
    rows = data.glove()
    if rows is not None:
        compare(rows[: options.rows], options.k, options.seeds)


if __name__ == "__main__":
    main()
