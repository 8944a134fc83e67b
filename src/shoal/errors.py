"""The exceptions of shoal: each says what was given, what is allowed and what to do.

All are ``ValueError``. Nothing that existed before is lost when one is raised. They can be pickled,
as what goes wrong in another process is told here.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any


class ShoalError(ValueError):
    """Base of every error that shoal raises on purpose."""


class BadInputError(ShoalError):
    """An argument or the data cannot be used: wrong shape, dtype, value or name."""


class TooFewRowsError(ShoalError):
    """The data ended before enough centers were found."""


class NotInitializedError(ShoalError):
    """A training step or an evaluation was asked for before the centers were chosen."""


class EndOfDataError(ShoalError):
    """A step was asked for after the last batch of a finite source."""


class CheckpointError(ShoalError):
    """A checkpoint cannot be written, cannot be read, or is of another model."""


class ModelDirLockedError(ShoalError):
    """Another process is training in the same ``model_dir``."""


class ShardLost(ShoalError):  # noqa: N818 - an event more than a mistake
    """A shard is gone, with the process or the machine that it lived in.

    Attributes
    ----------
    which
        The number that the executor gave the shard.
    why
        What became of what it lived in.
    """

    def __init__(self, which: int, why: str = "what it lived in has ended") -> None:
        super().__init__(f"shard {which} is lost: {why}")
        self.which, self.why = which, why

    def __reduce__(self) -> Any:
        return type(self), (self.which, self.why), vars(self)


class ClusterError(ShoalError):
    """Other machines cannot do what is asked: they lack something, are gone, or fail on and on."""


class MissingExtraError(ShoalError, ImportError):
    """A feature needs an optional package; the message says how to install it.

    Attributes
    ----------
    feature, package, extra
        What needs which package, and the extra of shoal that brings it.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs {package}, which is not installed. "
            f"Install it with: pip install 'shoal[{extra}]'"
        )
        self.feature, self.package, self.extra = feature, package, extra

    def __reduce__(self) -> Any:
        return type(self), (self.feature, self.package, self.extra), vars(self)


class NotFittedError(ShoalError, AttributeError):
    """A method that needs trained centers was called before training."""

    def __reduce__(self) -> Any:
        plain = type(self) is NotFittedError
        return NotFittedError if plain else _not_fitted, self.args, vars(self)


def not_fitted(method: str) -> NotFittedError:
    """Build the error for ``method``; scikit-learn's own class too where that is loaded."""
    return _not_fitted(f"{method}() needs trained centers: call fit(...) or partial_fit(...) first")


def _not_fitted(*args: object) -> NotFittedError:
    module = sys.modules.get("sklearn.exceptions")
    error: NotFittedError = (NotFittedError if module is None else _both(module))(*args)
    return error


@cache
def _both(module: Any) -> Any:
    """The class that is shoal's and scikit-learn's: one, so that errors compare by type."""
    return type("NotFittedError", (NotFittedError, module.NotFittedError), {})
