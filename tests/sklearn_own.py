"""scikit-learn's own tests of k-means, as they are installed, with its classes replaced by ours."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import sklearn.cluster

import shoal.sklearn

#: Private functions of scikit-learn's that its tests also look into.
PRIVATE = {
    "_init_centroids",
    "_euclidean_dense_dense_wrapper",
    "_euclidean_sparse_dense_wrapper",
    "_inertia_dense",
    "_inertia_sparse",
    "_relocate_empty_clusters_dense",
    "_relocate_empty_clusters_sparse",
    "_labels_inertia",
    "_mini_batch_step",
}


def own_tests(name: str) -> dict[str, Callable[..., Any]]:
    """The tests of a module of scikit-learn's, on our classes, but for those of private parts."""
    module = _imported(name)
    every = {test: it for test, it in vars(module).items() if test.startswith("test_")}
    public = {test: it for test, it in every.items() if not PRIVATE & set(it.__code__.co_names)}
    assert len(public) > 0.8 * len(every) > 0
    return public


def _imported(name: str) -> ModuleType:
    sys.modules.pop(name, None)
    with pytest.MonkeyPatch.context() as patch:
        for ours in shoal.sklearn.__all__:
            patch.setattr(sklearn.cluster, ours, getattr(shoal.sklearn, ours))
        return importlib.import_module(name)
