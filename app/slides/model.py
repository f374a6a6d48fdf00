"""Trained bundles at work on slides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleosynth.bundles import bundle_path

from ..errors import InputError
from ..networks import build_part
from .registered import fetch_bundle, is_registered
from .segmentation import SlideSegmenter

__all__ = ["find_bundle", "find_weights", "load_segmenter"]

# Of the shipped weights that may not be used commercially, in place of a bundle.
_RESEARCH = "research"
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
    given = {"bundle_root": str(folder), "ckpt_path": str(_weights(folder, bundle)), **(changes or {})}
    return build_part(folder / _CONFIGURATION, "segmenter", given)


def find_weights(bundle: Path | str | None = None) -> Path:
    """File with the weights of a bundle, which need not be there; argument and errors as of :func:`find_bundle`."""
    return _weights(find_bundle(bundle), bundle)


def find_bundle(bundle: Path | str | None = None) -> Path:
    """Folder of the shipped bundle ``nuclei_segmentation``, or of one that ``nucleosynth train`` has left.

    Args:
        bundle: that folder itself, or the output folder that holds it; None is the shipped one, and so is ``research``,
            where no folder has that name: the same bundle with other weights. An address ``models:/NAME@ALIAS`` or
            ``models:/NAME/VERSION`` is fetched from MLflow's registry, into a folder that lasts as long as the process.

    Raises:
        InputError: it is no such bundle.
    """
    if bundle is not None and is_registered(bundle):
        return fetch_bundle(bundle)
    bundle = bundle_path(_NAME) if bundle is None or _is_research(bundle) else Path(bundle)
    folder = bundle / _NAME if (bundle / _NAME).is_dir() else bundle
    if not (folder / _CONFIGURATION).is_file():
        raise InputError(f"{bundle}: no bundle that segments slides (has no {_CONFIGURATION}); give an output of train")
    return folder


def _weights(folder: Path, bundle: Path | str | None) -> Path:
    return folder / "models" / ("model_research.pt" if _is_research(bundle) else "model.pt")


def _is_research(bundle: Path | str | None) -> bool:
    return bundle is not None and str(bundle) == _RESEARCH and not Path(bundle).exists()
