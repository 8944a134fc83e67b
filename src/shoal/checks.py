"""Checks of single values, each with an error that says what is allowed."""

from __future__ import annotations

import math
import operator

import numpy as np

from shoal.errors import BadInputError


def whole_number(name: str, value: object, least: int) -> int:
    """Return ``value`` as an int if it is a whole number of at least ``least``."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise BadInputError(
            f"{name} is {value!r:.80}; it must be a whole number >= {least}"
        ) from None
    if number < least:
        raise BadInputError(f"{name} is {number}; it must be >= {least}")
    return number


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of the ``allowed`` names."""
    if not isinstance(value, str) or value not in allowed:
        raise BadInputError(f"{name} is {value!r:.80}; allowed are {allowed}")
    return value


def positive(name: str, value: object) -> float:
    """Return ``value`` as a float if it is a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise BadInputError(f"{name} is {value!r:.80}; it must be a number > 0")
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise BadInputError(f"{name} is {value!r}; it must be finite and > 0")
    return number
