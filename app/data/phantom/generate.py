"""The whole way from settings to a phantom."""

from __future__ import annotations

import numpy as np

from .field import Grid
from .ground import add_red_cells, draw_ground
from .layout import draw_layout
from .nuclei import draw_nuclei
from .optics import draw_scanner, take_picture
from .population import populate
from .settings import Phantom, PhantomSettings

__all__ = ["generate_phantom"]


def generate_phantom(settings: PhantomSettings) -> Phantom:
    """Make artificial H&E tissue and the truth about its nuclei, without any real pixel.

    Glands, stroma, lymphocytes, fat, vessels, pigment and an out-of-focus area lie on a piece of tissue on glass. It
    needs about 60 bytes of memory per pixel, and one core about a second per million pixels.

    Args:
        settings: size, scale and seed.

    Returns:
        The image, the label image and their scale. A seed and size with no room for a nucleus gives N = 0.

    Example:
        >>> phantom = generate_phantom(PhantomSettings(width=512, height=512, seed=1))
        >>> phantom.image.shape, phantom.labels.shape
        ((512, 512, 3), (512, 512))
    """
    rng = np.random.default_rng(settings.seed)
    grid = Grid(settings.height, settings.width, settings.mpp)
    layout = draw_layout(rng, grid, settings.tissue_share)
    seedlings = populate(rng, layout)
    centres = np.array([seedling.centre for seedling in seedlings]).reshape(-1, 2)
    dyes = draw_ground(rng, grid, layout, centres)
    labels = draw_nuclei(rng, grid, seedlings, dyes)
    add_red_cells(rng, grid, layout, dyes, labels)
    for stain in (dyes.haematoxylin, dyes.eosin, dyes.blood, dyes.pigment):
        stain *= layout.grid.refine(layout.thickness, grid)
    image = take_picture(rng, grid, dyes, draw_scanner(rng), layout.grid.refine(layout.defocus, grid))
    return Phantom(image, labels, settings.mpp)
