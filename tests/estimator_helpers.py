"""Estimators to train, and a monitor that keeps what it is told."""

from __future__ import annotations

import numpy as np
import pytest

import shoal

METRICS = ("squared_euclidean", "cosine")
metrics = pytest.mark.parametrize("metric", METRICS)


def full_batch(centers, **more):
    centers = np.asarray(centers, np.float64)
    return shoal.KMeansClustering(None, initial_clusters=centers, use_mini_batch=False, **more)


def mini_batch(centers, **more):
    centers = np.asarray(centers, np.float64)
    return shoal.KMeansClustering(None, initial_clusters=centers, **more)


class Recorder:
    """A monitor that keeps what it is told."""

    def __init__(self, stop_at=None):
        self.events, self.steps, self.losses, self.clusters = [], [], [], []
        self.stop_at = stop_at

    def begin(self, context):
        self.events.append("begin")
        self.clusters.append(context.clusters)

    def before_step(self, _context):
        self.events.append("before_step")

    def after_step(self, context):
        self.events.append("after_step")
        self.steps.append(context.step)
        self.losses.append(context.loss)
        self.clusters.append(context.clusters)
        return context.step == self.stop_at

    def end(self, _context):
        self.events.append("end")


def step_of(model):
    return model.get_variable_value("global_step")
