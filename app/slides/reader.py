"""Slides and images, read at any scale in one way."""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path
from types import TracebackType

import numpy as np
import openslide
import tifffile

from ..data.images import IMAGE_SUFFIXES
from ..errors import InputError
from .backend import SlideBackend
from .cucim_reader import CUCIM_COMPRESSIONS, CUCIM_FORMATS, CuCimBackend, cucim_is_installed
from .dicom import dicom_slide
from .image_reader import ImageBackend
from .openslide_reader import OpenSlideBackend
from .resample import plan_axis, resample
from .settings import READERS

__all__ = ["SlideReader", "is_slide", "open_slide"]

# What tifffile finds odd in a file is reported here as an error, or does not matter.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_BLOCK = 4096  # Source pixels on a side that a thumbnail takes at once: 48 MiB.
_SCALE_TOLERANCE = 1e-3


def open_slide(path: str | os.PathLike[str], mpp: float | None = None, reader: str = "auto") -> SlideReader:
    """Open a slide, a plain image, or a folder that is one DICOM slide.

    Args:
        path: the file, or the DICOM folder.
        mpp: scale of level 0 in µm per pixel, overriding what the file says.
        reader: ``"auto"`` is cuCIM where it is installed and gives the same pixels, else OpenSlide; ``"cucim"`` and
            ``"openslide"`` insist. A plain image is read the same way with each.

    Raises:
        InputError: the file cannot be read, or carries no plausible scale and ``mpp`` is not given.
    """
    path = Path(path)
    if reader not in READERS:
        raise ValueError(f"reader must be one of {', '.join(READERS)}, got {reader!r}")
    if mpp is not None and not mpp > 0:
        raise ValueError(f"mpp must be positive, got {mpp}")
    backend = _open_backend(path, reader)
    scale = mpp if mpp is not None else backend.mpp
    if scale is None:
        backend.close()
        raise InputError(f"{path}: carries no plausible scale; give --mpp in µm per pixel (0.25 is 40x, 0.5 is 20x)")
    return SlideReader(path, backend, scale, reader)


class SlideReader:
    """A slide in level-0 pixels and µm. Pixel i covers [i, i + 1); beyond the slide all is white.

    Made by :func:`open_slide`. It can be pickled: the copy opens the slide anew, so give one to each worker process,
    and do not share one among threads.

    Attributes:
        path: what was opened.
        mpp: µm per pixel of level 0.
        dimensions: (width, height) of level 0, in pixels.
        level_dimensions: (width, height) of each level.
        level_downsamples: level-0 pixels per pixel of each level, ascending from 1.
    """

    def __init__(self, path: Path, backend: SlideBackend, mpp: float, reader: str) -> None:
        self.path, self.mpp = path, mpp
        self._backend, self._reader = backend, reader
        self.level_dimensions = backend.level_dimensions
        self.dimensions = self.level_dimensions[0]
        self.level_downsamples = [_downsample(self.dimensions, level) for level in self.level_dimensions]

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> np.ndarray:
        """Read pixels of a level as they are.

        Args:
            location: (x, y) of the upper left corner, level-0 pixels; rounded to the nearest pixel of the level.
            level: index of the level.
            size: (width, height), pixels of the level.

        Returns:
            uint8, shape (height, width, 3), RGB.
        """
        left, top = (round(value / self.level_downsamples[level]) for value in location)
        width, height = size
        level_width, level_height = self.level_dimensions[level]
        result = np.full((height, width, 3), 255, np.uint8)
        x0, x1 = max(left, 0), min(left + width, level_width)
        y0, y1 = max(top, 0), min(top + height, level_height)
        if x0 < x1 and y0 < y1:
            region = self._backend.read(level, x0, y0, x1 - x0, y1 - y0)
            result[y0 - top : y1 - top, x0 - left : x1 - left] = region
        return result

    def read_at(self, location: tuple[float, float], size: tuple[int, int], mpp: float) -> np.ndarray:
        """Read a rectangle at any scale, exactly placed; see :mod:`nucleosynth.slides.resample`.

        Args:
            location: (x, y) of the upper left corner, level-0 pixels, not necessarily whole.
            size: (width, height) of the result, pixels.
            mpp: scale of the result, µm per pixel.

        Returns:
            uint8, shape (height, width, 3), RGB.
        """
        downsample = mpp / self.mpp
        level = self._level_for(downsample)
        factor = self.level_downsamples[level]
        step = downsample / factor
        (x, y), (width, height) = (value / factor for value in location), size
        level_width, level_height = self.level_dimensions[level]
        if x + width * step <= 0 or y + height * step <= 0 or x >= level_width or y >= level_height:
            return np.full((height, width, 3), 255, np.uint8)
        if step == 1 and x.is_integer() and y.is_integer():
            return self.read_region((round(location[0]), round(location[1])), level, size)
        rows = plan_axis(y, step, height, level_height)
        columns = plan_axis(x, step, width, level_width)
        region = self._backend.read(
            level, columns.first, rows.first, columns.last - columns.first, rows.last - rows.first
        )
        return resample(region, rows, columns)

    def thumbnail(self, mpp: float, unreadable: np.ndarray | None = None) -> np.ndarray:
        """The whole slide at a low scale, read in blocks of bounded memory.

        Args:
            mpp: scale of the result, µm per pixel.
            unreadable: bool, shape of the result without its last axis, see :meth:`thumbnail_size`; if given, damaged
                blocks are left white and set in it, otherwise damage is an error.

        Returns:
            uint8, shape (H, W, 3).

        Raises:
            InputError: a part is damaged.
        """
        downsample = mpp / self.mpp
        width, height = self.thumbnail_size(mpp)
        factor = self.level_downsamples[self._level_for(downsample)]
        block = max(1, int(_BLOCK * factor / downsample))
        result = np.full((height, width, 3), 255, np.uint8)
        for top in range(0, height, block):
            for left in range(0, width, block):
                size = (min(block, width - left), min(block, height - top))
                place = slice(top, top + size[1]), slice(left, left + size[0])
                try:
                    result[place] = self.read_at((left * downsample, top * downsample), size, mpp)
                except InputError:
                    if unreadable is None:
                        raise
                    unreadable[place] = True
        return result

    def thumbnail_size(self, mpp: float) -> tuple[int, int]:
        """Width and height of the whole slide at a scale in µm per pixel."""
        width, height = (max(1, round(side * self.mpp / mpp)) for side in self.dimensions)
        return width, height

    def close(self) -> None:
        """Free the file; no reading afterwards."""
        self._backend.close()

    def __enter__(self) -> SlideReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, tuple[Path, float, str]]:
        return open_slide, (self.path, self.mpp, self._reader)

    def _level_for(self, downsample: float) -> int:
        """The coarsest level that is not coarser than wanted, so that reading only ever reduces where it can."""
        fine_enough = [factor <= downsample * (1 + _SCALE_TOLERANCE) for factor in self.level_downsamples]
        return max((level for level, fine in enumerate(fine_enough) if fine), default=0)


