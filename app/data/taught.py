"""Real patches with targets that a trained network has made, for self-training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from nucleosynth.transforms.synthesis import draw_crop, take_crop

from .images import read_image
from .keys import PatchKeys as Keys
from .tileset import Tile

__all__ = ["TaughtPatches", "target_file"]


def target_file(folder: Path, tile: Tile) -> Path:
    """Where the targets of a tile lie: a PNG with detection in red and segmentation in green, of 255."""
    return folder / f"{tile.name}.png"


class TaughtPatches(Dataset):
    """Random crops of tiles with their targets, turned and mirrored.

    Endless and without state, like :class:`~nucleosynth.data.patches.SyntheticPatches`. An example holds ``image`` and
    ``target``, float32, in [0, 1].

    Args:
        tiles: the tiles.
        folder: of their targets, see :func:`target_file`.
        size: side of a patch, in pixels.
        seed: of all that is drawn.

    Raises:
        InputError: a file cannot be read.
    """

    def __init__(self, tiles: Sequence[Tile], folder: Path, size: int, seed: int = 0) -> None:
        self.size, self.seed = size, seed
        self._pairs = [(read_image(tile.path), read_image(target_file(folder, tile))) for tile in tiles]
        # Every pixel alike: a large tile shows more than a small one.
        areas = np.array([image.shape[0] * image.shape[1] for image, _ in self._pairs], float)
        self._shares = areas / areas.sum()

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([self.seed, number])))
        image, target = self._pairs[rng.choice(len(self._pairs), p=self._shares)]
        crop = draw_crop(image.shape, self.size, rng)
        pixels, targets = take_crop(image, crop), take_crop(target, crop)[..., :2]
        return {
            str(Keys.IMAGE): torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            str(Keys.TARGET): torch.from_numpy(np.ascontiguousarray(targets.transpose(2, 0, 1))).float() / 255,
        }
