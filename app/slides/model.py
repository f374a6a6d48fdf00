"""Trained bundles at work on slides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..networks import build_part
from .segmentation import SlideSegmenter

__all__ = ["load_segmenter"]

_CONFIGURATION = Path("configs", "slide_inference.yaml")


def load_segmenter(bundle: Path | str, changes: Mapping[str, Any] | None = None) -> SlideSegmenter:
    """Load what ``nucleosynth train`` left in its bundle ``nuclei_segmentation``.

    Args:
        bundle: the folder of that bundle, or the output folder that holds it. Its configuration may hold expressions,
            which are executed: use only bundles that you trust. Its weights are loaded as plain tensors.
        changes: entries of ``configs/slide_inference.yaml`` to replace, such as ``{"segmenter#workers": 1}``.

    Raises:
        InputError: it is no such bundle, or a file in it is missing or damaged.
    """
    bundle = Path(bundle)
    folder = bundle / "nuclei_segmentation" if (bundle / "nuclei_segmentation").is_dir() else bundle
    if not (folder / _CONFIGURATION).is_file():
        raise InputError(f"{bundle}: no bundle that segments slides (has no {_CONFIGURATION}); give an output of train")
    return build_part(folder / _CONFIGURATION, "segmenter", {"bundle_root": str(folder), **(changes or {})})
