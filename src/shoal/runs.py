"""One run of full-batch k-means over prepared rows, with scikit-learn's rule to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from shoal.config import OnSample
from shoal.prepared import Prepared
from shoal.shards.kernels import shift_of
from shoal.state import Partial, State
from shoal.steps import lloyd, sampling


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


def best_of(rows: Prepared, seeds: Sequence[int], max_iter: int, tol: float) -> Found:
    """The best of the runs with these seeds, each as ``run`` makes it; of several the first.

    As many as can be are made at once.
    """
    best: Found | None = None
    done, together = 0, True
    while done < len(seeds):
        several = rows.runs(seeds[done:], max_iter, tol) if together else None
        together = several is not None
        if several is None:
            found = run(rows, rows.seeded(seeds[done]), max_iter, tol)
        else:
            found = Found(*several[1:])
        done += 1 if several is None else several.done
        if best is None or found.inertia < best.inertia:
            best = found
    assert best is not None
    return best


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
    state, step, settled = _moved(rows, state, max_iter, tol, tell)
    if settled is not None:
        return _ended(rows, state, step, settled)
    return _ended(rows, state, step, rows.data.assign(state.clusters))


def on_sample(
    rows: Prepared,
    state: State,
    how: OnSample,
    tol: float,
    tell: Callable[[str], object] | None = None,
) -> State:
    """Centers moved by steps on a sample of the rows, which end by the same rules.

    ``state`` has the seed that the sample is drawn by.
    """
    with rows.data.sample(state.seed, how.fraction, None) as data:
        if not sampling.is_enough(data, len(rows), rows.parameters):
            return state
        if tell is not None:
            tell(f"Starting on a sample of {data.scan().rows} of {len(rows)} rows.")
        some = replace(rows, data=data, known={})
        return _moved(some, state, how.steps, tol, tell)[0]


def _moved(
    rows: Prepared,
    state: State,
    max_iter: int,
    tol: float,
    tell: Callable[[str], object] | None,
) -> tuple[State, int, Partial | None]:
    """The state behind the last step, how many there were; the last pass, if no label changed."""
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
                return state, step, found
        if several is None or several.empty:
            before, step = state.clusters, step + 1
            state, found = lloyd.step(state, rows.data, rows.parameters)
            shift = shift_of(before, state.clusters)
            if tell is not None:
                tell(f"Iteration {step - 1}, inertia {rows.loss(found, before)}.")
            if step > 1 and found.changes == 0 and bool(found.weights.all()):
                if tell is not None:
                    tell(f"Converged at iteration {step - 1}: strict convergence.")
                return state, step, found
        limit = rows.limit(tol, found)
        if limit is not None and shift <= limit:
            if tell is not None:
                how = f"center shift {shift} within tolerance {limit}"
                tell(f"Converged at iteration {step - 1}: {how}.")
            break
    return state, step, None


def _ended(rows: Prepared, state: State, step: int, found: Partial) -> Found:
    """``found``: the pass with the last centers, whose sums the next one writes over."""
    centers = state.clusters
    return Found(centers, rows.data.labels(), rows.loss(found, centers), step, found.kept())
