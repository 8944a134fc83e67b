"""scikit-learn's check of parameters before ``fit``, with types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sklearn.base import _fit_context

Method = TypeVar("Method", bound=Callable[..., Any])


def checks_parameters(method: Method) -> Method:
    """Check the parameters of the estimator by ``_parameter_constraints`` before a method.

    scikit-learn's own decorator has no types: what ``fit`` returns would be unknown to those who
    check theirs.
    """
    return cast(Method, _fit_context(prefer_skip_nested_validation=True)(method))
