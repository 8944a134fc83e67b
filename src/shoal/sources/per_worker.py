"""Batches that each worker makes itself: a function of its number, called where the worker is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from shoal.errors import BadInputError
from shoal.sources.brought import prepared
from shoal.sources.columns import Columns
from shoal.sources.foreign import unwrapped
from shoal.sources.limits import Limits
from shoal.sources.stream import StreamSource, is_iterable_of_batches


def is_per_worker(given: Callable[..., Any], name: str) -> bool:
    """Whether a callable takes the number of a worker and how many there are; else nothing.

    Raises BadInputError for one that takes neither.
    """
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):  # of what is compiled: unknown
        return False
    if _by_name(signature):
        return True
    if _takes(signature):
        return False
    if _takes(signature, 0, 1):
        return True
    raise BadInputError(
        f"{name} is a callable that takes {signature}; it must take nothing, or two arguments: the "
        "number of a worker, from 0, and how many there are, as input_fn(worker, num_workers)"
    )


def _by_name(signature: inspect.Signature) -> bool:
    """Whether it has arguments of these names, in whatever order and whatever they are else."""
    named = {"worker", "num_workers"} <= set(signature.parameters)
    return named and _takes(signature, worker=0, num_workers=1)


def _takes(signature: inspect.Signature, *arguments: int, **named: int) -> bool:
    try:
        signature.bind(*arguments, **named)
    except TypeError:
        return False
    return True


class BatchesOf:
    """Begins the batches of one worker; can be sent to it.

    Parameters
    ----------
    function
        Gives them.
    worker, num_workers
        What it is called with.
    name
        What error messages call it.
    """

    def __init__(
        self, function: Callable[..., Any], worker: int, num_workers: int, name: str
    ) -> None:
        self._function = function
        self._worker, self._num_workers = worker, num_workers
        self._name = name
        self._last: Any = None  # kept, so that no other one can be taken for it

    def __reduce__(self) -> Any:
        return BatchesOf, (self._function, self._worker, self._num_workers, self._name)

    def __call__(self) -> Iterable[Any]:
        """The batches, from the first on."""
        if _by_name(inspect.signature(self._function)):
            found = self._function(worker=self._worker, num_workers=self._num_workers)
        else:
            found = self._function(self._worker, self._num_workers)
        batches = prepared(unwrapped(found), self._name)
        if not is_iterable_of_batches(batches):
            raise BadInputError(
                f"{self._name} returned a {type(found).__name__}; it must return an iterator of "
                "batches: write `yield rows` in it, once for each batch"
            )
        if batches is self._last and iter(batches) is batches:
            raise BadInputError(
                f"{self._name} returned the same iterator again: it must return a new one at each "
                "call"
            )
        self._last = batches
        return batches  # type: ignore[no-any-return]


def open_per_worker(
    function: Callable[..., Any], named: Columns, name: str, limits: Limits
) -> StreamSource:
    """A stream of all workers together; read in this process, it is that of one alone."""

    def of(worker: int, num_workers: int) -> StreamSource:
        called = f"{name}({worker}, {num_workers})"
        begin = BatchesOf(function, worker, num_workers, called)
        return StreamSource(begin, True, named, called, limits)

    whole = of(0, 1)
    whole.name = name
    whole.of_worker = of
    return whole
