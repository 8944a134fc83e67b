"""How a model opens data: which of two arguments it is, and what its columns are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.checks import whole_number
from shoal.config import Parameters
from shoal.errors import BadInputError
from shoal.sources.columns import Columns
from shoal.sources.open import Source, open_named, with_sample_weight
from shoal.state import State


def open_either(
    x: Any,
    input_fn: Callable[..., Any] | None,
    batch_size: int | None,
    named: Columns,
    shuffle: bool,
    sample_weight: Any,
) -> Source:
    """Open the one of ``x`` and ``input_fn`` that is given."""
    if (x is None) == (input_fn is None):
        given = "neither" if x is None else "both"
        raise BadInputError(f"{given} of x and input_fn given: pass exactly one of them")
    if input_fn is not None and not callable(input_fn):
        raise BadInputError(f"input_fn is {type(input_fn).__name__}; it must be callable")
    if batch_size is not None:
        batch_size = whole_number("batch_size", batch_size, 1)
    data, name = (x, "x") if input_fn is None else (input_fn, "input_fn")
    source = open_named(data, named, batch_size, shuffle, name)
    return source if sample_weight is None else with_sample_weight(source, sample_weight)


def is_input_fn(data: Any) -> bool:
    """Whether it is a callable that gives the data, and not the data."""
    return callable(data) and not hasattr(data, "__array__")


def known_names(
    parameters: Parameters,
    state: State | None,
    named: Columns,
    learned: tuple[Any, ...] | None,
) -> tuple[Any, ...] | None:
    """Names in the order of the centers; () for centers without, None where none are known.

    ``named`` is what the user asks for, ``learned`` are names of data that was seen.
    """
    if parameters.has_centers and (state is None or not state.initialized):
        known = parameters.columns or learned or named.features
        return tuple(known) if known else None
    if state is None:
        return None
    return learned or tuple(named.features or ())


def names_asked(
    parameters: Parameters,
    state: State | None,
    named: Columns,
    learned: tuple[Any, ...] | None,
    weigh: bool = True,
    training: bool = False,
) -> Columns:
    """The columns to read, with the names that are known; whose they are, and if they are all."""
    known = known_names(parameters, state, named, learned)
    of_centers = state is None and known is not None and known == parameters.columns
    owner = "initial_clusters" if of_centers else "the model"
    exact = of_centers and named.features is None
    trained = state is not None and state.initialized
    dim = state.clusters.shape[1] if state is not None and trained else None
    return Columns(named.features, named.weight, known, owner, exact and training, weigh, dim)


def learned_names(
    known: tuple[Any, ...] | None, named: Columns, source: Source
) -> tuple[Any, ...] | None:
    """Names to remember of data: those known, asked for (as they are spelled there), or its own."""
    return known or tuple(named.features or ()) or source.columns
