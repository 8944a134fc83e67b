"""A source as parts: what each shard of a run is made of, wherever it will live."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from shoal.config import KMEANS_PLUS_PLUS_INIT
from shoal.executors.base import Executor
from shoal.shards.part import Part
from shoal.sources.open import Source
from shoal.sources.paged import PagedSource
from shoal.steps.algorithm import chosen
from shoal.task import Task

logger = logging.getLogger("shoal")


def parts_of(
    source: Source,
    task: Task,
    executor: Executor,
    kept_there: bool,
    progress: Callable[[int], None],
) -> list[Part]:
    """Cut a source into as many parts as an executor wants, each with its part of the budget.

    Parameters
    ----------
    source
        The rows, which are yet to be read.
    task
        What is done with them.
    executor
        Where they will live.
    kept_there
        Whether shards keep the rows of files once they are decoded.
    progress
        Hears of rows read in a pass in this process.
    """
    parameters, number = task.parameters, executor.num_parts
    looked = (parameters.distance_metric, parameters.num_threads, task.on_bad_rows)
    shares: Sequence[Source]
    if not source.any_order:
        shares = source.split(number) if source.spreads else [source]
        budgets = [parameters.budget(0) // len(shares)] * len(shares)
    else:
        _tell_of_passes(source, task)
        shares = pages = [source] if number == 1 and executor.here else source.split(number)
        budgets = _budgets(source, pages, task)
    # What is merged is apart.
    workspace = task.workspace if len(shares) == 1 else None
    return [
        Part(share, *looked, budget, kept_there, progress, workspace)
        for share, budget in zip(shares, budgets, strict=True)
    ]


def _budgets(source: PagedSource, shares: list[PagedSource], task: Task) -> list[int]:
    """Bytes that may be kept beside each share."""
    parameters = task.parameters
    if not source.resident:
        return [parameters.budget(0) // len(shares)] * len(shares)
    if not chosen(parameters).takes_all:
        return [0] * len(shares)
    sizes = [share.nbytes for share in shares]
    size = max(sum(sizes), 1)
    return [parameters.budget(size) * one // size for one in sizes]


def _tell_of_passes(source: PagedSource, task: Task) -> None:
    method = task.parameters.initial_clusters
    if source.resident or not isinstance(method, str) or method != KMEANS_PLUS_PLUS_INIT:
        return
    logger.info(
        "%s is not in memory: k-means++ reads it once per center, k-means|| "
        "(kmeans_parallel) %d times in all, k-MC² (kmc2) about once per 40 centers",
        source.name,
        task.parameters.kmeans_parallel_rounds + 1,
    )
