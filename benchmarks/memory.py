"""Peak memory of a call of shoal beyond its data, in a process of its own (Linux)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import ours
from benchmarks.data import ROOT, Rows

# Threads' stacks and tiles, the allocator's caches: allowed beyond what the budget says.
SLACK = 32 * 2**20


class Memory:
    """Rows and centers on disk, for measurements in new processes."""

    def __init__(self, rows: Rows, centers: Rows) -> None:
        self._rows, self._centers = rows, centers

    def growth(self, jobs: Sequence[dict[str, object]]) -> list[float] | None:
        """Return by how many MB each job raises the peak beyond rows and centers."""
        if not Path("/proc/self/status").is_file():
            return None
        with tempfile.TemporaryDirectory() as folder:
            for name, array in (("rows", self._rows), ("centers", self._centers)):
                np.save(Path(folder, name + ".npy"), array)
            return [_measure(folder, job) for job in jobs]


def train(budget: int | None, steps: int, threads: int) -> dict[str, object]:
    """Return the job of a whole run; labels and distances count as growth."""
    return {"what": "train", "budget": budget, "steps": steps, "threads": threads}


def assign(threads: int) -> dict[str, object]:
    """Return the job of one assignment pass, beyond rows, centers and labels."""
    return {"what": "assign", "threads": threads}


def allowed_mb(rows: Rows, budget: int | None) -> float:
    """Return what a run may take: the budget, labels and distances of the rows, and SLACK."""
    if budget is None:
        budget = max(256 << 20, rows.nbytes // 4)
    return (budget + 12 * len(rows) + SLACK) / 2**20


def _measure(folder: str, job: dict[str, object]) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", folder, json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def _status_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _main(folder: str, text: str) -> None:
    job = json.loads(text)
    rows, centers = (np.load(Path(folder, name)) for name in ("rows.npy", "centers.npy"))
    labels = np.full(len(rows), -1, np.int32)  # written now, so that its pages count as X's do
    # A first small run, so that what a library loads once is not counted.
    ours.train(rows[: len(centers) + 1].copy(), centers, 1, job["threads"])
    if job["what"] == "train":
        del labels
    # Lowers the recorded peak to what is in use now. Where refused, the answer is an upper bound.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _status_mb("VmRSS")
    if job["what"] == "train":
        ours.train(rows, centers, job["steps"], job["threads"], memory_budget=job["budget"])
    else:
        ours.assign(rows, centers, labels, job["threads"])
    print(_status_mb("VmHWM") - before)


if __name__ == "__main__":
    _main(*sys.argv[1:])
