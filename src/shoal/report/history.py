"""How training went: losses by step, and what changed from checkpoint to checkpoint."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shoal.errors import BadInputError, CheckpointError
from shoal.hooks.summaries import METRICS_FILE
from shoal.metric import users_clusters
from shoal.shards.kernels import nearest
from shoal.sources.sparse import Matrix
from shoal.state import State
from shoal.storage import checkpoint, safetensors
from shoal.storage.jsonl import whole_lines
from shoal.storage.model_dir import ModelDir
from shoal.types import Floats

#: Losses that are drawn at most.
MOST_LOSSES = 2000


class Losses(NamedTuple):
    """Losses [m] of steps [m], per row where that is known."""

    steps: list[int]
    values: list[float]
    per_row: bool


class Change(NamedTuple):
    """A checkpoint, beside the one before it."""

    step: int
    loss: float  # per row of the sample
    moved: float | None  # root of the mean squared move of the centers
    farthest: float | None  # the largest move,
    of: int | None  # and of which center
    relabelled: float | None  # share of the sample with another center


def losses_of(history: Any) -> Losses | None:
    """Losses of a training run.

    Parameters
    ----------
    history
        A ``shoal.hooks.History``, its records, a list of losses; the path of a ``metrics.jsonl`` or
        of the ``model_dir`` that holds one; a model with a ``model_dir``; or None.

    Returns
    -------
    Losses or None
        None where there is none to be had.

    Raises
    ------
    BadInputError
        If it is something else.
    """
    if history is None:
        return None
    if isinstance(history, (str, os.PathLike)):
        return _from_file(Path(history))
    if hasattr(history, "model_dir"):
        return None if history.model_dir is None else losses_of(history.model_dir)
    records = getattr(history, "records", history)
    if isinstance(records, (str, bytes)) or not hasattr(records, "__iter__"):
        raise BadInputError(
            f"history is of type {type(history).__name__}; it must be a shoal.hooks.History, a "
            "list of losses, a model_dir, or a metrics.jsonl"
        )
    return _of_records(list(records))


def _from_file(path: Path) -> Losses | None:
    file = path / METRICS_FILE if path.is_dir() else path
    if not file.is_file():
        if path.is_dir():
            return None
        raise BadInputError(f"there is no history {path}: give a metrics.jsonl, or a model_dir")
    try:
        with open(file, "rb") as opened:
            size = whole_lines(opened)  # of a file that is being written, the last may be torn
            opened.seek(0)
            records = [json.loads(line) for line in opened.read(size).splitlines()]
    except (OSError, ValueError) as error:
        raise BadInputError(f"history {path} cannot be read: {error}") from None
    return _of_records(records)


def _of_records(records: Sequence[Any]) -> Losses | None:
    try:
        if all(isinstance(one, dict) for one in records):
            per_row = all("loss_per_row" in one for one in records)
            name = "loss_per_row" if per_row else "loss"
            steps = [int(one["step"]) for one in records]
            values = [float(one[name]) for one in records]
        else:
            per_row, values = False, [float(one) for one in records]
            steps = list(range(1, len(values) + 1))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"history holds no losses by step: {error!r}") from None
    known = [at for at, value in enumerate(values) if math.isfinite(value)]
    if len(known) > MOST_LOSSES:
        some = np.unique(np.linspace(0, len(known) - 1, MOST_LOSSES).round().astype(int))
        known = [known[at] for at in some.tolist()]
    if not known:
        return None
    return Losses([steps[at] for at in known], [values[at] for at in known], per_row)


def changes_of(
    model_dir: str | os.PathLike[str] | None, rows: Matrix, like: State, metric: str, threads: int
) -> list[Change]:
    """The checkpoints in a directory, each beside the one before; [] where there is none.

    Those that are damaged, or of other centers, are left out. Losses and labels are of ``rows``,
    a sample.
    """
    if model_dir is None:
        return []
    found: list[Change] = []
    before: tuple[Floats, Any] | None = None
    for step, path in sorted(ModelDir(Path(model_dir)).steps().items()):
        try:
            state = checkpoint.read(path).state
        except (OSError, safetensors.FormatError, CheckpointError):
            continue
        if not state.initialized or state.clusters.shape != like.clusters.shape:
            continue
        labels, distances = nearest(rows, state.clusters, metric, threads)
        centers = users_clusters(state.clusters, metric).astype(np.float64)
        loss = float(distances.mean()) if len(distances) else math.nan
        if before is None:
            found.append(Change(step, loss, None, None, None, None))
        else:
            moves = np.linalg.norm(centers - before[0], axis=1)
            other = float(np.mean(labels != before[1]))
            farthest, of = float(moves.max()), int(moves.argmax())
            moved = float(np.sqrt(np.mean(moves**2)))
            found.append(Change(step, loss, moved, farthest, of, other))
        before = centers, labels
    return found
