"""How softly nuclei of a patch end, at the background and at each other."""

import dataclasses

import numpy as np
import pytest

from nucleosynth.transforms.masks import NucleusPrior
from nucleosynth.transforms.synthesis import SynthesisSettings, draw_patch, paint_patch


@pytest.fixture
def touching(even_discs, plain_settings):
    """The function that paints two nuclei that touch in the middle, one pale and one dark, and nothing but them."""

    def paint(sigma, focus=(0, 1, 1)):
        source = dataclasses.replace(
            even_discs, shade=np.zeros(3, np.float32), chromatin=np.zeros_like(even_discs.chromatin)
        )
        drawn = draw_patch(source, source, source.image, plain_settings, np.random.RandomState(1))
        label = np.zeros((128, 128), np.uint16)
        label[40:88, 30:64], label[40:88, 64:98] = 1, 2
        mask = dataclasses.replace(drawn.mask, label=label, category=np.zeros(2, np.int64))
        drawn = dataclasses.replace(
            drawn,
            mask=mask,
            colours=np.float32([[0.6] * 3, [0.6] * 3, [1.2] * 3]),
            hue=np.zeros(3, np.float32),
            threshold=np.full(3, -np.inf, np.float32),
            strength=np.zeros(3, np.float32),
            edge_sigma=sigma,
            focus=np.uint8(focus),
        )
        return paint_patch(source, source, source.image, drawn).image.astype(float)

    return paint


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_nuclei_that_touch_go_over_into_each_other_as_softly_as_into_the_background(touching, sigma):
    row = touching(sigma)[64, 40:88, 0]
    pale, dark = 255 * np.exp(-0.6), 255 * np.exp(-1.2)
    assert row[0] == pytest.approx(pale, abs=1.5)
    assert row[-1] == pytest.approx(dark, abs=1.5)
    assert (np.diff(row) <= 0).all()
    # The slope of a step in optical density, in the middle where the colour is their geometric mean.
    steepest = 0.6 * np.sqrt(pale * dark) / (sigma * np.sqrt(2 * np.pi))
    assert np.abs(np.diff(row)).max() == pytest.approx(steepest, rel=0.2)


def test_without_blur_nuclei_end_at_their_pixels(touching):
    row = touching(0)[64, 20:108, 0]
    steps = np.flatnonzero(np.diff(row)) + 20
    np.testing.assert_array_equal(steps, [29, 63, 97])


def test_a_nucleus_off_the_focal_plane_has_softer_boundaries(touching):
    steepest = []
    for plane in range(3):
        image = touching(2.0, focus=(0, plane, 1))
        steepest.append(np.abs(np.diff(image[64, 10:50, 0])).max())
    assert steepest[0] > 1.3 * steepest[1] > 1.3 * 1.15 * steepest[2]


def test_a_patch_has_sharp_and_soft_nuclei(tiles):
    settings = SynthesisSettings(size=256, prior=NucleusPrior(density=8000))
    drawn = draw_patch(tiles[0], tiles[0], tiles[0].image, settings, np.random.RandomState(0))
    assert set(drawn.focus[1:].tolist()) == {0, 1, 2}
    assert len(drawn.focus) == len(drawn.mask.category) + 1
