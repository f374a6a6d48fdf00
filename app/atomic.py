"""Files that are there whole or not at all, so that a killed run never leaves half a file under its final name."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a hidden name in the same folder, then rename it into place; missing folders are made.

    The hidden name depends on the file's own name alone, so the next attempt overwrites what a killed one left.

    Raises:
        OSError: the file cannot be written (no space, no permission, not a folder); ``filename`` is always set.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        # A full disk is reported by write(), which does not know the name of its file.
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error
