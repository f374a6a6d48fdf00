"""Trained bundles at work on slides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleosynth.bundles import bundle_path

from ..errors import InputError
from ..networks import build_part
from .segmentation import SlideSegmenter

__all__ = ["find_bundle", "load_segmenter"]

_NAME = "nuclei_segmentation"
_CONFIGURATION = Path("configs", "slide_inference.yaml")


def load_segmenter(bundle: Path | str | None = None, changes: Mapping[str, Any] | None = None) -> SlideSegmenter:
    """Load the shipped bundle ``nuclei_segmentation``, or one that ``nucleosynth train`` has left.

    Args:
        bundle: as of :func:`find_bundle`. Its configuration may hold expressions, which are executed: use only bundles
            that you trust. Its weights are loaded as plain tensors.
        changes: entries of ``configs/slide_inference.yaml`` to replace, such as ``{"segmenter#workers": 1}``.

    Raises:
        InputError: it is no such bundle, or a file in it is missing or damaged.
    """
    folder = find_bundle(bundle)
    return build_part(folder / _CONFIGURATION, "segmenter", {"bundle_root": str(folder), **(changes or {})})


def find_bundle(bundle: Path | str | None = None) -> Path:
    """Folder of the shipped bundle ``nuclei_segmentation``, or of one that ``nucleosynth train`` has left.

    Args:
        bundle: that folder itself, or the output folder that holds it; None is the shipped one.

    Raises:
        InputError: it is no such bundle.
    """
    bundle = bundle_path(_NAME) if bundle is None else Path(bundle)
    folder = bundle / _NAME if (bundle / _NAME).is_dir() else bundle
    if not (folder / _CONFIGURATION).is_file():
        raise InputError(f"{bundle}: no bundle that segments slides (has no {_CONFIGURATION}); give an output of train")
    return folder
