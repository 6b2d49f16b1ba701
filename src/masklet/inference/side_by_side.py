"""Several pictures at once on the cores of a processor.

The work of a small model on one picture is too little to keep several cores busy: two threads take 0.8 of the time of
one. A picture for each core takes half (docs/decisions/0023-side-by-side.md).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from masklet.inference.stages import being_timed
from masklet.model.detector import Detector

T = TypeVar("T")
R = TypeVar("R")

# Numbers of one layer's tokens that are worked on at once, over all pictures: the public model at its own size alone
# has 5 million, the default one 0.2. What each picture needs beside the weights grows with it.
_NUMBERS_AT_ONCE = 2_000_000


def workers_for(model: Detector) -> int:
    """How many pictures `model` should work on at once: up to one for each of PyTorch's threads, 1 on accelerators."""
    if model.device.type != "cpu":
        return 1
    vision = model.config.vision
    return max(1, min(torch.get_num_threads(), _NUMBERS_AT_ONCE // (vision.grid**2 * vision.width)))


def side_by_side(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """What `work` gives for each of the items, in their order, some of them ahead of the one that is waited for.

    Args:
        work: may be called by several threads at once.
        items: taken one at a time, by the thread that asks.
        workers: how many are worked on at once, with as many of PyTorch's threads each as there are for them. One after
            the other if it is 1, or while stages are timed.
    """
    if workers <= 1 or being_timed():
        yield from map(work, items)
        return
    threads = torch.get_num_threads()
    each = max(1, threads // workers)
    waiting: deque[Future[R]] = deque()
    coming = iter(items)
    pool = ThreadPoolExecutor(workers, "masklet-picture", initializer=torch.set_num_threads, initargs=(each,))
    try:
        waiting.extend(pool.submit(work, item) for item in itertools.islice(coming, workers + 1))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in itertools.islice(coming, 1))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # some libraries have one number for all threads
