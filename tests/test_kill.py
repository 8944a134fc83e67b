"""Killed anywhere, training resumes and ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import kill
import numpy as np
import pytest
from helpers import bits

import shoal
from shoal.storage import files as durable
from shoal.storage import model_dir

X = np.random.default_rng(4).normal(size=(400, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", kill.JOBS)
def test_killed_at_random_instants(tmp_path: Path, name: str) -> None:
    """A dozen kills in all; ``python tests/kill.py --kills 200`` does more."""
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    kill.write_data(tmp_path)
    killer = kill.Killer(tmp_path, random.Random(seed))
    while killer.kills < 2:
        assert killer.run(name, 2 - killer.kills)


def new(folder: Path, mini_batch: bool) -> shoal.KMeansClustering:
    return shoal.KMeansClustering(
        5,
        model_dir=str(folder),
        use_mini_batch=mini_batch,
        config=shoal.RunConfig(
            progress=False,
            save_summary_steps=None,
            save_checkpoints_steps=1,
            keep_checkpoint_max=2,
        ),
    )


def fit(model: shoal.KMeansClustering, max_steps: int, **given: Any) -> shoal.KMeansClustering:
    size = 60 if model.get_params()["use_mini_batch"] else None
    return model.fit(X, batch_size=size, max_steps=max_steps, **given)


class DeadlySystem:
    """``os``, as the code that writes sees it: the call of number ``last`` is not survived."""

    CALLS = ("open", "write", "fsync", "close", "replace", "unlink")

    def __init__(self, last: int, after: bool, counting: bool) -> None:
        self.last, self.after, self.counting = last, after, counting
        self.calls = -1

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.CALLS:
            return real

        def call(*given: Any) -> Any:
            self.calls += self.counting
            deadly = self.counting and self.calls == self.last
            if deadly and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            if deadly and name == "write":
                given = (given[0], given[1][: len(given[1]) // 2])
            try:
                return real(*given)
            finally:  # what is to be removed may not be there
                if deadly:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    def before_step(self, context: Any) -> None:
        """As a monitor: calls count from here on."""
        self.counting = self.counting or context.step == 3


def in_a_child(folder: Path, mini_batch: bool, system: DeadlySystem) -> int:
    """Train in a forked child; the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        try:
            durable.os = model_dir.os = system  # type: ignore[attr-defined]
            fit(new(folder, mini_batch), 6, monitors=[system])
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.slow
@pytest.mark.parametrize("mini_batch", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_killed_at_every_system_call(
    tmp_path: Path, mini_batch: bool, first: bool, after: bool
) -> None:
    """Before and after each call of the writing of a checkpoint: the first, or one with rotation.

    ``after``: half of a write is done, or the whole of any other call.
    """
    expected = bits(fit(new(tmp_path / "whole", mini_batch), 6))
    longer = bits(fit(new(tmp_path / "whole", mini_batch), 7))
    for number in range(37):
        folder = tmp_path / str(number)
        system = DeadlySystem(number, after, counting=first)
        assert in_a_child(folder, mini_batch, system) == signal.SIGKILL
        assert bits(fit(new(folder, mini_batch), 6)) == expected, f"killed at call {number}"
        assert bits(new(folder, mini_batch)) == expected
        assert bits(fit(new(folder, mini_batch), 7)) == longer
        left = sorted(path.name for path in folder.rglob("*") if path.is_file())
        kept = [f"step-00000000{step}.safetensors" for step in (6, 7)]
        assert left == [".lock", "checkpoint.json", "shoal.json", *kept]
