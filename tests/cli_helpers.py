"""A shell for tests of the command line, and data for it."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import shoal
from shoal.cli import main
from shoal.sources.limits import USUAL

X = np.random.default_rng(8).normal(size=(400, 3))
NAMES = ["a", "b", "c"]
KINDS = [".npy", ".npz", ".csv", ".parquet"]


def write(path: Path, x: Any = X, **more: Any) -> str:
    """Write rows as the suffix says; tables name them a, b, c; ``more`` are further columns."""
    columns = {name: x[:, i] for i, name in enumerate(NAMES)} | more
    if path.suffix == ".npy":
        np.save(path, x)
    elif path.suffix == ".npz":
        np.savez(path, x=x)
    elif path.suffix == ".parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(np.asarray(c).tolist() for c in columns.values()), strict=True))
    return str(path)


class Shell:
    """Runs commands in this process."""

    limits = USUAL

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, command: str | Sequence[str]) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        words = shlex.split(command) if isinstance(command, str) else list(command)
        self._capsys.readouterr()
        try:
            code = main(words, self.limits)
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self._capsys.readouterr()
        assert "unexpected" not in err
        return code, out, err

    def ok(self, command: str | Sequence[str]) -> str:
        """Output of a command that succeeds."""
        code, out, err = self.run(command)
        assert code == 0, err
        return out

    def json(self, command: str) -> dict[str, Any]:
        """What a command prints as JSON."""
        found: dict[str, Any] = json.loads(self.ok(f"{command} --json"))
        return found

    def error(self, command: str | Sequence[str], *words: str, code: int = 1) -> None:
        """A command that fails with one line, which holds the words, and with no output."""
        ended, out, err = self.run(command)
        assert (ended, out) == (code, "")
        usual = ("centers chosen", "columns in use", "continuing from")
        lines = [line for line in err.splitlines() if not any(one in line for one in usual)]
        assert len(lines) == 1, err
        assert lines[0].startswith("shoal: ")
        for word in words:
            assert word in lines[0]


def trained(**given: Any) -> shoal.KMeansClustering:
    defaults = {"initial_clusters": "kmeans_plus_plus", "use_mini_batch": False}
    return shoal.KMeansClustering(5, **(defaults | given))
