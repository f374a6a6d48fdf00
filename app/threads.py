"""How the threads of this process share the machine's cores with others."""

from __future__ import annotations

import os

__all__ = ["let_threads_sleep"]


def let_threads_sleep() -> None:
    """Have the threads of PyTorch's kernels sleep while they wait for each other; call it before torch is imported.

    By default they spin, for some milliseconds after every kernel. On a machine with few cores they so take them from
    the processes that make the next batch or outline the last tile: two trainings side by side slow each other
    tenfold. A user's own ``OMP_WAIT_POLICY`` stands. Where another program starts the interpreter, as with
    ``python -m monai.bundle run``, set it there.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
