"""Plots of a model and its data, by matplotlib: each returns its axes, and takes ``ax=``.

What a report shows as a page is here one plot at a time, to be put into figures of one's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shoal.checks import one_of, whole_number
from shoal.choosing.choice import INDICES, KChoice
from shoal.choosing.plot import check_plots
from shoal.errors import BadInputError
from shoal.inference import Inference
from shoal.report.charts import colors_of
from shoal.report.given import Subject
from shoal.report.history import losses_of
from shoal.report.picked import Sample
from shoal.report.plane import plane_of
from shoal.shards.kernels import nearest
from shoal.sources.columns import Columns
from shoal.sources.open import open_named
from shoal.types import Array

__all__ = ["plot_k", "plot_loss", "plot_map", "plot_sizes"]


def plot_loss(history: Any, *, ax: Any = None, **style: Any) -> Any:
    """Draw the loss by step.

    Parameters
    ----------
    history
        A ``shoal.hooks.History``, its records, a list of losses, a ``metrics.jsonl``, the
        ``model_dir`` that holds one, or a model with a ``model_dir``.
    ax
        The axes of matplotlib to draw on; None: those of a new figure.
    **style
        Of ``Axes.plot``: ``color``, ``label`` …

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    BadInputError
        If there is no loss.

    Examples
    --------
    >>> import numpy as np, shoal
    >>> history = shoal.hooks.History()
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> model = shoal.KMeansClustering(3, use_mini_batch=False).fit(x, monitors=[history])
    >>> shoal.plot.plot_loss(history).get_xlabel()
    'step'
    """
    losses = losses_of(history)
    if losses is None:
        raise BadInputError(
            "there is no history of losses: train with a model_dir (save_summary_steps=1 for every "
            "step), or with monitors=[shoal.hooks.History()]"
        )
    ax = _axes(ax)
    marker = "o" if len(losses.steps) < 60 else None
    ax.plot(losses.steps, losses.values, **{"marker": marker, "markersize": 3, **style})
    ax.set_xlabel("step")
    ax.set_ylabel("loss per row" if losses.per_row else "loss")
    return ax


def plot_sizes(model: Any, data: Any = None, *, ax: Any = None, **style: Any) -> Any:
    """Draw how many rows each cluster has, the largest first.

    Parameters
    ----------
    model, data
        A trained model and its data, of any kind; or labels [n] alone, as ``labels`` gives them
        (-1: of no cluster).
    ax, **style
        As for ``plot_loss``; the style is that of ``Axes.bar``.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import shoal
    >>> [int(bar.get_height()) for bar in shoal.plot.plot_sizes([0, 1, 1, 1, 2, 2]).patches]
    [3, 2, 1]
    """
    sizes = np.sort(_sizes_of(model, data))[::-1]
    ax = _axes(ax)
    ax.bar(np.arange(len(sizes)), sizes, **style)
    ax.set_xlabel("clusters, the largest first")
    ax.set_ylabel("rows")
    return ax


def _sizes_of(model: Any, data: Any) -> Array:
    if data is not None:
        subject = Subject.of(model)
        sizes = np.zeros(len(subject.state.clusters), np.int64)
        for block in _blocks(subject, data):
            labels, _ = nearest(block.rows, subject.state.clusters, *_how(subject))
            sizes += np.bincount(labels, minlength=len(sizes))
        return sizes
    try:
        labels = np.asarray(model)
        if labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels):
            return np.bincount(labels[labels >= 0])
    except (TypeError, ValueError):
        pass
    raise BadInputError(
        f"plot_sizes is given a {type(model).__name__} alone: give a model and data, or labels [n]"
    )


def plot_map(
    model: Any,
    data: Any,
    *,
    ax: Any = None,
    map_view: str = "auto",
    sample_size: int = 5000,
    random_seed: int = 0,
    **style: Any,
) -> Any:
    """Draw the centers and a sample of the rows, each in the color of its cluster.

    Parameters
    ----------
    model, data
        A trained model and its data, of any kind.
    ax, **style
        As for ``plot_loss``; the style is that of ``Axes.scatter``, of the rows.
    map_view
        ``"auto"``, ``"pca"``, ``"columns"`` or ``"world"``, as for ``shoal.report``.
    sample_size, random_seed
        How many rows are drawn, evenly, and of what seed.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np, shoal
    >>> x = np.random.default_rng(0).normal(size=(500, 5))
    >>> model = shoal.KMeansClustering(3, use_mini_batch=False).fit(x)
    >>> shoal.plot.plot_map(model, x).get_xlabel()
    'first principal component'
    """
    subject = Subject.of(model)
    picked = Sample(whole_number("sample_size", sample_size, 1), random_seed)
    for block in _blocks(subject, data):
        found = nearest(block.rows, subject.state.clusters, *_how(subject))
        picked.add(block.rows, block.numbers(), *found)
    assert picked.rows is not None
    plane = plane_of(picked.rows, subject.centers, subject.metric, subject.columns, map_view)
    colors = np.array(colors_of(plane.centers))
    ax = _axes(ax)
    look = {"s": 4, "alpha": 0.6, "linewidths": 0, **style}
    ax.scatter(*plane.rows.T, c=list(colors[picked.labels]), **look)
    ax.scatter(*plane.centers.T, c=list(colors), s=60, edgecolors="white", linewidths=1.2)
    ax.set_xlabel(plane.axes[0])
    ax.set_ylabel(plane.axes[1])
    return ax


def plot_k(choice: Any, index: str = "silhouette", *, ax: Any = None, **style: Any) -> Any:
    """Draw an index over the number of clusters, and the one it suggests.

    Parameters
    ----------
    choice
        What ``choose_k`` returned.
    index
        ``"inertia"``, ``"simplified_silhouette"``, ``"silhouette"``, ``"calinski_harabasz"``,
        ``"davies_bouldin"`` or ``"gap"``. ``choice.plot()`` draws all of them.
    ax, **style
        As for ``plot_loss``.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np, shoal
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> shoal.plot.plot_k(shoal.choose_k(x, range(2, 5)), "inertia").get_ylabel()
    'inertia'
    """
    if not isinstance(choice, KChoice):
        raise BadInputError(
            f"choice is of type {type(choice).__name__}; it must be what choose_k returned"
        )
    one_of("index", index, tuple(INDICES))
    values = getattr(choice, index)
    if values is None:
        raise BadInputError(f"index is {index!r}, which was not computed: choose_k(..., gap=5)")
    ax = _axes(ax)
    error = choice.gap_error if index == "gap" else None
    ax.errorbar(choice.k, values, error, **{"marker": "o", "markersize": 3, **style})
    if (suggested := choice.suggested.get(index)) is not None:
        ax.axvline(suggested.k, linestyle=":", color="gray")
    ax.set_xlabel("number of clusters")
    ax.set_ylabel(INDICES[index])
    return ax


def _axes(ax: Any) -> Any:
    check_plots()
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def _blocks(subject: Subject, data: Any) -> Any:
    named = Columns(learned=subject.columns, weigh=False)
    source = open_named(data, named, None, False, "data")
    source.must_end("all of it is read", "give what is to be drawn of it")
    inference = Inference(subject.state, subject.parameters, subject.on_bad_rows)
    return (block for blocks in inference.blocks(source) for block in blocks)


def _how(subject: Subject) -> tuple[str, int]:
    return subject.metric, subject.parameters.num_threads
