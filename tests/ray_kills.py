"""Kill workers of a Ray cluster at random instants, compare with runs that nobody disturbed.

``python tests/ray_kills.py --kills 50 --seed 1`` prints a line per kill, with the message that was
sent last, and a summary; exit code 1 if a run ends with other bits. Each kill is a SIGKILL of a
worker by the number of its process, while it opens its part, scans, seeds, steps, predicts or
writes files. Checkpoints are written at every step.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from helpers import bits, make_rows

import shoal
from shoal.cli.parts import PartFiles
from shoal.config import Parameters
from shoal.executors.ray import RayExecutor
from shoal.inference import Inference

ROWS, COLUMNS, K = 40_000, 8, 30


class Job(NamedTuple):
    """A kind of run: the file it reads, the parameters of the model, and how it is trained."""

    data: str
    parameters: dict[str, Any]
    fit: dict[str, Any]


def job(data: str, seeding: str, steps: int, batch_size: int | None = None, **more: Any) -> Job:
    """Full batches, or mini-batches of so many rows."""
    parameters = {"initial_clusters": seeding, "use_mini_batch": batch_size is not None, **more}
    return Job(data, parameters, {"max_steps": steps, "batch_size": batch_size})


JOBS = {
    "full batch, array": job("array", "kmeans_plus_plus", 40),
    "full batch, .npy": job("x.npy", "kmeans_parallel", 40),
    "full batch, Parquet, not kept": job("x.parquet", "kmc2", 25, memory_budget=0),
    "mini-batch, Parquet": job("x.parquet", "afkmc2", 60, 900),
    "mini-batch, array": job("array", "random", 60, 900, distance_metric="cosine"),
}
PREDICT = "predict into a directory"


class Watched(RayExecutor):
    """An executor that knows what it has sent last."""

    last = "opening"

    def submit(self, which: int, message: str, *arguments: Any) -> Any:
        """Send a message."""
        self.last = message
        return super().submit(which, message, *arguments)

    def processes(self) -> list[int]:
        """Those of the workers there are."""
        known = [*self._workers.values(), *(self._crew.idle if self._crew is not None else [])]
        return [worker.about.process for worker in known if worker.lost is None]


class Killer(threading.Thread):
    """Kills workers a random time after it has begun, again and again until it is told to end."""

    def __init__(self, executor: Watched, seconds: float, most: int, seed: int) -> None:
        super().__init__(daemon=True)
        self._executor, self._seconds, self._most = executor, seconds, most
        self._random = random.Random(seed)
        self._over = threading.Event()
        self.kills: list[str] = []

    def run(self) -> None:
        """Kill."""
        while len(self.kills) < self._most:
            after = self._random.uniform(0, self._seconds)
            if self._over.wait(after):
                return
            processes = self._executor.processes()
            if processes:
                process = self._random.choice(processes)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    self.kills.append(self._executor.last)
                    print(
                        f"kill: process {process} after {after:.3f} s, "
                        f"last message {self._executor.last}",
                        flush=True,
                    )

    def end(self) -> list[str]:
        """Stop; returns during which messages workers were killed."""
        self._over.set()
        self.join()
        return self.kills


class Runs:
    """Runs jobs while workers are killed, and keeps count."""

    def __init__(self, folder: Path, executor: Watched, seed: int) -> None:
        self._folder, self._executor = folder, executor
        self._random = random.Random(seed)
        self.rows = make_rows(ROWS, COLUMNS, K, dtype=np.float32)
        np.save(folder / "x.npy", self.rows)
        _write_parquet(folder / "x.parquet", self.rows)
        self._expected: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        self.where: collections.Counter[str] = collections.Counter()
        self.wrong = 0

    def one(self, name: str, most: int) -> None:
        """A run of a job, in which at most so many workers are killed."""
        if name not in self._expected:
            self._expected[name] = self._run(name, None)
            began = time.monotonic()
            self._same(name, self._run(name, self._executor))
            self._seconds[name] = time.monotonic() - began
        seed = self._random.getrandbits(32)
        killer = Killer(self._executor, 0.7 * self._seconds[name], most, seed)
        killer.start()
        try:
            found = self._run(name, self._executor)
        finally:
            kills = killer.end()
        self.where.update(kills)
        same = self._same(name, found)
        print(f"{name}: {len(kills)} kills, {'same' if same else 'OTHER'} bits", flush=True)

    def _same(self, name: str, found: Any) -> bool:
        self.wrong += found != self._expected[name]
        return bool(found == self._expected[name])

    def _run(self, name: str, executor: Watched | None) -> Any:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            if name == PREDICT:
                return self._predict(folder, executor)
            return self._fit(name, folder, executor)
        finally:
            shutil.rmtree(folder)

    def _fit(self, name: str, folder: Path, executor: Watched | None) -> Any:
        data, parameters, fit = JOBS[name]
        config = shoal.RunConfig(
            executor=executor, progress=False, tensorboard=False, save_checkpoints_steps=1
        )
        model = shoal.KMeansClustering(
            K, str(folder / "model"), random_seed=5, config=config, **parameters
        )
        model.fit(self.rows if data == "array" else str(self._folder / data), **fit)
        read = shoal.KMeansClustering(
            K, str(folder / "model"), random_seed=5, config=config, **parameters
        )
        return bits(model), bits(read), model.score(self.rows)

    def _predict(self, folder: Path, executor: Watched | None) -> Any:
        from pyarrow import parquet

        centers = self.rows[:K]
        state = shoal.KMeansClustering(None, initial_clusters=centers).fit(self.rows, steps=2).state
        asked = Inference(state, Parameters(K), "error", executor)
        outputs = {name: name for name in ("cluster_idx", "scores")}
        source = shoal.open(self._folder / "x.parquet")
        asked.written(source, ("row", *outputs), PartFiles(str(folder), outputs, 3))
        names = sorted(path.name for path in folder.glob("part-*"))
        assert names == [f"part-{number:05}.parquet" for number in range(len(names))]
        tables = [parquet.read_table(folder / name) for name in names]
        columns = ("row", *outputs)
        return [np.concatenate([one[name] for one in tables]).tolist() for name in columns]


def _write_parquet(path: Path, rows: Any) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})
    parquet.write_table(table, path, row_group_size=3000)


def main(words: list[str] | None = None) -> int:
    """Run until so many workers were killed; returns 0 if all bits were right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(words)
    print(f"seed {options.seed}, {options.kills} kills, 3 workers", flush=True)
    with tempfile.TemporaryDirectory() as folder, Watched(3, max_restarts=1000) as executor:
        runs = Runs(Path(folder), executor, options.seed)
        names = [*JOBS, PREDICT]
        turn = 0
        while (killed := sum(runs.where.values())) < options.kills:
            runs.one(names[turn % len(names)], min(3, options.kills - killed))
            turn += 1
    where = ", ".join(f"{name} {number}" for name, number in runs.where.most_common())
    print(f"{killed} workers killed in {turn} runs (last message: {where})")
    print(f"{runs.wrong} runs ended with other bits")
    return int(runs.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
