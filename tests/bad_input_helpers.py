"""Cases of bad input, and models to give it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shoal import (
    BadInputError,
)
from shoal import KMeansClustering as Model

X = np.random.default_rng(7).normal(size=(60, 3))
MASKED = np.ma.masked_greater(X, 1)


class OwnError(Exception):
    """Raised by the user's code: it must come out as it went in."""


class Case(NamedTuple):
    name: str
    call: Callable[[Model, Path], object]  # gets a trained model and an empty folder
    words: tuple[str, ...]  # all of them are in the message
    error: type[Exception] = BadInputError
    full: bool = False  # the model is trained on full batches


class Batches:
    """A source of batches that can be read again; the last pass given repeats."""

    def __init__(self, *passes: list[Any]) -> None:
        self.passes = list(passes)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.passes.pop(0) if len(self.passes) > 1 else self.passes[0])


class Sparse:
    shape = (60, 3)

    def tocsr(self) -> Sparse:
        return self

    def __iter__(self) -> Iterator[Sparse]:
        return iter([self] * 60)


def changed(value: float, row: int = 37, column: int = 1, x: Any = X) -> Any:
    x = x.copy(order="K")
    x[row, column] = value
    return x


def whole(value: int, dtype: str = "i8") -> Any:
    return changed(value, x=np.abs(X * 100).astype(dtype))


def trained(full: bool = False) -> Model:
    model = Model(3, random_seed=5, use_mini_batch=not full)
    return model.fit(X, steps=3, batch_size=20)


def touched(path: Path) -> Path:
    path.touch()
    return path


def raising(*_: Any) -> Any:
    raise OwnError("mine")


NO_ROWS = ("no rows", "no batches", "empty batches")
