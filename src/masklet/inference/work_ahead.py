"""Work on frames to come while the frame at hand is followed: a second thread, and whoever waits for it, take turns.

Pictures of few tokens are hundreds of small steps, which two threads together do little faster than one alone. So the
threads that PyTorch has on a processor are shared out: half of them work on a frame to come, the others follow. Which
of the two has more to do does not matter: who waits for work that nobody has begun does it.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from masklet.media.closed_at_end import ClosedAtEnd

T = TypeVar("T")

FRAMES_AHEAD = 2
"""How far ahead of the frame that is followed work is begun at most."""

FEW_OBJECTS = 4
"""Following more of them takes longer than all else: then nothing is done ahead, and all threads do it together."""

_MOST_TOKENS = 1024  # of a picture: more of them keep all threads busy by themselves


def threads_ahead(device: torch.device, tokens: int) -> int:
    """How many threads work ahead on pictures of so many tokens, and how many follow meanwhile; 0: nobody does."""
    if device.type != "cpu" or tokens > _MOST_TOKENS:
        return 0
    return torch.get_num_threads() // 2


class WorkAhead(ClosedAtEnd):
    """Calls without arguments, done in their order by two threads at most; a context manager.

    What is asked for is done by the same number of PyTorch's threads whoever does it, so that chance has no part in
    the last digits. Gradients are not computed.

    Args:
        threads: of PyTorch that work on a call, 1 or more.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._all = torch.get_num_threads()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="masklet-work-ahead", daemon=True)
        self._thread.start()

    def start(self, call: Callable[[], T]) -> Future[T]:
        """Puts a call behind those that wait."""
        context = contextvars.copy_context()
        future: Future[T] = Future()
        with self._changed:
            self._waiting.append((future, lambda: context.run(call)))
            self._changed.notify()
        return future

    def wait(self, future: Future[T]) -> None:
        """Comes back when a call that was started is done; meanwhile this thread does what still waits."""
        while not future.done():
            with self._changed:
                first = self._waiting.popleft() if self._waiting else None
            if first is None:  # the other thread is at it
                futures.wait([future])
                return
            with self._limited(self._threads):
                _do(*first)

    @contextmanager
    def following(self, objects: int) -> Iterator[None]:
        """The block follows so many objects, on its share of the threads unless they are many."""
        with self._limited(self._threads if objects <= FEW_OBJECTS else self._all):
            yield

    def close(self) -> None:
        """Drops what waits, and ends the thread behind what it is doing."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()
        torch.set_num_threads(torch.get_num_threads())  # for threads that begin later: see `_work`

    def _work(self) -> None:
        torch.set_num_threads(self._threads)  # of this thread, and of those that begin later
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._waiting)
                if self._is_closed:
                    return
                first = self._waiting.popleft()
            _do(*first)

    @contextmanager
    def _limited(self, threads: int) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@torch.no_grad()
def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # raised again where the result is asked for, whatever it is
        future.set_exception(error)
