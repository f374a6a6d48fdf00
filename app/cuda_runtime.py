"""CUDA's runtime library, without which MONAI cannot be imported where MONAI Deploy is installed."""

from __future__ import annotations

import ctypes
import importlib.util
import warnings
from pathlib import Path

__all__ = ["preload_cuda_runtime"]

_LIBRARY = "libcudart.so.13"


def preload_cuda_runtime() -> None:
    """Load CUDA's runtime from its wheel, if Holoscan is installed, so that ``LD_LIBRARY_PATH`` need not be set.

    ``import monai`` imports whatever lies in its folder, MONAI Deploy too, and with it Holoscan, which looks for this
    library where the system's are, with a GPU or without. What is loaded already is not looked for again.

    Holoscan's advice about the size of the stack is silenced: only the application runs it, and sees to that itself.
    """
    if importlib.util.find_spec("holoscan") is None:
        return
    warnings.filterwarnings("ignore", "Current stack size", RuntimeWarning)
    wheels = importlib.util.find_spec("nvidia")
    for folder in (wheels and wheels.submodule_search_locations) or ():
        for path in Path(folder).glob(f"*/lib/{_LIBRARY}"):
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
            return
