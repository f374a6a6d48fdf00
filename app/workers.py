"""Processes that work beside this one, and end with it, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait

import cv2

from .errors import InputError

__all__ = ["worker_pool"]


@contextmanager
def worker_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Start processes of one thread each; what has not begun when the block ends is not done.

    A script must call this below ``if __name__ == "__main__":``, since each process imports it: one that is forked
    would inherit the locks of OpenCV's and PyTorch's threads.

    Args:
        count: at most so many; they are started as they are needed.

    Raises:
        InputError: one died.
    """
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_set_up) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process died, perhaps for want of memory; the same command continues, with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _set_up() -> None:
    # Ctrl-C goes to all processes of a terminal; the first one sees to the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    # PyTorch takes seconds to import, and outlining nuclei does without it: where it comes later it reads this.
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _end_with_parent() -> None:
    """A worker waits for work on a pipe of which it holds both ends, so it would not notice that nobody is left."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
