"""A slide's nuclei as a label image: pyramidal OME-TIFF, made with one tile of each level in memory."""

from __future__ import annotations

import functools
import hashlib
import math
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow.parquet as pq
import tifffile

from ..atomic import replace_atomically
from .drawing import fill_outlines, outline_edges
from .reader import SlideReader
from .table import GEOMETRY, outline_vertices

__all__ = ["write_label_image"]

_TILE = 512
_PARTS_KEPT = 8  # A tile of the image touches four parts at most, unless nuclei reach far across their borders.


def write_label_image(source: Path, slide: SlideReader, path: Path) -> None:
    """Draw the nuclei at level-0 pixels, as uint32: 0 is background, and nucleus i is its row in the table + 1.

    Each level halves the one before by taking every other pixel, down to one that fits into a tile. Memory does not
    grow with the slide: tiles are drawn in the order in which a tile of a level has its four below it complete, put
    aside compressed, and written in the order of the file. Where nuclei overlap the later covers the earlier.

    Args:
        source: ``nuclei.parquet``.
        slide: that the nuclei are of.
        path: of the OME-TIFF.

    Raises:
        OSError: the file cannot be written.
    """
    shapes = _level_shapes(slide.dimensions)
    per_cm = 1e4 / slide.mpp
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        _Nuclei(source) as nuclei,
        tempfile.TemporaryFile(dir=path.parent) as spool,
        replace_atomically(path) as partial,
        tifffile.TiffWriter(partial, bigtiff=True, byteorder="<", ome=True) as tiff,
    ):
        pyramid = _Pyramid(nuclei, shapes, spool)
        pyramid.draw()
        for level, shape in enumerate(shapes):
            tiff.write(
                pyramid.encoded(level),
                shape=shape,
                dtype=np.uint32,
                tile=(_TILE, _TILE),
                photometric="minisblack",
                compression="zlib",
                resolution=(per_cm / 2**level, per_cm / 2**level),
                resolutionunit="CENTIMETER",
                **({"subfiletype": 1} if level else {"subifds": len(shapes) - 1}),
                metadata=None if level else _metadata(slide, pyramid.identifier),
            )


def _metadata(slide: SlideReader, identifier: uuid.UUID) -> dict[str, object]:
    """Of OME: how large a pixel is, and what the image is of."""
    size = {f"PhysicalSize{axis}": slide.mpp for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    return {"axes": "YX", "Name": f"Nuclei of {slide.path.name}", "UUID": str(identifier), **size}


def _level_shapes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths of the levels, from the (width, height) of the first."""
    shapes = [(size[1], size[0])]
    while max(shapes[-1]) > _TILE:
        height, width = shapes[-1]
        shapes.append(((height + 1) // 2, (width + 1) // 2))
    return shapes


class _Pyramid:
    """Tiles of all levels, compressed, in a file."""

    def __init__(self, nuclei: _Nuclei, shapes: list[tuple[int, int]], spool: IO[bytes]) -> None:
        self._nuclei, self._spool = nuclei, spool
        self._grids = [(math.ceil(height / _TILE), math.ceil(width / _TILE)) for height, width in shapes]
        self._places: dict[tuple[int, int, int], tuple[int, int]] = {}
        self._digest = hashlib.sha256(repr(shapes).encode())

    @property
    def identifier(self) -> uuid.UUID:
        """The same for the same image."""
        return uuid.UUID(bytes=self._digest.digest()[:16], version=5)

    def draw(self) -> None:
        self._tile(len(self._grids) - 1, 0, 0)

    def encoded(self, level: int) -> Iterator[bytes]:
        """The tiles of a level, row by row."""
        empty = zlib.compress(bytes(_TILE * _TILE * 4))
        rows, columns = self._grids[level]
        for place in ((level, row, column) for row in range(rows) for column in range(columns)):
            if place in self._places:
                offset, length = self._places[place]
                self._spool.seek(offset)
                yield self._spool.read(length)
            else:
                yield empty

    def _tile(self, level: int, row: int, column: int) -> np.ndarray | None:
        """int32, shape (512, 512), of a tile, which is kept, as are those below it; None where there is no nucleus."""
        tile = self._reduced(level, row, column) if level else _drawn(self._nuclei, column * _TILE, row * _TILE)
        if tile is not None:
            content = zlib.compress(tile.astype("<u4").tobytes())
            self._places[level, row, column] = self._spool.tell(), len(content)
            self._digest.update(f"{level} {row} {column}".encode() + content)
            self._spool.write(content)
        return tile

    def _reduced(self, level: int, row: int, column: int) -> np.ndarray | None:
        tile, half = None, _TILE // 2
        rows, columns = self._grids[level - 1]
        for below, beside in ((0, 0), (0, 1), (1, 0), (1, 1)):
            if 2 * row + below < rows and 2 * column + beside < columns:
                finer = self._tile(level - 1, 2 * row + below, 2 * column + beside)
                if finer is not None:
                    tile = np.zeros((_TILE, _TILE), np.int32) if tile is None else tile
                    place = slice(below * half, (below + 1) * half), slice(beside * half, (beside + 1) * half)
                    tile[place] = finer[::2, ::2]
        return tile


class _Nuclei:
    """Outlines in the table, by where they are: parts are read when a tile comes upon them, and the last few kept."""

    def __init__(self, source: Path) -> None:
        self._file = pq.ParquetFile(source)
        count = self._file.num_row_groups
        self._first = np.cumsum([1] + [self._file.metadata.row_group(number).num_rows for number in range(count)])
        boxes = [self._read(number)[2] for number in range(count)]
        self._boxes = np.array([[*each[:, :2].min(0), *each[:, 2:].max(0)] for each in boxes]).reshape(count, 4)
        self._part = functools.lru_cache(_PARTS_KEPT)(self._read)

    def __enter__(self) -> _Nuclei:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def edges(self, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Edges of all nuclei that may have pixels in a box of (left, top, right, bottom).

        Returns:
            Their ends, float64, shape (E, 4), as x, y, x, y in level-0 pixels; and the ids of their nuclei, shape (E,).
        """
        found, ids = [np.empty((0, 4))], [np.empty(0, np.int64)]
        for number in np.flatnonzero(_overlap(self._boxes, box)):
            edges, owner, boxes = self._part(int(number))
            touching = _overlap(boxes, box)[owner]
            found.append(edges[touching])
            ids.append(self._first[number] + owner[touching])
        return np.concatenate(found), np.concatenate(ids)

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Edges of a part, the row in it of the nucleus of each, and the bounds of its nuclei, shape (N, 4)."""
        vertices, offsets = outline_vertices(self._file.read_row_group(number, columns=[GEOMETRY]))
        edges, owner = outline_edges(vertices, offsets)
        first = offsets[:-1]
        bounds = np.hstack([np.minimum.reduceat(vertices, first), np.maximum.reduceat(vertices, first)])
        return edges, owner, bounds


def _overlap(boxes: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Which of the boxes, shape (N, 4), meet a box."""
    left, top, right, bottom = boxes.T
    return (left < box[2]) & (top < box[3]) & (right > box[0]) & (bottom > box[1])


def _drawn(nuclei: _Nuclei, left: int, top: int) -> np.ndarray | None:
    """A tile of level 0, int32, from its corner; None where there is no nucleus."""
    edges, ids = nuclei.edges((left, top, left + _TILE, top + _TILE))
    tile = fill_outlines(edges - np.array([left, top, left, top]), ids, (_TILE, _TILE))
    return tile if tile.any() else None
