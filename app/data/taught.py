"""Real patches with targets that a trained network has made, for self-training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from nucleosynth.transforms.synthesis import draw_crop, take_crop

from .images import read_image
from .keys import PatchKeys as Keys
from .tileset import Tile

__all__ = ["TaughtPatches"]


class TaughtPatches(Dataset):
    """Random crops of tiles with their targets, turned and mirrored.

    Endless and without state, like :class:`~nucleosynth.data.patches.SyntheticPatches`. An example holds ``image`` and
    ``target``, float32, in [0, 1], in steps of 1/255.

    Args:
        tiles: the tiles.
        targets: gives those of a tile, float, shape (2, H, W), in [0, 1]: detection and segmentation, see
            :meth:`nucleosynth.engines.Teacher.targets`.
        size: side of a patch, in pixels.
        seed: of all that is drawn.

    Raises:
        InputError: a tile cannot be read.
    """

    def __init__(self, tiles: Sequence[Tile], targets: Callable[[Tile], np.ndarray], size: int, seed: int = 0) -> None:
        self.size, self.seed = size, seed
        # Eight bits each, as many tiles are kept.
        self._pairs = [
            (read_image(tile.path), np.rint(255 * targets(tile)).astype(np.uint8).transpose(1, 2, 0)) for tile in tiles
        ]
        # Every pixel alike: a large tile shows more than a small one.
        areas = np.array([image.shape[0] * image.shape[1] for image, _ in self._pairs], float)
        self._shares = areas / areas.sum()

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([self.seed, number])))
        image, target = self._pairs[rng.choice(len(self._pairs), p=self._shares)]
        crop = draw_crop(image.shape, self.size, rng)
        pixels, targets = take_crop(image, crop), take_crop(target, crop)
        return {
            str(Keys.IMAGE): torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            str(Keys.TARGET): torch.from_numpy(np.ascontiguousarray(targets.transpose(2, 0, 1))).float() / 255,
        }
