"""Checks of single values, each with an error that says what is allowed."""

from __future__ import annotations

import contextlib
import errno
import math
import operator
import os
import sys
import warnings
from pathlib import Path

import numpy as np

from shoal.errors import BadInputError

#: The largest whole number that is taken, unless a smaller one is said: what 64 bits hold.
LARGEST = 2**63 - 1


def whole_number(
    name: str, value: object, least: int, most: int = LARGEST, *, or_none: bool = False
) -> int:
    """Return ``value`` as an int if it is a whole number from ``least`` to ``most``.

    ``or_none``: None is allowed too, so that messages say it; the caller has let it pass.
    """
    if type(value) is int and least <= value <= most:
        return value
    also = ", or None" if or_none else ""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise BadInputError(
            f"{name} is {value!r:.80}; it must be a whole number >= {least}{also}"
        ) from None
    if number < least:
        raise BadInputError(f"{name} is {number}; it must be >= {least}{also}")
    if number > most:
        shown = str(number) if number.bit_length() < 200 else "too large"
        raise BadInputError(f"{name} is {shown}; it must be <= {most}{also}")
    return number


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of the ``allowed`` names."""
    if not isinstance(value, str) or value not in allowed:
        meant = [one for one in allowed if isinstance(value, str) and _spelt(one) == _spelt(value)]
        hint = f". Did you mean {meant[0]!r}?" if meant else ""
        raise BadInputError(f"{name} is {value!r:.80}; allowed are {allowed}{hint}")
    return value


def _spelt(name: str) -> str:
    """What spellings of one name have in common: k-means++ is kmeans_plus_plus."""
    words = name.lower().replace("++", "plusplus").replace("||", "parallel")
    return "".join(letter for letter in words if letter.isalnum())


def positive(name: str, value: object, or_none: bool = False) -> float:
    """Return ``value`` as a float if it is a finite number above zero; ``or_none`` as above."""
    also = ", or None" if or_none else ""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise BadInputError(f"{name} is {value!r:.80}; it must be a number > 0{also}")
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise BadInputError(f"{name} is {value!r}; it must be finite and > 0{also}")
    return number


def path_of(name: str, value: object, what: str = "a file") -> Path:
    """Return ``value`` as a path, if it is one that a file of this machine can have."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise BadInputError(f"{name} is {value!r:.80}; it must be the path of {what}")
    text: str = os.fspath(value)
    try:
        os.stat(text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        if not isinstance(error, OSError) or error.errno == errno.ENAMETOOLONG:
            raise BadInputError(
                f"{name} is {text!r:.80}, and no file has such a path: {why}"
            ) from None
    return Path(text)


def warn_user(message: str) -> None:
    """Warn at the line that called shoal, however deep inside the reason was found."""
    inside = (os.path.dirname(__file__) + os.sep, contextlib.__file__)
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
