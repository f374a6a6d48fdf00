"""Tissue for the transforms' tests: discs of known place, size and colour, and phantom tissue."""

import cv2
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.transforms.synthesis import analyze_tile

EOSIN, HAEMATOXYLIN = (226, 160, 196), (108, 74, 150)


def paint_discs(centres, radius, size=(256, 256), seed=0):
    """Dark discs, centres as (x, y) in pixels, on grainy pink; uint8, shape (*size, 3), and the mask of the discs."""
    mask = np.zeros(size, np.uint8)
    for x, y in centres:
        cv2.circle(mask, (round(x), round(y)), radius, 1, -1)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)[..., None]
    image = soft * np.array(HAEMATOXYLIN, np.float32) + (1 - soft) * np.array(EOSIN, np.float32)
    grain = np.random.default_rng(seed).normal(0, 6, (*size, 1)).astype(np.float32)
    image += cv2.GaussianBlur(grain, (0, 0), 0.8)[..., None] * 2
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), mask > 0


def grid(count, size=256):
    """Centres of count x count discs, evenly spaced."""
    places = (np.arange(count) + 0.5) * size / count
    return [(x, y) for y in places for x in places]


@pytest.fixture(scope="session")
def discs():
    """The function that paints discs of a radius in pixels on a grid of n x n, and returns image and mask."""

    def paint(n, radius=13, size=256, seed=0):
        return paint_discs(grid(n, size), radius, (size, size), seed)

    return paint


@pytest.fixture(scope="session")
def tissue():
    """Two phantom tiles, uint8, shape (256, 256, 3)."""
    return tuple(
        generate_phantom(PhantomSettings(width=256, height=256, seed=seed, tissue_share=1.0)).image for seed in (2, 10)
    )


@pytest.fixture(scope="session")
def tiles(tissue):
    """The two phantom tiles, analysed."""
    return tuple(analyze_tile(image) for image in tissue)


@pytest.fixture(scope="session")
def plain():
    """A tile of pure eosin, without a nucleus or a grain."""
    image = np.empty((160, 192, 3), np.uint8)
    image[:] = EOSIN
    return image


@pytest.fixture(params=["numpy", "tensor", "metatensor"])
def as_input(request):
    """The function that turns a channel-last or two-dimensional array into each kind of input MONAI may hand over."""

    def convert(array):
        first = np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
        if request.param == "numpy":
            return first
        tensor = torch.from_numpy(first.copy())
        return tensor if request.param == "tensor" else MetaTensor(tensor, meta={"filename_or_obj": "tile.png"})

    return convert
