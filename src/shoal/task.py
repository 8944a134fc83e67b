"""A run as a value: parameters, how it behaves, when it ends, who watches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shoal.config import Parameters, RunConfig
from shoal.shards.workspace import Workspace
from shoal.steps.ending import Stop


class Task(NamedTuple):
    """What is to be done with some data."""

    parameters: Parameters
    run: RunConfig
    stop: Stop
    workspace: Workspace  # of mini-batches
    monitors: Sequence[object] = ()
    on_bad_rows: str = "error"
    apart: bool = False  # a piece of the data: more will come, and its position is nowhere's
