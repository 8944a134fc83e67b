"""Distances that float32 has no room for, and losses beyond float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import shoal
from shoal.shards.kernels import as_loss


@pytest.mark.parametrize("size", [1e30, 1e-25])
def test_distances_out_of_the_range_of_float32_are_float64(size: float) -> None:
    rows = (np.random.default_rng(0).normal(size=(60, 3)) * size).astype("f4")
    model = shoal.KMeansClustering(3, use_mini_batch=False).fit(rows, steps=2)
    found: Any = model.predict(rows, as_iterable=False)
    centers = model.clusters().astype(float)
    wanted = ((rows.astype(float)[:, None] - centers) ** 2).sum(-1)
    assert found["scores"].dtype == found["all_scores"].dtype == np.float64
    np.testing.assert_array_equal(found["all_scores"], wanted)
    np.testing.assert_array_equal(found["scores"], wanted.min(1))
    np.testing.assert_array_equal(model.transform(rows), wanted)


def test_a_loss_beyond_float64_is_an_error_and_a_mean_within_is_given() -> None:
    x = np.arange(6.0).reshape(-1, 1)
    model = shoal.KMeansClustering(2, use_mini_batch=False).fit(x)
    light = model.evaluate(x * 1e-160, sample_weight=np.full(6, 1e200))
    assert np.isfinite(light["loss"])
    with pytest.raises(shoal.BadInputError, match="leaves the range of float64"):
        as_loss(1 << 2100)


@pytest.mark.parametrize("mini_batch", [False, True])
def test_rows_whose_squares_underflow_are_refused_and_not_called_equal(mini_batch: bool) -> None:
    x = np.random.default_rng(4).normal(size=(60, 3)) * 1e-165
    model = shoal.KMeansClustering(3, use_mini_batch=mini_batch)
    with pytest.raises(shoal.BadInputError, match=r"magnitude .*e-165 at most.*underflow.*Scale"):
        model.fit(x)
    assert not model.is_fitted
    model.fit(x * 1e165)
    assert shoal.KMeansClustering(3, distance_metric="cosine").fit(x).clusters().any()
    assert len(set(shoal.KMeansClustering(3).fit(x * 1e30).labels(x * 1e30).tolist())) == 3
