"""What OpenSlide leaves to its user with DICOM: finding the slide in a folder, and wrongly declared colours."""

from __future__ import annotations

import io
from pathlib import Path

import openslide
from PIL import Image

__all__ = ["dicom_slide", "is_dicom", "is_mislabelled_ycbcr"]

_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_JPEG_START = b"\xff\xd8\xff"
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_HEADER_BYTES = 2**20


def dicom_slide(folder: Path) -> Path | None:
    """The file by which a folder opens as one DICOM slide, or ``None`` if it is no such folder.

    The series must be alone in its folder; its largest file, level 0, is tried first.
    """
    files = [file for file in folder.glob("*.dcm") if not file.name.startswith(".")]
    for file in sorted(files, key=lambda file: (-file.stat().st_size, file.name)):
        if openslide.OpenSlide.detect_format(file) == "dicom":
            return file
    return None


def is_dicom(path: Path) -> bool:
    """Whether a slide is DICOM: one of its files, or the folder with them, which only DICOM slides are."""
    return path.is_dir() or openslide.OpenSlide.detect_format(path) == "dicom"


def is_mislabelled_ycbcr(path: Path, photometric: str, transfer_syntax: str) -> bool:
    """Whether the frames are YCbCr although the file says RGB, so that OpenSlide returns Y, Cb, Cr for R, G, B.

    Some converters (bioformats issue 4161) write so. A JPEG with a JFIF header, or with chroma of lower resolution
    than the first component, is YCbCr whatever surrounds it.

    Args:
        path: a DICOM file of the slide.
        photometric: its Photometric Interpretation (0028,0004).
        transfer_syntax: its Transfer Syntax UID (0002,0010).
    """
    if photometric != "RGB" or transfer_syntax != _JPEG_BASELINE:
        return False
    content = b""
    with path.open("rb") as file:
        while _PIXEL_DATA not in content and (more := file.read(_HEADER_BYTES)):
            content = content[-len(_PIXEL_DATA) :] + more
        content = content[content.find(_PIXEL_DATA) :] + file.read(_HEADER_BYTES)
    start = content.find(_JPEG_START)
    if start < 0:
        return False
    try:
        with Image.open(io.BytesIO(content[start:])) as frame:
            sampling = [component[1:3] for component in getattr(frame, "layer", [])]
            return "jfif" in frame.info or len(set(sampling)) > 1
    except OSError:
        return False
