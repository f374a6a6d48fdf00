"""Image files of tissue: found, read whole or refused, written whole."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Collection
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..atomic import write_atomically
from ..errors import InputError

__all__ = [
    "IMAGE_SUFFIXES",
    "decode_image",
    "find_files",
    "find_images",
    "read_image",
    "read_label",
    "write_label",
    "write_png",
]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})

# What Pillow raises on damaged files, by format; it does use SyntaxError for a broken PNG.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error, zlib.error)
_COLOUR_NAMES = {"L": "grayscale", "1": "black and white", "P": "a palette image", "LA": "grayscale with alpha"}


def find_images(folder: Path) -> list[Path]:
    """Image files in a folder and the folders below, sorted; hidden files and folders are passed over.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    images = find_files(folder, IMAGE_SUFFIXES)
    if not images:
        raise InputError(f"{folder}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return images


def find_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files with one of the suffixes (lower case, with the dot) in a folder and below, sorted; none that is hidden."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = (Path(parent, name) for name in names if not name.startswith("."))
        found += [path for path in visible if path.suffix.lower() in suffixes]
    return sorted(found)


def read_image(path: Path) -> np.ndarray:
    """Read an 8-bit RGB image, or refuse it.

    Returns:
        uint8, shape (H, W, 3), RGB.

    Raises:
        InputError: the file is missing, damaged or truncated, or not 8-bit RGB. A damaged image is never returned
            in part: PNG checksums are verified, and so are the grey blocks with which a JPEG decoder fills gaps.
    """
    return _read(path, path)


def decode_image(content: bytes, name: str) -> np.ndarray:
    """Read an image file that is in memory, as :func:`read_image` does.

    Args:
        content: of the file.
        name: how to call it in messages.
    """
    return _read(BytesIO(content), name)


def _read(source: Path | BytesIO, path: Path | str) -> np.ndarray:
    """Read an image; ``path`` is its name in messages."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_header(source, path)
            with Image.open(source) as image:
                kind = image.format
                pixels = np.array(image)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too large for a plain image; save it as a pyramidal TIFF") from error
    except _DAMAGE as error:
        raise InputError(f"{path}: damaged, truncated or not an image; copy it again or leave it out") from error
    if kind == "JPEG" and _has_gap(pixels):
        raise InputError(f"{path}: damaged JPEG, part of the picture is missing; copy it again or leave it out")
    return pixels


def read_label(path: Path) -> np.ndarray:
    """Read an instance label image.

    Returns:
        uint8 or uint16, shape (H, W), ids.

    Raises:
        InputError: the file is missing, damaged, or not of one channel.
    """
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if label is None:
        raise InputError(f"{path}: missing or damaged; make it again")
    if label.ndim != 2:
        raise InputError(f"{path}: a label image has one channel, this has {label.shape[2]}")
    return label


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG atomically; missing folders are made.

    Args:
        path: where to; ends in ``.png``.
        pixels: uint8 of shape (H, W, 3), RGB; or uint16 or uint8 of shape (H, W).

    Raises:
        ValueError: ``pixels`` has another shape or type.
        OSError: the file cannot be written.
    """
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    elif pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 2:
        raise ValueError(f"pixels must be RGB uint8 or 2-D uint16 or uint8, got {pixels.dtype} of shape {pixels.shape}")
    _, encoded = cv2.imencode(".png", pixels)
    write_atomically(path, encoded.tobytes())


def write_label(path: Path, label: np.ndarray) -> Path:
    """Write a label image as a 16-bit PNG, atomically.

    Args:
        path: where to; ends in ``.png``.
        label: integers, shape (H, W) or (1, H, W), an array or a tensor on the CPU, ids 0 to 65535.

    Returns:
        ``path``.

    Raises:
        ValueError: an id does not fit into 16 bits.
    """
    ids = np.asarray(label)
    ids = ids.reshape(ids.shape[-2:])
    if ids.min(initial=0) < 0 or ids.max(initial=0) > 65535:
        raise ValueError(f"ids must lie between 0 and 65535 for {path}, got {ids.min()} to {ids.max()}")
    write_png(path, ids.astype(np.uint16))
    return path


def _check_header(source: Path | BytesIO, path: Path | str) -> None:
    """Refuse what is not 8-bit RGB, and a PNG whose parts are damaged or missing though its pixels decode."""
    with Image.open(source) as image:
        wrong = _COLOUR_NAMES.get(image.mode, image.mode) if image.mode != "RGB" else None
        if image.mode.startswith("I") or _bits(image) > 8:
            wrong = "16-bit"
        if wrong is None and image.format == "PNG":
            image.verify()
    if wrong is not None:
        raise InputError(f"{path}: is {wrong}, but 8-bit RGB is needed; convert it first")


def _bits(image: Image.Image) -> int:
    """Bits per sample in the file: Pillow reads 16-bit RGB as if it were 8-bit."""
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(258, (1,))))  # type: ignore[attr-defined]
    return 16 if ";16" in str(getattr(image, "tile", "")) else 8


def _has_gap(pixels: np.ndarray) -> bool:
    """Whether a decoded JPEG has 8x8 blocks of exact mid-grey, which stand for data that were not there.

    Args:
        pixels: uint8, shape (H, W, 3).
    """
    grey = (pixels == 128).all(axis=2)
    height, width = (size // 8 * 8 for size in grey.shape)
    blocks = grey[:height, :width].reshape(height // 8, 8, width // 8, 8)
    return bool(blocks.all(axis=(1, 3)).any())
