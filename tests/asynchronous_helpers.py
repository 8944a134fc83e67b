"""Asynchronous training, and which rows it has trained on."""

from __future__ import annotations

from typing import Any

import numpy as np

import shoal
from shoal.steps.order import Order

Array = Any


def one_cluster(executor: Any, config: Any, start: float = 0.0, **options: Any) -> Any:
    """Its center is the mean of what it began with and of all rows that it was trained on."""
    run = shoal.RunConfig(asynchronous=True, executor=executor, **config)
    first = np.full((1, 4), start)
    return shoal.KMeansClustering(1, initial_clusters=first, config=run, **options)


def assert_each_row_once(one: Any, rows: Array) -> None:
    """What the center is the mean of: all rows up to where each part is, as often as it was."""
    positions = one.get_variable_value("workers")
    edges = [len(rows) * i // len(positions) for i in range(len(positions) + 1)]
    total, number = np.zeros(rows.shape[1]), 1
    for part, (epoch, row) in enumerate(positions):
        mine = rows[edges[part] : edges[part + 1]]
        order = Order(part * 2**128, epoch, len(mine), rows.shape[1]).at(0, row)
        total += epoch * mine.sum(axis=0) + mine[order].sum(axis=0)
        number += epoch * len(mine) + row
    assert one.get_variable_value("counts").tolist() == [number]
    np.testing.assert_allclose(one.clusters()[0], total / number, rtol=1e-9)
