"""A tile of known nuclei, for the tests of patches."""

import cv2
import numpy as np
import pytest

from nucleosynth.transforms.masks import MaskSettings
from nucleosynth.transforms.synthesis import SynthesisSettings, analyze_tile
from nucleosynth.transforms.texture import DistractorSettings


@pytest.fixture(scope="session")
def plain_settings():
    """Of patches in which nothing but nuclei changes the background."""
    return SynthesisSettings(
        size=128,
        mask=MaskSettings(empty=0),
        distractors=DistractorSettings(debris_per_mm2=(0, 0), shadows=0),
        blur_spots=0,
        stain_spread=0,
    )


@pytest.fixture(scope="session")
def even_discs():
    """A tile of discs without grain: every nucleus is of one colour."""
    image = np.full((256, 256, 3), (226, 160, 196), np.uint8)
    for y in range(32, 256, 64):
        for x in range(32, 256, 64):
            cv2.circle(image, (x, y), 13, (108, 74, 150), -1)
    return analyze_tile(cv2.GaussianBlur(image, (0, 0), 0.7))
