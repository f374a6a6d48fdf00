"""A tile of known nuclei, for the tests of patches."""

import cv2
import numpy as np
import pytest

from nucleosynth.transforms.synthesis import analyze_tile


@pytest.fixture(scope="session")
def even_discs():
    """A tile of discs without grain: every nucleus is of one colour."""
    image = np.full((256, 256, 3), (226, 160, 196), np.uint8)
    for y in range(32, 256, 64):
        for x in range(32, 256, 64):
            cv2.circle(image, (x, y), 13, (108, 74, 150), -1)
    return analyze_tile(cv2.GaussianBlur(image, (0, 0), 0.7))
