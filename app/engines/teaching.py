"""Self-training: a trained network labels real tiles, and another learns from what it is sure of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..data.images import read_image, write_png
from ..data.taught import TaughtPatches, target_file
from ..data.tilestore import TileStore
from ..errors import InputError
from ..postprocess.confidence import ConfidenceSettings, confident_targets
from ..progress import track
from ..slides.array import maps_of
from ..slides.model import load_segmenter
from ..slides.segmentation import SlideSegmenter

__all__ = ["teach"]


def teach(
    store: TileStore,
    teacher: Path | str | None,
    folder: Path | str,
    size: int,
    seed: int = 0,
    core: float = 0.5,
    device: torch.device | str = "cpu",
    settings: ConfidenceSettings | None = None,
) -> TaughtPatches:
    """Have a trained network label tiles, and make patches of them for another one to learn from.

    Each tile is looked at in four orientations. What is there already is kept.

    Args:
        store: the tiles.
        teacher: as of :func:`~nucleosynth.slides.model.find_bundle`; None is the network that is shipped.
        folder: for the targets, a PNG each; worth a look.
        size: side of the patches, in pixels.
        seed: of the patches.
        core: share of a nucleus' largest distance to its boundary at which its core begins.
        device: where the network runs.
        settings: what it counts as sure of; None takes the usual.

    Raises:
        InputError: the teacher cannot be used, or works at another scale than that of the tiles.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    missing = [tile for tile in store.tiles if not target_file(folder, tile).exists()]
    if missing:
        segmenter = load_segmenter(teacher, {"device": device})
        if abs(segmenter.instances.mpp / store.mpp - 1) > 0.01:
            raise InputError(
                f"{teacher or 'the network that is shipped'}: works at {segmenter.instances.mpp:g} µm/px, the tiles "
                f"are at {store.mpp:g}; sample them at its scale (nucleosynth tiles --mpp)"
            )
        for tile in track(missing, "Labelling tiles"):
            maps = np.mean(list(_looks(read_image(tile.path), segmenter)), axis=0)
            targets = confident_targets(maps, segmenter.instances, settings, core)
            picture = np.zeros((*targets.shape[1:], 3), np.uint8)
            picture[..., :2] = np.rint(255 * targets).astype(np.uint8).transpose(1, 2, 0)
            write_png(target_file(folder, tile), picture)
    return TaughtPatches(store.tiles, folder, size, seed)


def _looks(image: np.ndarray, segmenter: SlideSegmenter) -> Iterator[np.ndarray]:
    """Maps of an image, float32, shape (2, H, W), from what the network sees in its four quarter turns."""
    for turns in range(4):
        maps = maps_of(np.ascontiguousarray(np.rot90(image, turns)), segmenter)
        yield np.rot90(maps, -turns, (1, 2)).astype(np.float32)
