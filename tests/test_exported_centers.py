"""Centers as they leave a model: what people read from its files is what `clusters()` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shoal
from shoal import load_model, save_model

X = np.random.default_rng(8).normal(size=(200, 3)) + 0.5


@pytest.mark.parametrize("metric", ["squared_euclidean", "cosine"])
@pytest.mark.parametrize(
    "how",
    [
        {"use_mini_batch": False},
        {"use_mini_batch": True},
        {"use_mini_batch": True, "mini_batch_steps_per_iteration": 3},
    ],
    ids=["full batch", "mini-batch", "two copies"],
)
@pytest.mark.parametrize("steps", [1, 4])
def test_centers_in_a_file_are_those_of_clusters_and_training_goes_on(
    metric: str, how: dict[str, Any], steps: int, tmp_path: Path
) -> None:
    model = shoal.KMeansClustering(4, distance_metric=metric, **how)
    model.fit(X, steps=steps, batch_size=None if how["use_mini_batch"] is False else 50)
    save_model(model, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        centers = file["clusters"]
    assert np.array_equal(centers, model.clusters())
    if metric == "cosine":
        assert np.allclose(np.linalg.norm(centers, axis=1), 1, rtol=1e-15)
    again = load_model(tmp_path / "model.npz")
    for name in ("clusters", "clusters_updated", "counts"):
        stored = model.get_variable_value(name), again.get_variable_value(name)
        assert np.array_equal(*stored), name
    batch = {"batch_size": 50} if how["use_mini_batch"] else {}
    ends = [one.fit(X, steps=3, **batch).clusters() for one in (model, again)]
    assert np.array_equal(*ends)
