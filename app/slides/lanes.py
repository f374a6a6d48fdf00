"""Batches side by side on the cores of a CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

__all__ = ["Lanes"]

_MOST_LANES = 4  # Each holds the activations of a batch.


class Lanes:
    """A function of batches, computed for several of them at a time, each by its share of PyTorch's threads.

    Threads that work on one layer of one batch wait for each other at its end; those of two batches do not.

    Args:
        function: from a batch to its result; it is called in other threads than the caller's.
        threads: how many there are to share; with 1 the function is called in the caller's own.
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], threads: int) -> None:
        self.count = max(1, min(_MOST_LANES, threads))
        self._function = function
        self._pool = None
        if self.count > 1:
            # The number counts for the thread that sets it.
            share = (threads // self.count,)
            self._pool = ThreadPoolExecutor(self.count, "lane", torch.set_num_threads, share)

    def map(self, batches: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Results in the order of the batches, of which only as many are drawn as keep the lanes busy."""
        if self._pool is None:
            yield from map(self._function, batches)
            return
        ahead: deque[Future[torch.Tensor]] = deque()
        for batch in batches:
            ahead.append(self._pool.submit(self._function, batch))
            if len(ahead) > self.count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
