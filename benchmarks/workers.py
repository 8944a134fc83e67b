"""What workers cost: rate beside one process, traffic of the driver, the tree that merges sums.

``python -m benchmarks.workers [rate] [traffic] [tree]`` prints tables; needs ``shoal[ray]``.
"""

from __future__ import annotations

import argparse
import math
import pickle
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray

import shoal
from shoal.executors.data import Data
from shoal.executors.local import LocalExecutor
from shoal.executors.ray import RayExecutor
from shoal.shards.part import Part
from shoal.sources.open import open_source
from shoal.state import Partial

ROWS, COLUMNS, CENTERS = 4_000_000, 50, 256
STEPS, ROUNDS = 8, 3
WIDE = 10_000, 768  # centers and columns of the partials that are merged
WORKERS = 2, 4, 16, 64, 256, 1024


def made(rows: int, columns: int, centers: int) -> Any:
    """Normal rows around as many places as there are centers, in float32."""
    rng = np.random.default_rng(5)
    middle = rng.normal(size=(centers, columns)).astype(np.float32) * 2
    found = rng.normal(size=(rows, columns)).astype(np.float32)
    for start in range(0, rows, 1 << 18):  # a piece at a time
        piece = found[start : start + (1 << 18)]
        piece += middle[rng.integers(centers, size=len(piece))]
    return found


class Clock:
    """A monitor that takes the time of each step."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def after_step(self, _context: Any) -> None:
        """A step is done."""
        self.times.append(time.perf_counter())

    @property
    def steps(self) -> list[float]:
        """Seconds of each step but the first, before which rows are read and validated."""
        return np.diff(self.times)[1:].tolist()


def fitted(rows: Any, executor: Any, threads: int) -> tuple[list[float], Any]:
    """Seconds of steps, and the centers."""
    clock = Clock()
    model = shoal.KMeansClustering(
        None,
        initial_clusters=rows[:CENTERS].copy(),
        use_mini_batch=False,
        num_threads=threads,
        config=shoal.RunConfig(executor=executor, progress=False),
    )
    model.fit(rows, steps=STEPS, monitors=[clock])
    return clock.steps, model.clusters()


def rate() -> Iterator[str]:
    """Two workers of one thread beside one process of two threads, in turn."""
    rows = made(ROWS, COLUMNS, CENTERS)
    yield f"{ROWS:,} rows, d = {COLUMNS}, k = {CENTERS}, {STEPS} full steps, best of {ROUNDS} runs"
    names = "one process, 2 threads", "2 workers, 1 thread each"
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with RayExecutor(2, "local", num_threads=1) as executor:
        for _ in range(ROUNDS):
            one, centers = fitted(rows, None, 2)
            two, same = fitted(rows, executor, 1)
            assert np.array_equal(centers, same)
            for name, steps in zip(seconds, (one, two), strict=True):
                seconds[name].append(sum(steps))
    for name, several in seconds.items():
        best = min(several)
        yield (
            f"{name:26} {1e3 * best / (STEPS - 1):8.1f} ms a step "
            f"{ROWS * (STEPS - 1) / best / 1e6:8.2f} M rows/s"
        )
    first, second = (min(several) for several in seconds.values())
    yield f"workers reach {first / second:.2f} of the rate; the centers are the same to the bit"


class Counting(RayExecutor):
    """An executor that counts the bytes that pass the driver."""

    down = up = 0

    def share(self, value: Any) -> Any:
        """Put a value."""
        self.down += len(pickle.dumps(value))
        return super().share(value)

    def submit(self, which: int, message: str, *arguments: Any) -> Any:
        """Send a message."""
        plain = [one for one in arguments if type(one).__name__ != "_Handle"]
        self.down += len(message) + len(pickle.dumps(plain))
        return super().submit(which, message, *arguments)

    def gather(self, answers: Any, timeout: float | None = None) -> list[Any]:
        """The answers."""
        found = super().gather(answers, timeout)
        self.up += len(pickle.dumps(found))
        return found


def traffic() -> Iterator[str]:
    """Bytes that the driver sends and gets in a step, for several numbers of workers."""
    rows = made(200_000, COLUMNS, CENTERS)
    centers = CENTERS * COLUMNS * 4
    yield f"d = {COLUMNS}, k = {CENTERS}: centers are {centers:,} bytes"
    for number in (1, 2, 4):
        with Counting(number, "local", num_threads=1) as executor:
            marks: list[tuple[int, int]] = []

            class Mark:
                def after_step(
                    self,
                    _context: Any,
                    executor: Counting = executor,
                    marks: list[tuple[int, int]] = marks,
                ) -> None:
                    marks.append((executor.down, executor.up))

            shoal.KMeansClustering(
                None,
                initial_clusters=rows[:CENTERS].copy(),
                use_mini_batch=False,
                config=shoal.RunConfig(executor=executor, progress=False),
            ).fit(rows, steps=4, monitors=[Mark()])
        (down, up), (then, after) = marks[-2:]
        yield f"{number} workers: {then - down:9,} bytes down, {after - up:9,} bytes up in a step"


def real_partial(seed: int) -> Partial:
    """What a pass over rows of text embeddings' width gives."""
    centers, columns = WIDE
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(20_000, columns)).astype(np.float32)
    part = Part(open_source(rows), "squared_euclidean", 2)
    found = Data.of(LocalExecutor(), [part]).assign(rng.normal(size=(centers, columns)))
    return Partial(found.sums.copy(), found.squares.copy(), found.grid, found.rows, found.changes)


def tree() -> Iterator[str]:
    """Merge real partials of simulated shards, as workers do: two at a time."""
    centers, columns = WIDE
    made = [real_partial(seed) for seed in (1, 2)]
    partials = [made[0], Partial(made[1].sums, made[1].squares, made[0].grid, 1, 1)]
    size = len(pickle.dumps(partials[0]))
    yield f"k = {centers:,}, d = {columns}: a partial is {size / 1e6:.1f} MB"
    with RayExecutor(1, "local") as executor:
        executor.share(0)  # starts Ray
        began = time.perf_counter()
        handle = executor.share(partials[0])
        put = time.perf_counter()
        ray.get(handle.ref).merge(partials[1])
        got = time.perf_counter()
        yield f"into the object store {put - began:.2f} s, from there and merged {got - put:.2f} s"
    yield "shards  levels  merges  all of them here  levels x the fastest (they are parallel)"
    for number in WORKERS:
        level = [partials[at % 2] for at in range(number)]
        times: list[float] = []
        while len(level) > 1:
            above: list[Partial] = []
            for one, other in zip(level[::2], level[1::2], strict=True):
                began = time.perf_counter()
                merged = one.merge(other)
                times.append(time.perf_counter() - began)
                above.append(merged if len(above) < 2 else above[0])  # there is no room for all
            level = above
        levels, least = math.ceil(math.log2(number)), min(times)
        yield (
            f"{number:6} {levels:7} {len(times):7} {sum(times):15.2f} s {levels * least:16.2f} s"
        )


def main() -> None:
    """Print the tables that are asked for."""
    tables = {"rate": rate, "traffic": traffic, "tree": tree}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[*tables, []], default=[])
    for name in parser.parse_args().tables or tables:
        for line in tables[name]():
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
