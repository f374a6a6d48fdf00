"""Packages of the extra ``formats``, which may be missing."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import InputError

__all__ = ["optional_module"]


def optional_module(name: str, wanted_for: str) -> Any:
    """Import a module of an optional package.

    Args:
        name: of the module, such as ``"highdicom.ann"``.
        wanted_for: the format that needs it.

    Raises:
        InputError: the package is not installed, or its installation is broken.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        package = name.partition(".")[0]
        raise InputError(
            f"--formats {wanted_for}: {package} is not installed; pip install 'nucleosynth[formats]', or leave it out"
        ) from error
