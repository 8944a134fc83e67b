"""A start on a sample: full-batch steps on some of the rows, before the first step on all.

Coarse to fine: the first moves of the centers are large, and a sample shows where to. Refining
first centers on samples is Bradley and Fayyad's (1998, "Refining initial points for k-means
clustering"); here it is one sample, and the run goes on with all rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from shoal.checks import warn_user
from shoal.config import Parameters
from shoal.executors.data import Data
from shoal.state import State
from shoal.steps.algorithm import Step, chosen

logger = logging.getLogger("shoal")

#: With fewer rows per cluster, as many full passes as take the same time mostly go as far.
ROWS_PER_CLUSTER = 600


def is_enough(data: Data, rows: int, parameters: Parameters) -> bool:
    """Whether a sample ``data`` of so many rows can train the centers; says where it hardly can."""
    k, few = parameters.num_clusters, data.scan().positive
    if few < k:
        warn_user(
            f"start_on_sample: the sample has {few} rows with a weight, fewer than the {k} "
            "clusters, so training starts on all rows. Use a larger part of the rows"
        )
        return False
    if rows < ROWS_PER_CLUSTER * k:
        warn_user(
            f"start_on_sample: there are {rows / k:.3g} rows per cluster. Below {ROWS_PER_CLUSTER} "
            "a start on all rows (start_on_sample=False) mostly goes as far in the same time"
        )
    return True


def steps(state: State, data: Data, rows: int, parameters: Parameters) -> Iterator[Step]:
    """The steps that are left on a sample ``data`` of so many rows; none counts as a step.

    They end early where no label changes.
    """
    if not is_enough(data, rows, parameters):
        return
    if parameters.empty_clusters == "error":  # they may have rows all the same
        parameters = parameters._replace(empty_clusters="keep")
    algorithm, left = chosen(parameters), state.sample_steps_left
    data.follow(state.clusters_before)
    while left:
        made = algorithm.apply(state, data, parameters)
        left = left - 1 if made.found.changes else 0
        before = made.state.clusters_before if left else None  # of the sample, not of all rows
        state = made.state.replace(
            global_step=state.global_step, sample_steps_left=left, clusters_before=before
        )
        yield made._replace(state=state)
