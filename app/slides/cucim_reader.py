"""Slides through cuCIM: several times faster on tiled TIFF and SVS, with or without a GPU.

cuCIM does not report damaged JPEG data, it returns wrong pixels: read a slide in doubt with OpenSlide. Its objects must
not be shared among threads or processes; each opens the slide for itself.
"""

from __future__ import annotations

import importlib
import math
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

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """See :meth:`nucleosynth.slides.backend.SlideBackend.read`."""
        location = (self._to_level_zero(x, level), self._to_level_zero(y, level))
        try:
            region = self._image.read_region(location, (width, height), level=level)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{self._path}: damaged slide, reading failed ({error}); copy it again") from error
        # The buffer belongs to cuCIM, which may use it again.
        return np.array(region)[..., :3]

    def close(self) -> None:
        self._image.close()

    def _to_level_zero(self, position: int, level: int) -> int:
        """A level-0 position that cuCIM, which divides and drops the fraction, turns into ``position``."""
        return position if level == 0 else math.ceil(position * self._downsamples[level] + 0.25)


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
