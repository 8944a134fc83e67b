"""Kill workers of a Ray cluster at random instants, compare with runs that nobody disturbed.

``python tests/ray_kills.py --kills 50 --seed 1`` prints a line per kill, with the message that was
sent last, and a summary; exit code 1 if a run ends with other bits. Each kill is a SIGKILL of a
worker by the number of its process, while it opens its part, scans, seeds, steps, predicts or
writes files. Checkpoints are written at every step. Of asynchronous runs (``--only asynchronous``:
those alone) it is seen that they end with all of their steps, that each update was applied once,
and how stale the centers were at most.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from asynchronous_helpers import assert_each_row_once, one_cluster
from helpers import bits, make_rows

import shoal
from shoal.cli.parts import PartFiles
from shoal.config import Parameters
from shoal.executors import LocalExecutor
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

#: Asynchronous runs, of one cluster: its center says which rows it was trained on, and how often.
ROW_STEPS, STALEST = 400, 4
ASYNCHRONOUS = ("asynchronous, array", "asynchronous, own streams")


def own_stream(rows: Any, size: int) -> Any:
    """Batches of each worker."""

    def input_fn(worker: int, num_workers: int) -> Iterator[Any]:
        for start in range(worker * size, len(rows), num_workers * size):
            yield rows[start : start + size]

    return input_fn


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


class Ages:
    """How many steps were applied, and the largest staleness."""

    steps = most = 0

    def after_step(self, context: Any) -> None:
        """Count."""
        self.steps += 1
        self.most = max(self.most, context.staleness)


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
        self.wrong = self.stalest = 0

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
        what = f"each update once{found and ' IS WRONG: '}{found}"
        if name not in ASYNCHRONOUS:
            what = f"{'same' if same else 'OTHER'} bits"
        print(f"{name}: {len(kills)} kills, {what}", flush=True)

    def _same(self, name: str, found: Any) -> bool:
        self.wrong += found != self._expected[name]
        return bool(found == self._expected[name])

    def _run(self, name: str, executor: Watched | None) -> Any:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            if name in ASYNCHRONOUS:
                return self._asynchronous(name, folder, executor or LocalExecutor(3))
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

    def _asynchronous(self, name: str, folder: Path, executor: Any) -> str:
        """What is wrong with a run; nothing, where each update was applied once and in time."""
        ages, rows = Ages(), self.rows[:, :4].astype(np.float64)
        config = {"max_staleness": STALEST, "progress": False, "save_checkpoints_steps": 1}
        one = one_cluster(executor, config, model_dir=str(folder / "model"))
        size = len(rows) // ROW_STEPS
        if name == ASYNCHRONOUS[0]:
            one.fit(rows, batch_size=size, steps=ROW_STEPS, monitors=[ages])
        else:
            one.fit(input_fn=own_stream(rows, size), monitors=[ages])
        self.stalest = max(self.stalest, ages.most)
        try:
            assert one.get_variable_value("global_step") == ages.steps == ROW_STEPS, ages.steps
            assert ages.most <= STALEST, f"staleness {ages.most}"
            if name == ASYNCHRONOUS[0]:
                assert_each_row_once(one, rows)
            else:
                assert one.get_variable_value("counts").tolist() == [1 + len(rows)]
                mean = rows.sum(axis=0) / (1 + len(rows))
                np.testing.assert_allclose(one.clusters()[0], mean, rtol=1e-9)
        except AssertionError as error:
            return str(error)
        return ""

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
    parser.add_argument("--only", default="", help="runs whose names begin so")
    options = parser.parse_args(words)
    print(f"seed {options.seed}, {options.kills} kills, 3 workers", flush=True)
    with tempfile.TemporaryDirectory() as folder, Watched(3, max_restarts=1000) as executor:
        runs = Runs(Path(folder), executor, options.seed)
        config = shoal.RunConfig(executor=executor)  # workers start, so that runs can be timed
        shoal.KMeansClustering(1, config=config).fit(runs.rows[:9], steps=1)
        names = [name for name in (*JOBS, PREDICT, *ASYNCHRONOUS) if name.startswith(options.only)]
        turn = 0
        while (killed := sum(runs.where.values())) < options.kills:
            runs.one(names[turn % len(names)], min(3, options.kills - killed))
            turn += 1
    where = ", ".join(f"{name} {number}" for name, number in runs.where.most_common())
    print(f"{killed} workers killed in {turn} runs (last message: {where})")
    print(f"{runs.wrong} runs ended with other bits, or rows trained on twice or not at all")
    if runs.stalest:
        print(
            f"the largest staleness of asynchronous runs was {runs.stalest}, of {STALEST} allowed"
        )
    return int(runs.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
