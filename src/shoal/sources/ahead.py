"""Reading ahead: the next item of an iterator is made in a thread while the last one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield the items, each made while the one before is used, by one thread.

    An error of ``items`` is raised where its item is asked for. The thread ends with the generator,
    when it is used up, closed or no longer held.
    """
    end = object()
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="shoal-read-ahead") as thread:
            waiting = thread.submit(next, items, end)
            while True:
                item = waiting.result()
                if item is end:
                    return
                waiting = thread.submit(next, items, end)
                yield item  # type: ignore[misc]
    finally:
        if isinstance(items, Generator):
            items.close()
