"""Indices over k, drawn by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal.errors import MissingExtraError

if TYPE_CHECKING:
    from shoal.choosing.choice import KChoice


def plot(choice: KChoice) -> Any:
    """A figure with an axis for each index; a line marks the k that it suggests."""
    from shoal.choosing.choice import INDICES

    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("plot()", "matplotlib", "plot") from None
    shown = {name: title for name, title in INDICES.items() if getattr(choice, name) is not None}
    suggested = choice.suggested
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True).ravel()
    for axis, (name, title) in zip(axes, shown.items(), strict=False):
        column = getattr(choice, name)
        if name == "gap":
            axis.errorbar(choice.k, column, choice.gap_error, marker="o", markersize=3)
        else:
            axis.plot(choice.k, column, marker="o", markersize=3)
        if name in suggested:
            k = suggested[name].k
            axis.axvline(k, linestyle=":", color="gray")
            title = f"{title}: {k}"
        axis.set_title(title)
    for axis in axes[len(shown) :]:
        axis.remove()
    for axis in axes[: len(shown)][-3:]:
        axis.set_xlabel("k")
    return figure
