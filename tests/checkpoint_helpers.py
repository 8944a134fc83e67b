"""Models that are kept in a directory, and what interrupts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal import KMeansClustering as Model
from shoal import (
    RunConfig,
)

X = np.random.default_rng(3).normal(size=(500, 4)).astype(np.float32)
KINDS = ["mini-batch", "two copies", "cosine", "full batch", "full batch, cosine"]
BATCH = 90
EVERY = RunConfig(progress=False, tensorboard=False, save_checkpoints_steps=1)


def new(folder: Path | None = None, kind: str = "mini-batch", **given: Any) -> Model:
    standard: dict[str, Any] = {
        "num_clusters": 7,
        "random_seed": 11,
        "use_mini_batch": not kind.startswith("full batch"),
        "mini_batch_steps_per_iteration": 3 if kind == "two copies" else 1,
        "distance_metric": "cosine" if "cosine" in kind else "squared_euclidean",
        "config": EVERY,
    }
    return Model(model_dir=None if folder is None else str(folder), **{**standard, **given})


def fit(model: Model, x: Any = X, **given: Any) -> Model:
    size = BATCH if model.get_params()["use_mini_batch"] else None
    return model.fit(x, batch_size=size, **given)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def step_file(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:09d}.safetensors"


class StopAt:
    """A monitor that interrupts."""

    def __init__(self, step: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.step, self.error = step, error

    def before_step(self, context: Any) -> None:
        if context.step == self.step:
            raise self.error


def interrupted(model: Model, step: int, **given: Any) -> Model:
    with pytest.raises(KeyboardInterrupt):
        fit(model, monitors=[StopAt(step)], **given)
    return model
