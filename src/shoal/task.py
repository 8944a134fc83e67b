"""A run as a value: parameters, how it behaves, when it ends, who watches."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.config import Parameters, RunConfig
from shoal.hooks.base import Monitors
from shoal.shards.workspace import Workspace
from shoal.steps.ending import Stop


@dataclass(frozen=True)
class Task:
    """What is to be done with some data."""

    parameters: Parameters
    run: RunConfig = field(default_factory=RunConfig)
    stop: Stop = field(default_factory=Stop)
    monitors: Monitors = field(default_factory=lambda: Monitors([]))
    on_bad_rows: str = "error"
    keep_seeding: bool = False  # data may end before all centers are found: more will come
    workspace: Workspace = field(default_factory=Workspace)  # of mini-batches
