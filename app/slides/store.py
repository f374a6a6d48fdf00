"""Where the nuclei of a slide gather, tile by tile, until all are there: files that survive whatever stops the run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ..atomic import replace_atomically
from ..errors import InputError
from .table import SCHEMA

__all__ = ["PartStore", "locked", "merge_parts"]

_COMPRESSION = "zstd"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of an output folder, which is made if it is missing. The lock ends with the process.

    Raises:
        InputError: another process is at work there, or ``folder`` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: the output must be a folder, but this is a file; give another -o")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(f"{folder}: another process is writing there; wait for it, or give another -o") from error


class PartStore:
    """Tables of single tiles, a Parquet file each, which are there whole or not at all.

    Args:
        folder: for the files; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """File of a tile."""
        return self.folder / f"{number:06d}.parquet"

    def has(self, number: int) -> bool:
        """Whether a tile's nuclei are there. A file that something else has damaged counts as none."""
        try:
            return pq.read_schema(self.path(number)).equals(SCHEMA)
        except (OSError, pa.ArrowInvalid):
            return False

    def write(self, number: int, table: pa.Table) -> None:
        """Add the nuclei of a tile.

        Raises:
            OSError: the file cannot be written; nothing of it is left under its name.
        """
        with replace_atomically(self.path(number)) as partial:
            pq.write_table(table, partial, compression=_COMPRESSION)

    def read(self, number: int) -> pa.Table:
        """The nuclei of a tile."""
        return pq.read_table(self.path(number))

    def discard(self) -> None:
        """Remove all parts, at once for whoever looks for them."""
        if self.folder.exists():
            gone = self.folder.with_name(f".{self.folder.name}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(self.folder, gone)
            shutil.rmtree(gone, ignore_errors=True)


def merge_parts(store: PartStore, numbers: Sequence[int], path: Path) -> int:
    """Put the parts of a slide together, one in memory at a time.

    Args:
        store: of the parts.
        numbers: of the tiles, in the order in which their nuclei shall follow.
        path: the file, see :mod:`nucleosynth.slides.table`; each part with nuclei becomes a row group.

    Returns:
        Number of nuclei.
    """
    count = 0
    with replace_atomically(path) as partial, pq.ParquetWriter(partial, SCHEMA, compression=_COMPRESSION) as writer:
        for number in numbers:
            table = store.read(number)
            count += len(table)
            if len(table):
                writer.write_table(table)
    return count
