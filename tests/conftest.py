"""Fixtures that tests in several files ask for."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from estimator_helpers import METRICS
from helpers import make_rows

import shoal
from shoal.executors import PickledExecutor

# A shell that starts the tests in the background has them ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=METRICS)
def trained(request: pytest.FixtureRequest) -> tuple[shoal.KMeansClustering, Any, str]:
    """A model trained to its end by full batches, its rows and its metric."""
    rows = make_rows()
    model = shoal.KMeansClustering(5, distance_metric=request.param, use_mini_batch=False)
    return model.fit(rows), rows, request.param


@pytest.fixture(params=["here", pytest.param("through pickle", marks=pytest.mark.slow)])
def placed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the rows of all programs and estimators of a test live."""
    if request.param != "here":
        program, estimator = shoal.KMeans.__init__, shoal.KMeansClustering.__init__

        def placed_program(self: shoal.KMeans, *given: Any, **options: Any) -> None:
            program(self, *given, **{"executor": PickledExecutor(3), **options})

        def placed_estimator(self: shoal.KMeansClustering, *given: Any, **options: Any) -> None:
            config = shoal.RunConfig(executor=PickledExecutor(3))
            estimator(self, *given, **{"config": config, **options})

        monkeypatch.setattr(shoal.KMeans, "__init__", placed_program)
        monkeypatch.setattr(shoal.KMeansClustering, "__init__", placed_estimator)
    return str(request.param)
