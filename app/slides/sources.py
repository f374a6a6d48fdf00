"""The slides and images that a command was given, each with a name and a tissue type that are safe in file names."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.images import IMAGE_SUFFIXES, find_files
from ..errors import InputError
from .dicom import dicom_slide
from .reader import is_slide

__all__ = ["SLIDE_SUFFIXES", "Source", "find_sources"]

SLIDE_SUFFIXES = frozenset({".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide"})
_TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
_LONGEST_NAME = 100  # Bytes; type, stem and position must fit into the 255 of a file name.


@dataclass(frozen=True)
class Source:
    """A slide or an image.

    Attributes:
        path: the file, or the folder of a DICOM slide.
        is_slide: whether tiles are sampled from it; an image is used in full.
        type: its tissue type: the slide itself, or what images share.
        name: its own name, unlike that of any other source of the run.
    """

    path: Path
    is_slide: bool
    type: str
    name: str


def find_sources(inputs: Sequence[Path], type_by: str, without: Path) -> list[Source]:
    """Find what the inputs stand for: files are themselves, folders all slides and images in and below them.

    Args:
        inputs: files and folders.
        type_by: ``"folder"``: images in one folder are of one type, named by its path below the input;
            ``"image"``: each is its own. Slides always are.
        without: a folder in which nothing is looked for, that of the output.

    Raises:
        InputError: an input does not exist, is of no known kind, or holds nothing.
    """
    found: dict[Path, tuple[Path, bool, Path]] = {}
    for given in inputs:
        for path in _expand(given, without.resolve()):
            slide = path.is_dir() or _is_slide_file(path)
            found.setdefault(path.resolve(), (path, slide, given))
    own_type = [slide or type_by == "image" for _, slide, _ in found.values()]
    type_keys: list[Hashable] = []
    type_names, stems = [], []
    for (path, _, given), own in zip(found.values(), own_type, strict=True):
        type_keys.append(path.resolve() if own else path.parent.resolve())
        type_names.append(_stem(path) if own else _folder_name(path, given))
        stems.append(_safe(_stem(path)))
    types = _distinct(type_keys, [_safe(name) for name in type_names])
    names = [kind if own else f"{kind}__{stem}" for kind, stem, own in zip(types, stems, own_type, strict=True)]
    names = _distinct(list(found), names)
    parts = zip(found.values(), types, names, strict=True)
    return [Source(path, slide, kind, name) for (path, slide, _), kind, name in parts]


def _expand(given: Path, without: Path) -> list[Path]:
    if not given.exists():
        raise InputError(f"{given}: no such file or folder")
    if not given.is_dir():
        return [given]
    if dicom_slide(given) is not None:
        return [given]
    candidates = find_files(given, SLIDE_SUFFIXES | IMAGE_SUFFIXES)
    folders = sorted({file.parent for file in find_files(given, {".dcm"})})
    candidates += [folder for folder in folders if dicom_slide(folder) is not None]
    paths = [path for path in candidates if not path.resolve().is_relative_to(without)]
    if not paths:
        raise InputError(f"{given}: no slides or images in this folder")
    return sorted(paths)


def _is_slide_file(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES - _TIFF_SUFFIXES:
        return False
    if is_slide(path):
        return True
    if suffix in SLIDE_SUFFIXES:
        raise InputError(f"{path}: damaged or truncated slide; copy it again or leave it out")
    if suffix not in IMAGE_SUFFIXES:
        raise InputError(f"{path}: not a slide or an image that can be read")
    return False


def _stem(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem


def _folder_name(path: Path, given: Path) -> str:
    """The folder of an image, seen from the input through which it was found."""
    if path == given or path.parent == given:
        return path.resolve().parent.name
    return "-".join(path.parent.relative_to(given).parts)


def _safe(name: str) -> str:
    cleaned = re.sub(r"[^\w.\-]+", "_", name).strip("._") or "unnamed"
    return cleaned.encode()[:_LONGEST_NAME].decode(errors="ignore")


def _distinct(keys: Sequence[Hashable], names: Iterable[str]) -> list[str]:
    """One name a key: where two keys have the same name, the later gets a number. Case does not tell names apart."""
    chosen: dict[Hashable, str] = {}
    taken: set[str] = set()
    for key, name in zip(keys, names, strict=True):
        if key in chosen:
            continue
        candidate, number = name, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.casefold())
        chosen[key] = candidate
    return [chosen[key] for key in keys]
