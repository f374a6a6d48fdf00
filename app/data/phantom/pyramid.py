"""Phantoms as files: a pyramidal TIFF that OpenSlide and cuCIM read as a slide, and a PNG of the labels."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from ...errors import InputError
from .settings import Phantom

__all__ = ["write_phantom"]

_TILE = 256
_MOST_LABELS = 65_535
_CLASSIC_TIFF = 3 * 10**9  # bytes of level 0; with its pyramid that comes near the 4 GiB of classic TIFF


def write_phantom(phantom: Phantom, folder: Path | str, name: str = "phantom") -> tuple[Path, Path]:
    """Write a phantom as a slide and its label image.

    A file appears under its name only once it is whole; files of the same names are replaced.

    Args:
        phantom: what to write.
        folder: an existing folder.
        name: of the files, without an ending.

    Returns:
        Paths of ``NAME.tiff`` (tiled, not compressed, levels halved until one fits a tile, resolution in pixels per
        cm) and of ``NAME_labels.png`` (16 bits, the instance ids).

    Raises:
        InputError: there are more than 65 535 nuclei, or the folder is missing or cannot be written to.
    """
    count = int(phantom.labels.max(initial=0))
    if count > _MOST_LABELS:
        raise InputError(
            f"a 16-bit label image holds at most {_MOST_LABELS} nuclei, got {count}; make a smaller phantom"
        )
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make it first, or give another one")
    slide, labels = folder / f"{name}.tiff", folder / f"{name}_labels.png"
    _replace(slide, lambda path: _write_pyramid(path, phantom.image, phantom.mpp))
    _replace(labels, lambda path: Image.fromarray(phantom.labels.astype(np.uint16)).save(path, format="PNG"))
    return slide, labels


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write to a temporary name in the same folder, then take the final name in one step."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".phantom-") as scratch:
            part = Path(scratch) / path.name
            write(part)
            os.replace(part, path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); free the place or give another folder") from error


def _write_pyramid(path: Path, image: npt.NDArray[np.uint8], mpp: float) -> None:
    """Write the levels as consecutive pages, as OpenSlide does not look for levels in SubIFDs.

    Not compressed: camera noise leaves deflate a saving of a quarter only, and cuCIM's reader complains about it on the
    error stream.
    """
    with tifffile.TiffWriter(path, bigtiff=image.nbytes > _CLASSIC_TIFF) as tiff:
        level, scale = image, mpp
        while True:
            tiff.write(
                level,
                photometric="rgb",
                tile=(_TILE, _TILE),
                subfiletype=0 if level is image else 1,
                resolution=(1e4 / scale, 1e4 / scale),
                resolutionunit="CENTIMETER",
                metadata=None,
                software="nucleosynth",
            )
            if max(level.shape[:2]) <= _TILE:
                return
            height, width = (max(side // 2, 1) for side in level.shape[:2])
            level = cv2.resize(level, (width, height), interpolation=cv2.INTER_AREA)
            scale *= 2
