"""One run of full-batch k-means over prepared rows, with scikit-learn's rule to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.prepared import Prepared
from shoal.shards.kernels import shift_of
from shoal.state import Partial, State
from shoal.steps import lloyd


@dataclass(frozen=True)
class Found:
    """What a run ended with.

    Parameters
    ----------
    centers
        [k, d]
    labels
        [n], of these centers.
    inertia
        Sum of weight * distance.
    steps
        How many there were.
    partial
        The pass that gave the labels.
    """

    centers: npt.NDArray[Any]
    labels: npt.NDArray[np.int32]
    inertia: float
    steps: int
    partial: Partial


def run(
    rows: Prepared,
    state: State,
    max_iter: int,
    tol: float,
    tell: Callable[[str], object] | None = None,
) -> Found:
    """Assign and move until no label changes, centers hardly move, or for ``max_iter`` steps.

    ``tol`` is relative to the mean variance of the columns, as scikit-learn's. ``tell`` is told of
    each step, in its words.
    """
    limit, step = rows.limit(tol, None), 0
    while step < max_iter:
        several = None
        if tell is None:
            most = max_iter - step if limit is not None else 1
            bound = -1.0 if limit is None else limit
            several = rows.data.steps(state.clusters, most, step > 0, bound)
        if several is not None:
            state = state.replace(clusters=several.centers, clusters_updated=several.centers)
            step, shift, found = step + several.steps, several.shift, several.partial
            if several.settled:
                return _ended(rows, state, step, found)
        if several is None or several.empty:
            before, step = state.clusters, step + 1
            state, found = lloyd.step(state, rows.data, rows.parameters)
            shift = shift_of(before, state.clusters)
            if tell is not None:
                tell(f"Iteration {step - 1}, inertia {rows.loss(found, before)}.")
            if step > 1 and found.changes == 0 and bool(found.weights.all()):
                if tell is not None:
                    tell(f"Converged at iteration {step - 1}: strict convergence.")
                return _ended(rows, state, step, found)
        limit = rows.limit(tol, found)
        if limit is not None and shift <= limit:
            if tell is not None:
                how = f"center shift {shift} within tolerance {limit}"
                tell(f"Converged at iteration {step - 1}: {how}.")
            break
    return _ended(rows, state, step, rows.data.assign(state.clusters))


def _ended(rows: Prepared, state: State, step: int, found: Partial) -> Found:
    """``found``: the pass with the last centers, whose sums the next one writes over."""
    centers = state.clusters
    return Found(centers, rows.data.labels(), rows.loss(found, centers), step, found.kept())