def is_slide(path: Path) -> bool:
    """Whether a file is in a slide format (of TIFF: tiled), rather than a plain image or something else."""
    return openslide.OpenSlide.detect_format(path) is not None


def _open_backend(path: Path, reader: str) -> SlideBackend:
    file: Path | None = path
    if path.is_dir():
        file = dicom_slide(path)
    elif not path.exists():
        raise InputError(f"{path}: no such file")
    if file is None:
        raise InputError(f"{path}: no DICOM slide in this folder")
    if not os.access(file, os.R_OK):
        raise InputError(f"{file}: no permission to read it")
    compressions = _tiff_compressions(file)
    slide_format = openslide.OpenSlide.detect_format(file)
    if slide_format is None:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            return ImageBackend(file)
        raise InputError(f"{file}: damaged, or not a slide or image that can be read")
    if reader == "cucim":
        return CuCimBackend(file)
    suits_cucim = slide_format in CUCIM_FORMATS and compressions and compressions <= CUCIM_COMPRESSIONS
    if reader == "auto" and suits_cucim and cucim_is_installed():
        try:
            return CuCimBackend(file)
        except InputError:
            pass  # What cuCIM cannot open OpenSlide may.
    return OpenSlideBackend(file)


def _tiff_compressions(path: Path) -> set[int]:
    """Compressions of the tiled levels of a TIFF; none if it is no TIFF, or one only its own reader understands.

    Raises:
        InputError: its parts lie beyond its end, which readers notice only on coming to them, or never.
    """
    compressions, end = set(), 0
    try:
        with tifffile.TiffFile(path) as tiff:
            for page in tiff.pages:
                ends = (offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True))
                end = max(end, max(ends, default=0))
                if page.is_tiled:
                    compressions.add(int(page.compression))
            # The chain of levels ends with a zero; anything else leads out of what is left of the file.
            tiff.filehandle.seek(tiff.pages.next_page_offset)
            (next_level,) = struct.unpack(tiff.tiff.offsetformat, tiff.filehandle.read(tiff.tiff.offsetsize))
            end = max(end, next_level)
    except (tifffile.TiffFileError, struct.error, ValueError, AttributeError, IndexError, KeyError, TypeError):
        return set()
    if end > path.stat().st_size:
        raise InputError(f"{path}: truncated, its end is missing; copy it again")
    return compressions


def _downsample(full: tuple[int, int], level: tuple[int, int]) -> float:
    """Downsample of a level from its size.

    Pyramids are made with a whole factor, mostly a power of two, and the odd last pixels dropped or filled. So the
    factor is that whole number where it explains both sides, and the mean ratio of the sides where none does.
    """
    ratio = (full[0] / level[0] + full[1] / level[1]) / 2
    for factor in (2 ** round(np.log2(ratio)), round(ratio)):
        if all(abs(side / factor - part) < 1 for side, part in zip(full, level, strict=True)):
            return float(factor)
    return ratio
