"""Reads ahead on a thread, a bounded number of items."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

from masklet.media.closed_at_end import ClosedAtEnd

ItemT = TypeVar("ItemT")


class ReadAhead(ClosedAtEnd, Iterator[ItemT], Generic[ItemT]):
    """The items of a generator, which runs on a thread of its own until `depth` items wait.

    An error of the generator is raised here after the items before it. The thread ends with the generator, with
    `close`, with the end of a `with` block, or when nobody holds this object any more.
    """

    def __init__(
        self,
        items: Generator[ItemT, None, None],
        *,
        depth: int,
        interrupt: Callable[[], None] | None = None,
    ) -> None:
        """Starts reading.

        Args:
            items: is advanced and closed on the thread only.
            depth: how many items may wait, 1 or more; one more is being made meanwhile.
            interrupt: makes a generator that waits for its source return soon; called when this is closed early.
        """
        self._shelf: _Shelf[ItemT] = _Shelf(depth)
        self._interrupt = interrupt
        # Holds the shelf and not this object: else nothing that runs would ever be forgotten. A daemon: a program
        # that ends without closing must not wait for a shelf that nobody empties.
        self._thread = threading.Thread(target=_fill, args=(self._shelf, items), name="masklet-read-ahead", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many items are there already."""
        return len(self._shelf.items)

    def __next__(self) -> ItemT:
        return self._shelf.take()

    def close(self, error: Exception | None = None) -> None:
        """Ends the thread and forgets what waits; nothing comes afterwards. May be called again.

        Args:
            error: is raised if anybody asks for more all the same, unless everything was taken already; None to tell
                that it is the end.
        """
        self._end(error)
        self._thread.join()

    def __del__(self) -> None:
        # Does not wait for the thread: garbage is collected anywhere, also where the thread waits for just this one.
        # At the end of the program the thread stands still already, perhaps with the shelf in its hands.
        if hasattr(self, "_thread") and not sys.is_finalizing():
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        self._shelf.shut(error)
        if self._thread.is_alive() and self._interrupt is not None:
            self._interrupt()


class _Shelf(Generic[ItemT]):
    """What the two threads share."""

    def __init__(self, depth: int) -> None:
        self.items: deque[ItemT] = deque()
        self._depth = depth
        self._changed = threading.Condition()
        self._is_shut = False
        self._is_complete = False
        self._error: BaseException | None = None

    def put(self, item: ItemT) -> bool:
        """Waits for room; False if nobody wants more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_shut or len(self.items) < self._depth)
            if self._is_shut:
                return False
            self.items.append(item)
            self._changed.notify_all()
            return True

    def take(self) -> ItemT:
        with self._changed:
            self._changed.wait_for(lambda: self.items or self._is_complete or self._is_shut)
            if self.items:
                item = self.items.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def complete(self, error: BaseException | None) -> None:
        with self._changed:
            if not self._is_shut:
                self._error = error
            self._is_complete = True
            self._changed.notify_all()

    def shut(self, error: Exception | None) -> None:
        with self._changed:
            if not self._is_shut:
                is_taken = self._is_complete and not self.items and self._error is None
                self._error = None if is_taken else error
            self._is_shut = True
            self.items.clear()
            self._changed.notify_all()


def _fill(shelf: _Shelf[ItemT], items: Generator[ItemT, None, None]) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not shelf.put(item):
                break
    except BaseException as caught:  # raised again in the reader's thread, whatever it is
        error = caught
    try:
        items.close()
    except Exception as caught:
        error = error or caught
    shelf.complete(error)
