"""Files that are there whole or not at all, so that a killed run never leaves half a file under its final name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replace_atomically", "write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a hidden name in the same folder, then rename it into place; missing folders are made.

    The hidden name depends on the file's own name alone, so the next attempt overwrites what a killed one left.

    Raises:
        OSError: the file cannot be written (no space, no permission, not a folder); ``filename`` is always set.
    """
    with replace_atomically(path) as partial:
        partial.write_bytes(data)


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Give the hidden name under which to write a file; when the block ends without an error it is renamed into place.

    For files that a library writes, or that are too large to hold twice; otherwise like :func:`write_atomically`.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        # A full disk is reported by write(), which does not know the name of its file.
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error
