"""Reading ahead: the next item of an iterator is made in a thread while the last one is used."""

from __future__ import annotations

import _thread
import atexit
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class _Line:
    """What a reader and its thread tell each other."""

    wanted: SimpleQueue[bool] = field(default_factory=SimpleQueue)  # True: one more, False: no more
    made: SimpleQueue[tuple[Any, BaseException | None]] = field(default_factory=SimpleQueue)


_END = object()

#: Threads that read, to be ended before the interpreter is.
_reading: dict[threading.Thread, _Line] = {}
#: Threads that have ended. The next one lets go of them: what Python does then would swallow a
#: Ctrl-C in the main thread.
_ended: list[threading.Thread] = []


def ahead(items: Iterator[Item]) -> Ahead[Item]:
    """Give the items, each made while the one before is used, by one thread.

    An error of ``items`` is raised where its item is asked for. The thread alone touches ``items``,
    and closes them; it ends with the iterator: when that is used up, closed or no longer held.
    """
    return Ahead(items)


class Ahead(Generic[Item]):
    """See ``ahead``."""

    _thread: threading.Thread | None = None

    def __init__(self, items: Iterator[Item]) -> None:
        self._line = _Line()
        self._thread = threading.Thread(
            target=_make, args=(items, self._line), name="shoal-read-ahead", daemon=True
        )
        try:
            self._thread.start()
            self._line.wanted.put(True)
        except BaseException:  # a Ctrl-C: the thread may run or not
            self.close()
            raise

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self._thread is None:
            raise StopIteration
        try:
            item, error = self._line.made.get()
            if error is not None:
                raise error
            if item is _END:
                raise StopIteration
            self._line.wanted.put(True)
        except BaseException:
            self.close()
            raise
        made: Item = item
        return made

    def close(self) -> None:
        """End the thread, and wait for it. A Ctrl-C meanwhile is raised when it has ended."""
        if self._thread is None:
            return
        self._line.wanted.put(False)
        try:
            _join(self._thread)
        except BaseException:  # a second one does not wait
            _join(self._thread)
            raise
        finally:
            _ended.append(self._thread)
            self._thread = None

    def __del__(self) -> None:
        try:
            self.close()
        except KeyboardInterrupt:  # which would be lost here
            _interrupt_later()


def _make(items: Iterator[Any], line: _Line) -> None:
    """What the thread does: make an item each time that one is wanted."""
    _reading[threading.current_thread()] = line
    _ended.clear()
    try:
        while line.wanted.get():
            item = next(items, _END)  # no StopIteration, which would refer to this thread
            line.made.put((item, None))
            if item is _END:
                break
            del item
    except BaseException as error:
        line.made.put((None, error))
    finally:
        if isinstance(items, Generator):
            items.close()
        del _reading[threading.current_thread()]


def _join(thread: threading.Thread) -> None:
    try:
        thread.join()
    except RuntimeError:
        # It has not begun, as a Ctrl-C came while it was started; or a garbage collector runs in
        # this very thread. It ends as soon as it finds that no more is wanted.
        return


def _interrupt_later() -> None:
    """Interrupt the main thread once it is out of a finalizer, where exceptions are lost."""
    inside = threading.Lock()
    inside.acquire()

    def interrupt() -> None:
        with inside:
            _thread.interrupt_main()

    _thread.start_new_thread(interrupt, ())
    inside.release()


@atexit.register
def _end_all() -> None:
    for thread, line in list(_reading.items()):
        line.wanted.put(False)
        thread.join()
