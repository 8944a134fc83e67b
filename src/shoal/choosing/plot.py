"""Indices over k, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from shoal.errors import MissingExtraError
from shoal.types import Floats, Ints


class Curve(NamedTuple):
    """An index over k."""

    title: str
    values: Floats
    suggested: int | None  # the k of the line
    error: Floats | None = None


def check_plots() -> None:
    """Raise MissingExtraError where nothing can be drawn."""
    try:
        import matplotlib.figure as _figure
    except ImportError:
        raise MissingExtraError("plot()", "matplotlib", "plot") from None
    del _figure


def plot(k: Ints, curves: Sequence[Curve]) -> Any:
    """A figure with an axis for each index; a line marks the k that it suggests."""
    check_plots()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True).ravel()
    for axis, curve in zip(axes, curves, strict=False):
        axis.errorbar(k, curve.values, curve.error, marker="o", markersize=3)
        if curve.suggested is None:
            axis.set_title(curve.title)
        else:
            axis.axvline(curve.suggested, linestyle=":", color="gray")
            axis.set_title(f"{curve.title}: {curve.suggested}")
    for axis in axes[len(curves) :]:
        axis.remove()
    for axis in axes[: len(curves)][-3:]:
        axis.set_xlabel("k")
    return figure
