"""One run of full-batch k-means over prepared rows, with scikit-learn's rule to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.prepared import Prepared
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
    limit: float | None = None
    for step in range(1, max_iter + 1):
        before = state.clusters
        state, found = lloyd.step(state, rows.data, rows.parameters)
        if tell is not None:
            tell(f"Iteration {step - 1}, inertia {rows.loss(found, before)}.")
        if step > 1 and found.changes == 0 and bool(found.weights.all()):
            if tell is not None:
                tell(f"Converged at iteration {step - 1}: strict convergence.")
            return _ended(rows, state, step, found)
        if limit is None:
            limit = tol * rows.variance(found) if tol > 0 else -1.0
        shift = float(np.square(state.clusters.astype(np.float64) - before).sum())
        if shift <= limit:
            if tell is not None:
                how = f"center shift {shift} within tolerance {limit}"
                tell(f"Converged at iteration {step - 1}: {how}.")
            break
    return _ended(rows, state, step, rows.data.assign(state.clusters))


def _ended(rows: Prepared, state: State, step: int, found: Partial) -> Found:
    """``found``: the pass with the last centers, whose sums the next one writes over."""
    centers = state.clusters
    kept = replace(found, sums=found.sums.copy())
    return Found(centers, rows.data.labels(), rows.loss(found, centers), step, kept)
