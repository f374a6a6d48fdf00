import cv2
import numpy as np
import pytest

from nucleosynth.transforms.stain import rgb_to_hed, segment_nuclear_material
from nucleosynth.transforms.texture import inpaint_background


def inpaint(image, mask, seed=0, mpp=0.25, **settings):
    return inpaint_background(image, mask, mpp, np.random.RandomState(seed), **settings)


@pytest.fixture
def hole():
    mask = np.zeros((160, 192), bool)
    mask[60:85, 70:100] = True
    return mask


def test_far_pixels_are_kept_to_the_bit(discs, hole):
    image = discs(0, size=192)[0][:160]
    filled = inpaint(image, hole)
    assert filled.dtype == np.uint8
    assert filled.shape == image.shape
    far = np.ones(hole.shape, bool)
    far[50:95, 60:110] = False
    np.testing.assert_array_equal(filled[far], image[far])
    assert (filled[hole] != image[hole]).any()


def test_nothing_masked_returns_the_image_itself(plain):
    assert inpaint(plain, np.zeros(plain.shape[:2], bool)) is plain


def test_an_even_image_stays_even(plain, hole):
    np.testing.assert_array_equal(inpaint(plain, hole), plain)


def test_what_was_there_has_no_part_in_what_comes_there(discs, hole):
    image = discs(0, size=192)[0][:160]
    scribbled = image.copy()
    scribbled[hole] = np.random.default_rng(1).integers(0, 256, (hole.sum(), 3))
    np.testing.assert_array_equal(inpaint(image, hole), inpaint(scribbled, hole))


def test_nuclei_vanish_and_the_grain_of_the_tissue_comes_in(discs):
    image, truth = discs(3)
    mask = segment_nuclear_material(image).super
    background = inpaint(image, mask)
    assert not segment_nuclear_material(background).super.any()
    inside, outside = background[truth].astype(float), image[~mask].astype(float)
    np.testing.assert_allclose(inside.mean(axis=0), outside.mean(axis=0), atol=3)
    assert inside.std() == pytest.approx(outside.std(), rel=0.25)


def test_where_nuclei_were_there_is_no_more_haematoxylin_than_around(tissue):
    for image in tissue:
        found = segment_nuclear_material(image)
        stain = rgb_to_hed(inpaint(image, found.super))[..., 0]
        assert stain[found.otsu].mean() - stain[found.tissue & ~found.otsu].mean() < 0.15 * found.contrast


def test_the_seed_decides_where_grain_comes_from(discs, hole):
    image = discs(0, size=192)[0][:160]
    assert inpaint(image, hole, 1).tobytes() == inpaint(image, hole, 1).tobytes()
    assert inpaint(image, hole, 1).tobytes() != inpaint(image, hole, 2).tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (33, 17)])
def test_an_image_of_nothing_but_nuclei_does_not_fail(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert inpaint(image, np.ones(shape, bool)).shape == image.shape


def test_mask_and_image_of_different_sizes_are_refused(plain):
    with pytest.raises(ValueError, match=r"as large as the image, got \(8, 8\) and \(160, 192\)"):
        inpaint(plain, np.zeros((8, 8), bool))


@pytest.mark.parametrize("sigma", [0.7, 2.0, 4.0])
def test_no_ring_is_left_of_a_blurred_nucleus(plain, sigma):
    """The mask ends in the middle of its blurred boundary; half of it lies beyond."""
    disc = np.zeros(plain.shape[:2], np.uint8)
    cv2.circle(disc, (96, 80), 16, 1, -1)
    share = cv2.GaussianBlur(disc.astype(np.float32), (0, 0), sigma)[..., None]
    image = np.rint(plain * (1 - share) + np.float32([108, 74, 150]) * share).astype(np.uint8)
    background = inpaint(image, disc > 0, sigma=sigma).astype(int)
    # Of a difference of 118.
    assert np.abs(background - plain).max() <= 12
    assert np.abs(np.diff(background, axis=1)).max() <= 7
