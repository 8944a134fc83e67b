"""Asynchronous mini-batches beside synchronous ones: the loss after the same number of rows.

    python -m benchmarks.asynchronous [--passes 5] [--seeds 5] [--ray]

On word vectors (GloVe, 50 columns), k = 1,000, batches of 4,096 rows, from the same first centers;
the loss is that of all rows behind so many passes. Workers are parts in this process whose answers
come in an order drawn by a seed, one of them twice as slow as the others; ``--ray``: in workers of
a Ray cluster of this machine, as they come. benchmarks/results/asynchronous.txt holds what it
printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

import shoal
from benchmarks import data
from shoal.executors import PickledExecutor

K, BATCH = 1000, 4096


class Uneven(PickledExecutor):
    """Parts of which the last takes twice as long as the others."""

    def __init__(self, num_parts: int, seed: int) -> None:
        super().__init__(num_parts)
        self._random = np.random.default_rng(seed)
        self._pace = np.r_[np.ones(num_parts - 1), 0.5]

    def first(self, answers: Sequence[Any]) -> int:
        """The place of the answer that comes next."""
        pace = self._pace[[answer.which % self.num_parts for answer in answers]]
        return int(self._random.choice(len(answers), p=pace / pace.sum()))


class Ages:
    """How stale the steps were."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def after_step(self, context: Any) -> None:
        """Keep what the step says."""
        self.seen.append(context.staleness or 0)


def trained(rows: Any, first: Any, steps: int, seed: int, **config: Any) -> tuple[float, Ages, Any]:
    """The loss of all rows, the ages of the steps, and the seconds they took."""
    ages = Ages()
    run = shoal.RunConfig(**config)
    model = shoal.KMeansClustering(K, initial_clusters=first, random_seed=seed, config=run)
    begin = time.perf_counter()
    model.fit(rows, batch_size=BATCH, steps=steps, monitors=[ages])
    seconds = time.perf_counter() - begin
    model.set_params(config=shoal.RunConfig())
    return model.score(rows), ages, seconds


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    rows = data.glove()
    if rows is None:
        return
    steps = options.passes * len(rows) // BATCH
    losses: dict[int, list[float]] = {}
    print(f"GloVe, {len(rows):,} x {rows.shape[1]}, k = {K}, {steps} steps of {BATCH} rows\n")
    print("seed  workers          loss  to synchronous  staleness: mean, most   seconds")
    with ExitStack() as stack:
        for seed in range(options.seeds):
            seeded = shoal.KMeansClustering(
                K, initial_clusters="kmeans_plus_plus", random_seed=seed, use_mini_batch=False
            )
            first = seeded.fit(rows, steps=1).clusters()
            for workers in (0, 1, 2, 4):
                config: dict[str, Any] = {}
                if workers:
                    executor: Any = Uneven(workers, seed)
                    if options.ray:
                        from shoal.executors.ray import RayExecutor

                        executor = stack.enter_context(RayExecutor(workers, "local"))
                    config = {"asynchronous": True, "executor": executor}
                loss, ages, seconds = trained(rows, first, steps, seed, **config)
                losses.setdefault(workers, []).append(loss)
                ratio = loss / losses[0][seed]
                name = str(workers) if workers else "(sync.)"
                line = f"{seed:4}  {name:7} {loss:14,.0f}  {ratio:14.5f}"
                print(
                    f"{line}  {statistics.mean(ages.seen):15.2f} {max(ages.seen):6} {seconds:9.1f}"
                )
    for workers in (1, 2, 4):
        mean = statistics.mean(losses[workers]) / statistics.mean(losses[0])
        print(f"{workers} workers: mean loss to that of synchronous training {mean:.5f}")


if __name__ == "__main__":
    main()
