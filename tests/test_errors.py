"""Exceptions cross from one process to another as they are."""

from __future__ import annotations

import inspect
import pickle
import sys
import types
from typing import Any

import pytest

from shoal import errors

MADE: dict[type, Any] = {
    errors.MissingExtraError: lambda: errors.MissingExtraError("this", "that", "extra"),
    errors.ShardLost: lambda: errors.ShardLost(3),
}
CLASSES = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, errors.ShoalError)
]


def there_and_back(error: Exception) -> Any:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_class_message_and_attributes(kind: type) -> None:
    error = MADE.get(kind, lambda: kind("row 3 holds nan"))()
    error.row = 3
    found = there_and_back(there_and_back(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)
    assert vars(found)["row"] == 3


def test_there_are_errors_to_try() -> None:
    assert {errors.BadInputError, errors.NotFittedError, errors.CheckpointError} <= set(CLASSES)


def test_an_error_that_is_scikit_learns_too_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("sklearn.exceptions")
    module.NotFittedError = type("NotFittedError", (ValueError, AttributeError), {})
    monkeypatch.setitem(sys.modules, "sklearn.exceptions", module)
    error = errors.not_fitted("predict")
    found = there_and_back(error)
    assert isinstance(found, module.NotFittedError)
    assert isinstance(found, errors.NotFittedError)
    assert str(found) == str(error)
    monkeypatch.delitem(sys.modules, "sklearn.exceptions")
    plain = there_and_back(found)  # where scikit-learn is not loaded
    assert type(plain) is errors.NotFittedError
    assert str(plain) == str(error)
