"""A run as a value: parameters, how it behaves, when it ends, who watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shoal.config import Parameters, RunConfig
from shoal.shards.workspace import Workspace
from shoal.steps.ending import Stop


@dataclass(frozen=True)
class Task:
    """What is to be done with some data."""

    parameters: Parameters
    run: RunConfig = field(default_factory=RunConfig)
    stop: Stop = field(default_factory=Stop)
    monitors: Sequence[object] = ()
    on_bad_rows: str = "error"
    apart: bool = False  # a piece of the data: more will come, and its position is nowhere's
    workspace: Workspace = field(default_factory=Workspace)  # of mini-batches
