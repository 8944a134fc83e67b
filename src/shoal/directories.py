"""Where a model is kept: methods of ``KMeansClustering``, as the later estimator had them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from shoal.evaluation import check_name, eval_folder
from shoal.storage.model_dir import ModelDir


class Kept(Protocol):
    """A model that may have a directory."""

    @property
    def model_dir(self) -> str | None:
        """The directory."""


def latest_checkpoint(self: Kept) -> str | None:
    """The path of the newest checkpoint in ``model_dir``; None where there is none."""
    if self.model_dir is None:
        return None
    steps = ModelDir(Path(self.model_dir)).steps()
    return str(steps[max(steps)]) if steps else None


def eval_dir(self: Kept, name: str | None = None) -> str | None:
    """The directory that ``evaluate(name=name)`` writes in; None without ``model_dir``."""
    name = check_name(name)
    return None if self.model_dir is None else str(eval_folder(self.model_dir, name))
