"""Real patches with expert labels: for supervised baselines, and to mix with synthetic ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from nucleosynth.transforms.synthesis import draw_crop, take_crop
from nucleosynth.transforms.targets import nucleus_targets

from ..errors import InputError
from .images import find_images, read_image, read_label
from .keys import PatchKeys as Keys

__all__ = ["LabelledPatches", "find_labelled"]


def find_labelled(folder: Path) -> list[tuple[Path, Path]]:
    """Images and label images of a labelled data set: ``images/NAME.*`` and ``labels/NAME.png``.

    Raises:
        InputError: there is no image, or an image has no label.
    """
    folder = Path(folder)
    pairs = []
    for image in find_images(folder / "images"):
        label = (folder / "labels" / image.relative_to(folder / "images")).with_suffix(".png")
        if not label.exists():
            raise InputError(f"{image}: has no label; there should be a {label}")
        pairs.append((image, label))
    return pairs


class LabelledPatches(Dataset):
    """Random crops of labelled images, turned, mirrored and scaled (paper, section 5.1).

    Endless and without state, like :class:`~nucleosynth.data.patches.SyntheticPatches`. An example holds ``image`` and
    ``target``.

    Args:
        folder: with ``images/`` and ``labels/``, see :func:`find_labelled`.
        size: side of a patch, in pixels.
        seed: of all that is drawn.
        core: share of a nucleus' largest distance to its boundary at which its core begins.
        scale: range of the magnification.

    Raises:
        InputError: an image or label cannot be read, they differ in size, or are smaller than a patch.
    """

    def __init__(
        self,
        folder: Path,
        size: int,
        seed: int = 0,
        core: float = 0.5,
        scale: tuple[float, float] = (0.85, 1.2),
    ) -> None:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale must be a range of positive values, got {scale}")
        self.size, self.seed, self.core, self.scale = size, seed, core, tuple(scale)
        self.images = []
        for image_path, label_path in find_labelled(folder):
            image, label = read_image(image_path), read_label(label_path)
            if image.shape[:2] != label.shape:
                raise InputError(f"{label_path}: differs in size from {image_path}")
            if min(label.shape) * scale[0] < size:
                raise InputError(f"{image_path}: too small for patches of {size} px; use a smaller patch_size")
            self.images.append((image, label))

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([self.seed, number])))
        image, label = self.images[rng.randint(len(self.images))]
        factor = float(np.exp(rng.uniform(*np.log(self.scale))))
        crop = draw_crop(image.shape, round(self.size / factor), rng)
        shape = (self.size, self.size)
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        scaled = cv2.resize(take_crop(image, crop), shape, interpolation=method)
        ids = cv2.resize(take_crop(label, crop), shape, interpolation=cv2.INTER_NEAREST_EXACT)
        return {
            str(Keys.IMAGE): torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1))),
            str(Keys.TARGET): torch.from_numpy(nucleus_targets(ids, self.core)),
        }
