"""Asynchronous mini-batches by workers of a Ray cluster, which answer when they can."""

from __future__ import annotations

from typing import Any

import pytest
from asynchronous_helpers import assert_each_row_once, one_cluster
from helpers import bits, make_rows
from ray_helpers import assert_nothing_left, cluster, left, ray

import shoal
from shoal.executors.ray import RayExecutor

__all__ = ["cluster"]  # a fixture
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]


def test_one_worker_gives_the_bits_of_synchronous_training() -> None:
    rows = make_rows(2000)
    found = []
    for executor, asynchronous in ((None, False), (RayExecutor(1), True)):
        config = shoal.RunConfig(executor=executor, asynchronous=asynchronous)
        one = shoal.KMeansClustering(5, initial_clusters="kmeans_parallel", config=config)
        found.append(bits(one.fit(rows, batch_size=100, steps=30)))
    assert found[0] == found[1]
    assert_nothing_left()


def test_each_row_is_trained_on_once_in_the_order_of_arrival() -> None:
    rows = make_rows(4001)
    ages = []

    class Ages:
        def after_step(self, context: Any) -> None:
            ages.append(context.staleness)

    one = one_cluster(RayExecutor(3), {"max_staleness": 4})
    one.fit(rows, batch_size=50, steps=150, monitors=[Ages()])
    assert_each_row_once(one, rows)
    print(f"staleness up to {max(ages)}")
    assert len(ages) == 150
    assert 1 <= max(ages) <= 4
    assert_nothing_left()


def test_training_goes_on_where_a_worker_is_killed() -> None:
    rows = make_rows(4001)
    killed = []

    class Accident:
        def after_step(self, context: Any) -> None:
            if context.step in (20, 60):
                actor = ray.get_actor(left()[context.step % 3])
                ray.kill(actor)
                killed.append(context.step)

    one = one_cluster(RayExecutor(3), {}).fit(rows, batch_size=50, steps=120, monitors=[Accident()])
    assert killed == [20, 60]
    assert one.get_variable_value("global_step") == 120
    assert_each_row_once(one, rows)
    assert_nothing_left()
