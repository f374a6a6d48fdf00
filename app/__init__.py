"""nucleosynth: nuclei segmentation in H&E tissue, learnt from synthetic patches, without a single label."""

from importlib import import_module
from importlib.metadata import version
from typing import Any

from .cuda_runtime import preload_cuda_runtime

preload_cuda_runtime()
__version__ = version("nucleosynth")

# What is offered at the top of the package and where it is: found when it is first asked for (PEP 562), for the command
# line must not wait for PyTorch.
_OFFERED = {"segment": ".slides.array"}

__all__ = ["__version__", *_OFFERED]


def __getattr__(name: str) -> Any:
    if name in _OFFERED:
        return getattr(import_module(_OFFERED[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
