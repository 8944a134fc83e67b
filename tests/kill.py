"""Kill training at random instants, resume it, compare with training that nobody killed.

``python tests/kill.py --kills 200`` prints a line per kill and a summary; exit code 1 if a run ends
with other bits. Each kill is a SIGKILL of a process of its own, a random time after training
began there; then a new process goes on, until the run is over. Checkpoints are written at every
step, so that kills hit seeding, steps and the writing of files alike.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from helpers import bits

import shoal

ROWS, COLUMNS = 20_000, 8


class Job(NamedTuple):
    """One kind of training: the file it reads, its parameters, and what it is told of the end."""

    data: str
    parameters: dict[str, Any]
    fit: dict[str, Any]


MINI_BATCH = {"mini_batch_steps_per_iteration": 1, "use_mini_batch": True}
TWO_COPIES = {"mini_batch_steps_per_iteration": 4, "use_mini_batch": True}
FULL_BATCH = {"use_mini_batch": False}
JOBS = {
    "full batch, array": Job("x.npy", FULL_BATCH, {}),
    "full batch, Parquet": Job("x.parquet", FULL_BATCH, {"max_steps": 40}),
    "mini-batch, array": Job("x.npy", MINI_BATCH, {"batch_size": 700, "max_steps": 150}),
    "mini-batch, Parquet": Job("x.parquet", MINI_BATCH, {"batch_size": 700}),
    "two copies, array": Job("x.npy", TWO_COPIES, {"batch_size": 700}),
    "two copies, Parquet": Job("x.parquet", TWO_COPIES, {"batch_size": 700, "max_steps": 150}),
}


def model_of(job: Job, folder: Path | None) -> shoal.KMeansClustering:
    """The model of a job, new or as far as its checkpoints say."""
    return shoal.KMeansClustering(
        50,
        model_dir=None if folder is None else str(folder),
        initial_clusters="kmeans_plus_plus",
        random_seed=5,
        config=shoal.RunConfig(
            progress=False,
            tensorboard=False,
            save_checkpoints_steps=None if folder is None else 1,
            keep_checkpoint_max=2,
        ),
        **job.parameters,
    )


def train(name: str, files: Path, folder: Path | None) -> shoal.KMeansClustering:
    """Train until the run is over, from wherever it is."""
    job = JOBS[name]
    model = model_of(job, folder)
    if folder is not None:
        import pyarrow.parquet  # noqa: F401 - so that kills come while training

        print("training", flush=True)
    if model.is_interrupted or not model.is_fitted:
        model.fit(str(files / job.data), **job.fit)
    return model


def write_data(files: Path) -> None:
    """The same rows as an array and as a Parquet file of several row groups."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(30, COLUMNS)) * 2)[rng.integers(30, size=ROWS)]
    rows = (rows + rng.normal(size=rows.shape)).astype(np.float32)
    np.save(files / "x.npy", rows)
    table = pa.table({f"c{i}": rows[:, i] for i in range(COLUMNS)})
    parquet.write_table(table, files / "x.parquet", row_group_size=3000)


class Killer:
    """Runs jobs, kills them, and keeps count."""

    def __init__(self, files: Path, rng: random.Random) -> None:
        self.files = files
        self.rng = rng
        self.kills = self.good = 0
        self.where: collections.Counter[str] = collections.Counter()
        self.expected: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}

    def run(self, name: str, most: int) -> bool:
        """One run of a job, killed at most ``most`` times; whether its end is right."""
        if name not in self.expected:
            self.expected[name] = bits(train(name, self.files, None))
        folder = Path(tempfile.mkdtemp(dir=self.files)) / "model"
        killed = 0
        while True:
            limit = self.rng.uniform(0, self.seconds.get(name, 1.0) / 2) if killed < most else None
            began = time.monotonic()
            if self._process(name, folder, limit):
                if killed == 0:  # nobody killed it: so long does it take
                    self.seconds[name] = time.monotonic() - began
                break
            killed += 1
            self.kills += 1
            where = _phase(folder)
            self.where[where] += 1
            print(f"kill {self.kills:3d}: {name}, after {limit:.3f} s, {where}", flush=True)
        same = bits(model_of(JOBS[name], folder)) == self.expected[name]
        self.good += killed if same else 0
        print(f"          {name}: resumed {killed} times, {'same' if same else 'OTHER'} bits")
        shutil.rmtree(folder.parent)
        return same

    def _process(self, name: str, folder: Path, limit: float | None) -> bool:
        """Train in a process of its own; whether it came to the end before it was killed."""
        command = [sys.executable, __file__, "--train", name, str(self.files), str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            code = process.wait()
        if code not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{name}: exit code {code}")
        return code == 0


def _phase(folder: Path) -> str:
    """What the process was doing when it was killed, as far as files tell."""
    there = [path.name for path in folder.rglob("*")] if folder.exists() else []
    steps = [name for name in there if name.startswith("step-")]
    if any(name.endswith(".part") for name in there):
        return "writing a file"
    if not steps:
        return "before the first checkpoint"
    listed = (folder / "checkpoint.json").read_text() if "checkpoint.json" in there else ""
    if max(steps) not in listed or len(steps) > 2:
        return "between files"
    return "between checkpoints"


def main() -> int:
    """Kill as often as asked, in all jobs by turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    options = parser.parse_args()
    print(f"seed {options.seed}, shoal {shoal.__version__}")
    began = time.monotonic()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        files = Path(name)
        write_data(files)
        killer = Killer(files, random.Random(options.seed))
        for job in JOBS:
            wrong += not killer.run(job, 0)
        turn = 0
        while killer.kills < options.kills:
            job = list(JOBS)[turn % len(JOBS)]
            wrong += not killer.run(job, min(5, options.kills - killer.kills))
            turn += 1
    for where, times in sorted(killer.where.items()):
        print(f"{times:4d} killed {where}")
    print(
        f"{killer.good} of {killer.kills} kills: same bits as without them "
        f"({time.monotonic() - began:.0f} s, seed {options.seed})"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        sys.exit(0)
    sys.exit(main())
