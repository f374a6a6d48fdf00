"""Slides through cuCIM: several times faster on tiled TIFF and SVS, with or without a GPU.

cuCIM does not report damaged JPEG data, it returns wrong pixels: read a slide in doubt with OpenSlide. Its objects must
not be shared among threads or processes; each opens the slide for itself.
"""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .backend import plausible_mpp

__all__ = ["CUCIM_COMPRESSIONS", "CUCIM_FORMATS", "CuCimBackend", "cucim_is_installed"]

CUCIM_FORMATS = frozenset({"aperio", "generic-tiff"})
"""OpenSlide's names of the formats for which cuCIM gives the same pixels; others it may open, but misplace."""

CUCIM_COMPRESSIONS = frozenset({7, 33003, 33005})
"""TIFF codes of JPEG and Aperio's JPEG 2000. On others cuCIM is no faster, and complains on stderr."""

# Width and height in pixels of the blocks that threads decode beside each other, rounded to whole tiles of the slide:
# none is decoded twice, nor many that a wide and low region does not need. And the most threads, beyond which they wait
# for the disk.
_BLOCK, _MOST_THREADS = (1024, 256), 8
_UM_PER_UNIT = {"centimeter": 1e4, "inch": 25400.0}


def cucim_is_installed() -> bool:
    """Whether cuCIM can be imported; a broken installation counts as none."""
    return _import() is not None


class CuCimBackend:
    """A slide opened with cuCIM.

    Raises:
        InputError: cuCIM is not installed, or cannot open the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        image_class = _import()
        if image_class is None:
            raise InputError("--reader cucim: cuCIM is not installed; pip install 'nucleosynth[cucim]', or use another")
        try:
            self._image = image_class(str(path))
            levels = self._image.resolutions
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path}: damaged, or not a slide that cuCIM can read; try --reader openslide") from error
        self.mpp = _mpp(self._image.metadata)
        self.level_dimensions = [(int(width), int(height)) for width, height in levels["level_dimensions"]]
        self._downsamples = levels["level_downsamples"]
        self._blocks = [_block_size(tile) for tile in levels["level_tile_sizes"]]

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See :meth:`nucleosynth.slides.backend.SlideBackend.read`."""
        block_width, block_height = self._blocks[level]
        try:
            if width <= block_width and height <= block_height:
                region = self._image.read_region(self._to_level_zero((x, y), level), (width, height), level=level)
                # The buffer belongs to cuCIM, which may use it again.
                return np.array(region)[..., :3]
            return self._read_blocks(level, x, y, width, height)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{self._path}: damaged slide, reading failed ({error}); copy it again") from error

    def close(self) -> None:
        self._image.close()

    def _read_blocks(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """A large region, put together of blocks that cuCIM's threads decode."""
        block_width, block_height = size = self._blocks[level]
        corners = [
            (left, top)
            for top in range(y // block_height * block_height, y + height, block_height)
            for left in range(x // block_width * block_width, x + width, block_width)
        ]
        locations = [self._to_level_zero(corner, level) for corner in corners]
        threads = min(len(corners), os.cpu_count() or 1, _MOST_THREADS)
        batches = self._image.read_region(locations, size, level=level, num_workers=threads, batch_size=1)
        region = np.empty((height, width, 3), np.uint8)
        for (left, top), batch in zip(corners, batches, strict=True):
            # Copied before the next one is asked for, which may come in the same buffer.
            block = np.asarray(batch).reshape(block_height, block_width, -1)[..., :3]
            x0, x1 = max(left, x), min(left + block_width, x + width)
            y0, y1 = max(top, y), min(top + block_height, y + height)
            region[y0 - y : y1 - y, x0 - x : x1 - x] = block[y0 - top : y1 - top, x0 - left : x1 - left]
        return region

    def _to_level_zero(self, corner: tuple[int, int], level: int) -> tuple[int, int]:
        """A level-0 corner that cuCIM, which divides and drops the fraction, turns into ``corner`` of the level."""
        if level == 0:
            return corner
        left, top = (math.ceil(position * self._downsamples[level] + 0.25) for position in corner)
        return left, top


def _block_size(tile: tuple[int, int]) -> tuple[int, int]:
    width, height = (max(wanted // side, 1) * side for wanted, side in zip(_BLOCK, tile, strict=True))
    return width, height


def _import() -> Any:
    try:
        return importlib.import_module("cucim").CuImage
    except (ImportError, AttributeError, OSError):
        return None


def _mpp(metadata: dict[str, Any]) -> float | None:
    """Scale in µm per pixel; ``CuImage.spacing()`` is 1 on Aperio files, so the metadata are read."""
    if "aperio" in metadata:
        try:
            value = float(metadata["aperio"]["MPP"])
        except (KeyError, ValueError):
            return None
        return plausible_mpp(value, value)
    tiff = metadata.get("tiff", {})
    unit = _UM_PER_UNIT.get(tiff.get("resolution_unit", ""))
    if unit is None or not tiff.get("x_resolution") or not tiff.get("y_resolution"):
        return None
    return plausible_mpp(unit / tiff["x_resolution"], unit / tiff["y_resolution"])
