"""What ends, forks or is no process like others while shoal is at work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import make_rows, write

BEGIN = """
import os, signal, sys, threading, time
import numpy as np
import shoal

rows = np.random.default_rng(0).normal(size=(200_000, 8)).astype(np.float32)
full = shoal.KMeansClustering(50, use_mini_batch=False)
"""


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, which must end."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


DAEMONS = {
    "array": "full.fit(rows, steps=10**6)",
    "model_dir": "shoal.KMeansClustering(50, 'run').fit(rows, batch_size=500, steps=10**6)",
    "Parquet": "full.fit('x.parquet', steps=10**6)",
    "predict": "full.fit(rows, steps=1), [full.labels(rows) for _ in range(10**6)]",
    "seeding": "shoal.KMeansClustering(10**4).fit(rows, steps=1)",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAEMONS)
def test_the_interpreter_ends_while_a_daemon_thread_is_at_work(kind: str, tmp_path: Path) -> None:
    rows = make_rows(20_000, 8, dtype=np.float32)
    if kind == "Parquet":
        write(tmp_path / "x.parquet", {f"c{i}": pa.array(rows[:, i]) for i in range(8)})
    work = f"threading.Thread(target=lambda: ({DAEMONS[kind]}), daemon=True).start()"
    for seconds in (0.2, 0.5):
        done = run(f"{work}\ntime.sleep({seconds})", tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_what_another_thread_imports(tmp_path: Path) -> None:
    rows = make_rows(300, 2, dtype=np.float32)
    write(tmp_path / "x.parquet", {"a": pa.array(rows[:, 0]), "b": pa.array(rows[:, 1])})
    program = """
thread = threading.Thread(target=shoal.open, args=["x.parquet"])
thread.start()
while "pyarrow" not in sys.modules and thread.is_alive():
    time.sleep(0)
assert thread.is_alive()  # it is importing
if (child := os.fork()) == 0:
    signal.alarm(60)
    shoal.KMeansClustering(2, num_threads=1).fit("x.parquet", steps=1)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread.join()
"""
    done = run(program, tmp_path)
    assert done.stdout == "7\n", done.stderr


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the module has another name")
def test_a_subinterpreter_is_refused(tmp_path: Path) -> None:
    program = """
import _xxsubinterpreters as interpreters
try:
    interpreters.run_string(interpreters.create(), "import sys; sys.path[:0] = %r; import shoal")
except Exception as error:
    print(error)
"""
    done = run(program % sys.path, tmp_path)
    assert "shoal cannot be imported in a subinterpreter" in done.stdout
    assert "use threads, or processes" in done.stdout
