"""The exceptions of shoal: each says what was given, what is allowed and what to do.

All are ``ValueError``. Nothing that existed before is lost when one is raised.
"""

from __future__ import annotations

import sys


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


class MissingExtraError(ShoalError, ImportError):
    """A feature needs an optional package; the message says how to install it."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs {package}, which is not installed. "
            f"Install it with: pip install 'shoal[{extra}]'"
        )


class NotFittedError(ShoalError, AttributeError):
    """A method that needs trained centers was called before training."""


def not_fitted(method: str) -> NotFittedError:
    """Build the error for ``method``; scikit-learn's own class too where that is loaded."""
    message = f"{method}() needs trained centers: call fit(...) or partial_fit(...) first"
    module = sys.modules.get("sklearn.exceptions")
    if module is None:
        return NotFittedError(message)
    both = type("NotFittedError", (NotFittedError, module.NotFittedError), {})
    error: NotFittedError = both(message)
    return error
