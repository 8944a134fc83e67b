"""Data larger than memory: a Parquet directory, a process that may use 1 GB (Linux, pyarrow).

``python -m benchmarks.outofcore`` writes 8 GB of rows (once), then runs each job in a process of
its own whose memory a control group limits: pyarrow's plain scan of the same columns, full-batch
steps, mini-batch steps, one prediction of every row. It prints rates, the ratio to the scan, and
the peak of resident memory beside what ``shoal.memory_estimate`` says.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
GROUPS = Path("/sys/fs/cgroup")
ROWS_PER_FILE, ROWS_PER_GROUP = 2_500_000, 250_000
JOBS = ("scan", "full batch", "mini-batch", "predict")


def generate(folder: Path, rows: int, d: int, k: int) -> None:
    """Write blobs around k centers, unless they are there."""
    import pyarrow
    from pyarrow import parquet

    folder.mkdir(parents=True, exist_ok=True)
    names = [f"x{i:03d}" for i in range(d)]
    for number, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        path = folder / f"part-{number:04d}.parquet"
        if path.exists():
            continue
        rng = np.random.default_rng([7, number])
        middle = np.random.default_rng(7).uniform(-10, 10, (k, d)).astype(np.float32)
        size = min(ROWS_PER_FILE, rows - start)
        label = rng.integers(k, size=size)
        columns = [rng.standard_normal(size, dtype=np.float32) + middle[label, i] for i in range(d)]
        part = path.with_suffix(".part")
        table = pyarrow.table(columns, names=names)  # a dictionary of random floats is no help
        parquet.write_table(table, part, row_group_size=ROWS_PER_GROUP, use_dictionary=False)
        os.replace(part, path)
        print(f"{path.name} written", file=sys.stderr)


# --- jobs: each gives seconds of its passes, and what it found -----------------------------------


def scan(folder: Path, _k: int, passes: int) -> dict[str, Any]:
    """Record batches of all columns by pyarrow alone, looked at by no one."""
    from pyarrow import dataset

    seconds = []
    for _ in range(passes):
        began = time.perf_counter()
        rows = 0
        for batch in dataset.dataset(folder, format="parquet").to_batches(
            batch_readahead=1, fragment_readahead=1
        ):
            rows += batch.num_rows
        seconds.append(time.perf_counter() - began)
    return {"rows": rows, "seconds": seconds}


class _Clock:
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.rows = 0
        self._at = self.began = 0.0

    def begin(self, _context: Any) -> None:
        self.began = time.perf_counter()

    def before_step(self, _context: Any) -> None:
        self._at = time.perf_counter()

    def after_step(self, context: Any) -> None:
        self.seconds.append(time.perf_counter() - self._at)
        self.rows += context.rows


def full_batch(folder: Path, k: int, passes: int) -> dict[str, Any]:
    """Full-batch steps; seeding by k-MC², which reads the rows it draws."""
    import shoal

    model = shoal.KMeansClustering(k, initial_clusters="kmc2", use_mini_batch=False)
    estimate = shoal.memory_estimate(model, folder)
    clock, began = _Clock(), time.perf_counter()
    model.fit(folder, steps=passes, monitors=[clock])
    return {
        "rows": clock.rows // passes,
        "seconds": clock.seconds,
        "seeding_seconds": clock.began - began,
        "estimate_mb": estimate.total / 2**20,
        "counts": float(model.state.counts.sum()),
    }


def mini_batch(folder: Path, k: int, _passes: int) -> dict[str, Any]:
    """An epoch of shuffled batches."""
    import shoal

    model = shoal.KMeansClustering(k, initial_clusters="kmc2")
    source = shoal.open(folder, batch_size=65536)
    steps = -(-source.rows // 65536)
    estimate = shoal.memory_estimate(model, source)
    clock, began = _Clock(), time.perf_counter()
    model.fit(source, steps=steps, monitors=[clock])
    end = time.perf_counter()
    return {
        "rows": clock.rows,
        "seconds": [end - clock.began],
        "seeding_seconds": clock.began - began,
        "estimate_mb": estimate.total / 2**20,
    }


def predict(folder: Path, k: int, _passes: int) -> dict[str, Any]:
    """The nearest center of every row, batch by batch."""
    import shoal

    model = shoal.KMeansClustering(k, initial_clusters="random").fit(folder, steps=1)
    began, rows = time.perf_counter(), 0
    for batch in model.predict(folder, outputs="cluster_idx", iterate_batches=True):
        rows += len(batch["cluster_idx"])
    return {"rows": rows, "seconds": [time.perf_counter() - began]}


WORK: dict[str, Callable[[Path, int, int], dict[str, Any]]] = {
    "scan": scan,
    "full batch": full_batch,
    "mini-batch": mini_batch,
    "predict": predict,
}


# --- processes with a limit ----------------------------------------------------------------------


@contextmanager
def limited(megabytes: int) -> Iterator[Path | None]:
    """A control group for processes that may use so much memory; None where none can be made."""
    old = GROUPS / "memory"
    group = (old if old.is_dir() else GROUPS) / f"shoal-outofcore-{os.getpid()}"
    limit = "memory.limit_in_bytes" if old.is_dir() else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(megabytes << 20))
    except OSError as error:
        print(f"no control group ({error}): memory is measured, not limited", file=sys.stderr)
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


def measured(job: str, options: argparse.Namespace, group: Path | None) -> dict[str, Any]:
    """Run a job in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.outofcore", "--job", job]
    command += ["--folder", str(options.folder), "--k", str(options.k)]
    command += ["--passes", str(options.passes)]

    def enter() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, preexec_fn=enter
    )
    if done.returncode:
        raise SystemExit(f"{job}: ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"job": job, **found}


def work(options: argparse.Namespace) -> None:
    """Do one job in this process and print what it found."""
    logging.disable(logging.WARNING)
    found = WORK[options.job](options.folder, options.k, options.passes)
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    print(json.dumps({**found, "peak_mb": peak / 1024}))


def main() -> None:
    """Parse the arguments and run the jobs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outofcore", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "outofcore")
    parser.add_argument("--rows", type=int, default=62_500_000)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--limit", type=int, default=1024, metavar="MB")
    parser.add_argument("--job", choices=JOBS, help="this one, in this process, without a limit")
    parser.add_argument("--out", type=Path, help="folder for outofcore.json")
    options = parser.parse_args()
    if options.job:
        work(options)
        return
    generate(options.folder, options.rows, options.columns, options.k)
    size = sum(path.stat().st_size for path in options.folder.glob("*.parquet"))
    print(f"{size / 1e9:.1f} GB of Parquet, {options.rows:,} rows of {options.columns} columns")
    results = []
    with limited(options.limit) as group:
        for job in JOBS:
            found = measured(job, options, group)
            results.append(found)
            best = min(found["seconds"])
            base = min(results[0]["seconds"]) / results[0]["rows"]
            estimate, seeding = found.get("estimate_mb"), found.get("seeding_seconds")
            print(
                f"{job:<11} {best:7.2f} s a pass  {found['rows'] / best / 1e6:6.2f} M rows/s  "
                f"{best / found['rows'] / base:5.2f} x the scan  peak {found['peak_mb']:6.0f} MB"
                + ("" if estimate is None else f"  estimate {estimate:6.0f} MB")
                + ("" if seeding is None else f"  seeding {seeding:5.1f} s"),
                flush=True,
            )
    if options.out:
        about = {"cpus": os.cpu_count(), "limit_mb": options.limit, "bytes": size}
        text = json.dumps({**about, "jobs": results}, indent=2)
        (options.out / "outofcore.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
