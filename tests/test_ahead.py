"""Reading ahead in a thread: Ctrl-C is a KeyboardInterrupt at any instant; no thread is left."""

from __future__ import annotations

import _thread
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

import shoal
from shoal.sources import ahead as module
from shoal.sources.ahead import ahead
from shoal.sources.limits import Limits

X = np.random.default_rng(0).normal(size=(20_000, 8)).astype(np.float32)


def readers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "shoal-read-ahead"]


def none_is_left() -> bool:
    """One that was interrupted while it was started may take a moment to find out."""
    for _ in range(100):
        if not readers():
            return True
        time.sleep(0.01)
    return False


def interrupted_after(seconds: float) -> None:
    """Send a real SIGINT to this process."""

    def send() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)

    _thread.start_new_thread(send, ())


def numbers(closed: list[str] | None = None) -> Iterator[int]:
    try:
        yield from range(5)
    finally:
        if closed is not None:
            closed.append(threading.current_thread().name)


def test_items_come_in_order_and_are_closed_by_the_thread_that_made_them() -> None:
    closed: list[str] = []
    assert list(ahead(numbers(closed))) == [0, 1, 2, 3, 4]
    half = ahead(numbers(closed))
    assert list(itertools.islice(half, 2)) == [0, 1]
    half.close()
    assert list(half) == []
    assert closed == ["shoal-read-ahead"] * 2
    assert not readers()


def test_an_item_that_is_used_is_held_by_no_one_else() -> None:

    def items() -> Iterator[Any]:
        for _ in range(4):
            yield np.zeros(10)

    reading = ahead(items())
    first = next(reading)
    base = sys.getrefcount(np.zeros(10))
    time.sleep(0.05)  # the next one is made meanwhile
    assert sys.getrefcount(first) <= base + 1
    reading.close()


@pytest.mark.parametrize("left_half_way", [False, True])
def test_every_interrupt_arrives_wherever_it_falls(
    left_half_way: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a finalizer, and while the thread is started."""
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(400):
        ends = time.monotonic() + 5
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            interrupted_after(rng.uniform(0, 0.004))
            while time.monotonic() < ends:
                for item in ahead(numbers()):
                    if left_half_way and item == 2:
                        break
    assert none_is_left()
    assert not lost


@pytest.mark.parametrize("runs", [False, True])
def test_interrupted_while_the_thread_is_started(
    runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        if runs:
            start(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ahead(numbers())
    assert none_is_left()


@pytest.mark.slow
def test_an_interrupt_in_a_finalizer_is_raised_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    join, times = module._join, iter([True, False])

    def interrupted(thread: threading.Thread) -> None:
        if next(times):
            raise KeyboardInterrupt
        join(thread)

    half = ahead(numbers())
    assert next(half) == 0
    monkeypatch.setattr(module, "_join", interrupted)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        del half
        time.sleep(10)
    assert not readers()
    assert not lost


@pytest.mark.parametrize("end", ["", "sys.exit(3)"])
def test_a_program_ends_with_a_reader_half_way(end: str) -> None:
    code = f"""
import sys, time
from shoal.sources.ahead import ahead
def items():
    for i in range(5):
        time.sleep(.05)
        yield i
reading = ahead(items())
next(reading)
{end}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (3 if end else 0, "")


def file_of(kind: str, folder: Path) -> Path:
    table = pa.table({f"c{i}": X[:, i] for i in range(8)})
    path = folder / f"x.{kind}"
    if kind == "parquet":
        parquet.write_table(table, path, row_group_size=2000)
    elif kind == "arrow":
        options = ipc.IpcWriteOptions(compression="lz4")
        with (
            pa.OSFile(str(path), "wb") as out,
            ipc.new_file(out, table.schema, options=options) as writer,
        ):
            writer.write_table(table, 2000)
    else:
        np.savetxt(path, X[:2000], fmt="%.4f", delimiter=",")
    return path


@pytest.mark.parametrize("budget", [0, None])
@pytest.mark.parametrize("mini_batch", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv"])
def test_interrupts_of_training_on_files(
    kind: str,
    mini_batch: bool,
    budget: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    path = shoal.open(
        file_of(kind, tmp_path), limits=Limits(csv_kept=0, csv_page=1 << 14), shuffle=True
    )
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)

    def new() -> shoal.KMeansClustering:
        return shoal.KMeansClustering(
            8, initial_clusters=X[:8], use_mini_batch=mini_batch, memory_budget=budget
        )

    new().fit(path, steps=1)  # imports: Python itself loses interrupts there
    model, done = new(), 0
    for _ in range(12):
        interrupted_after(rng.uniform(0.001, 0.06))
        with pytest.raises(KeyboardInterrupt):
            model.fit(path, steps=10**7, batch_size=700 if mini_batch else None)
        assert none_is_left()
        if model.is_fitted:
            done = model.state.global_step
    assert not lost
    if done:
        other = new().fit(path, steps=done, batch_size=700 if mini_batch else None)
        assert other.state.clusters.tobytes() == model.state.clusters.tobytes()
