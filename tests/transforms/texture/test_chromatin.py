import cv2
import numpy as np
import pytest

from nucleosynth.transforms.texture import chromatin_texture


def grained(spread=4.0, shape=(160, 160)):
    """Two discs with independent noise in each channel, stronger in blue, on tissue without; and their mask."""
    rng = np.random.default_rng(0)
    discs = np.zeros(shape, np.uint8)
    for x in (45, 115):
        cv2.circle(discs, (x, 80), 25, 1, -1)
    smooth = np.where(discs[..., None] > 0, np.float32([90, 70, 130]), np.float32([220, 160, 200]))
    noise = rng.normal(size=(*shape, 3)) * np.array([1, 1, 2]) * spread * discs[..., None]
    return np.clip(np.rint(smooth + noise), 0, 255).astype(np.uint8), discs > 0


def core(nuclei):
    """Where no seam is near: seams run along the rim, too."""
    return cv2.erode(nuclei.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0


def texture_of(image, nuclei, seed=0, background=None):
    plain = np.full_like(image, (220, 160, 200)) if background is None else background
    return chromatin_texture(image, nuclei, plain, 0.25, np.random.RandomState(seed))


def test_type_and_shape():
    texture, tone = texture_of(*grained())
    assert texture.dtype == np.int8
    assert tone.dtype == np.uint8
    assert texture.shape == tone.shape == (160, 160, 3)


def test_inside_of_nuclei_tone_and_texture_add_up_to_the_tile():
    image, nuclei = grained()
    texture, tone = texture_of(image, nuclei)
    inner = core(nuclei)
    np.testing.assert_allclose(tone[inner].astype(int) + texture[inner], image[inner], atol=1)


def test_the_noise_of_each_channel_is_everywhere_as_strong_as_in_nuclei():
    image, nuclei = grained()
    texture, tone = texture_of(image, nuclei)
    strength = image[nuclei].astype(float).std(axis=0)
    filled = ~nuclei & texture.any(axis=2)
    assert filled.mean() > 0.6
    for where in (nuclei, filled):
        np.testing.assert_allclose(texture[where].std(axis=0), strength, rtol=0.1)
        np.testing.assert_allclose(texture[where].mean(axis=0), 0, atol=0.3)
        correlation = np.corrcoef(texture[where].astype(float).T)
        assert abs(correlation[np.triu_indices(3, 1)]).max() < 0.1
    assert (tone[nuclei].std(axis=0) < 0.2 * strength).all()


def test_the_tone_of_a_nucleus_and_the_step_at_its_rim_are_no_texture():
    image, nuclei = grained(spread=0)
    texture, tone = texture_of(image, nuclei)
    assert not texture.any()
    np.testing.assert_array_equal(tone[nuclei], image[nuclei])


def test_the_slope_of_a_blurred_boundary_is_no_texture():
    nuclei = grained()[1]
    share = cv2.GaussianBlur(nuclei.astype(np.float32), (0, 0), 3.0)[..., None]
    image = np.rint(np.float32([90, 70, 130]) * share + np.float32([220, 160, 200]) * (1 - share)).astype(np.uint8)
    plain = np.full_like(image, (220, 160, 200))
    inside = cv2.erode(nuclei.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    spread = {
        sigma: int(np.abs(chromatin_texture(image, inside, plain, 0.25, np.random.RandomState(0), sigma)[0]).max())
        for sigma in (0.6, 3.0)
    }
    assert spread[3.0] <= 0.4 * spread[0.6]


def test_a_tile_without_nuclei_lends_the_noise_of_its_background():
    background = np.random.default_rng(1).normal(170, 5, (64, 64, 3)).round().astype(np.uint8)
    texture, _ = texture_of(background, np.zeros((64, 64), bool), background=background)
    assert texture.std() == pytest.approx(background.std(), rel=0.1)
    assert np.corrcoef(texture.ravel(), background.ravel())[0, 1] > 0.95


def test_wild_contrast_stays_within_its_type():
    image = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (32, 32, 3))
    texture, _ = texture_of(image, np.ones((32, 32), bool))
    assert texture.min() >= -127
    assert texture.max() == 127


def test_the_seed_decides_where_it_comes_from():
    image, nuclei = grained()
    first, again, other = (texture_of(image, nuclei, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[core(nuclei)], other[core(nuclei)])
    assert (first != other).any()
