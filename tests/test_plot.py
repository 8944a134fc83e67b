"""shoal.plot, and what a model shows of itself in a notebook."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import make_rows

import shoal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

X = make_rows(300, 4)
MODEL = shoal.KMeansClustering(5, use_mini_batch=False).fit(X)


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    pyplot.close("all")


def test_axes_are_returned_and_taken() -> None:
    history = shoal.hooks.History()
    MODEL.fit(X, steps=3, monitors=[history])
    choice = shoal.choose_k(X, range(2, 5))
    _, (ax, other) = pyplot.subplots(1, 2)
    for draw in (
        lambda **how: shoal.plot.plot_loss(history, **how),
        lambda **how: shoal.plot.plot_sizes(MODEL, X, **how),
        lambda **how: shoal.plot.plot_map(MODEL, X, **how),
        lambda **how: shoal.plot.plot_k(choice, **how),
    ):
        assert draw(ax=ax) is ax
        assert draw(ax=ax).get_xlabel()
        assert draw() not in (ax, other)
    assert not other.has_data()


def test_what_is_drawn() -> None:
    assert shoal.plot.plot_loss([3.0, 2.0]).lines[0].get_ydata().tolist() == [3.0, 2.0]
    sizes = sorted(np.bincount(MODEL.labels(X)).tolist(), reverse=True)
    for given in ((MODEL, X), (MODEL.labels(X),)):
        bars = shoal.plot.plot_sizes(*given).patches
        assert [bar.get_height() for bar in bars] == sizes
    rows, centers = shoal.plot.plot_map(MODEL, X[:, :4], sample_size=100).collections
    assert (len(rows.get_offsets()), len(centers.get_offsets())) == (100, 5)
    places = shoal.to_sphere([1.0, 2, 50], [3.0, 4, 60])
    model = shoal.KMeansClustering(None, initial_clusters=places, distance_metric="cosine")
    ax = shoal.plot.plot_map(model, places)
    assert "longitude" in ax.get_xlabel()
    choice = shoal.choose_k(X, range(2, 6))
    line = shoal.plot.plot_k(choice, "inertia", color="red").lines[0]
    assert line.get_ydata().tolist() == choice.inertia.tolist()
    assert line.get_color() == "red"


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(shoal.BadInputError, match="no history of losses"):
        shoal.plot.plot_loss(MODEL)
    with pytest.raises(shoal.BadInputError, match="give a model and data, or labels"):
        shoal.plot.plot_sizes(MODEL)
    with pytest.raises(shoal.BadInputError, match="choice is of type int"):
        shoal.plot.plot_k(3)
    choice = shoal.choose_k(X, range(2, 5))
    with pytest.raises(shoal.BadInputError, match="index is 'elbow'"):
        shoal.plot.plot_k(choice, "elbow")
    with pytest.raises(shoal.BadInputError, match="gap"):
        shoal.plot.plot_k(choice, "gap")


def test_a_model_shows_itself_in_a_notebook() -> None:
    hostile = "<script>alert(1)</script>"
    model = shoal.KMeansClustering(2, use_mini_batch=False, feature_columns=[hostile, "b"])
    assert "not trained yet" in model._repr_html_()
    model.fit({hostile: X[:, 0], "b": X[:, 1]})
    shown = model._repr_html_()
    assert "2 clusters in 2 columns" in shown
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert "use_mini_batch" in shown
    assert "memory_budget" not in shown
    assert len(shown) < 3000
    wide = shoal.KMeansClustering(None, initial_clusters=X, random_seed=None)
    assert "array of shape (300, 4)" in wide._repr_html_()
