"""Fixtures that tests in several files ask for."""

from __future__ import annotations

from typing import Any

import pytest
from estimator_helpers import METRICS
from helpers import make_rows

import shoal


@pytest.fixture(params=METRICS)
def trained(request: pytest.FixtureRequest) -> tuple[shoal.KMeansClustering, Any, str]:
    """A model trained to its end by full batches, its rows and its metric."""
    rows = make_rows()
    model = shoal.KMeansClustering(5, distance_metric=request.param, use_mini_batch=False)
    return model.fit(rows), rows, request.param
