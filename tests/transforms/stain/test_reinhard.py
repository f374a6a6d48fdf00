import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from nucleosynth.transforms.stain import REINHARD_TARGET, ReinhardStatistics, apply_reinhard, fit_reinhard, scale_stains


@st.composite
def muted_images(draw):
    """Colours so far from the edge of RGB that a mild change clips none, of different spreads."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mean = rng.uniform(100, 155, 3)
    image = mean + rng.normal(size=(draw(st.integers(8, 40)), draw(st.integers(8, 40)), 3)) * rng.uniform(6, 12, 3)
    return image.clip(60, 200).astype(np.uint8)


def test_black_and_white_by_hand():
    # L is 0 and 100; a and b of both are 0, up to rounding, and do not vary.
    black_and_white = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    with pytest.raises(ValueError, match="tissue must vary in L, a and b"):
        fit_reinhard(black_and_white)
    # The corners red and cyan, from tables of CIE LAB: (53.24, 80.09, 67.20) and (91.11, -48.09, -14.13).
    found = fit_reinhard(np.array([[255, 0, 0], [0, 255, 255]], np.uint8))
    np.testing.assert_allclose(found.mean, [72.18, 16.00, 26.54], atol=0.3)
    np.testing.assert_allclose(found.std, [18.94, 64.09, 40.67], atol=0.3)


def test_statistics_are_those_of_scikit_image_s_lab(tissue):
    pixels = tissue[0].reshape(-1, 3)
    lab = rgb2lab(pixels)
    found = fit_reinhard(pixels)
    np.testing.assert_allclose(found.mean, lab.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(found.std, lab.std(axis=0), atol=0.1)


@settings(deadline=None)
@given(image=muted_images())
def test_its_own_statistics_change_nothing(image):
    own = fit_reinhard(image.reshape(-1, 3))
    assert np.abs(apply_reinhard(image, own, own).astype(int) - image).max() <= 1


@settings(deadline=None)
@given(image=muted_images(), other=muted_images())
def test_statistics_become_the_target_s(image, other):
    target = fit_reinhard(other.reshape(-1, 3))
    result = fit_reinhard(apply_reinhard(image, fit_reinhard(image.reshape(-1, 3)), target).reshape(-1, 3))
    np.testing.assert_allclose(result.mean, target.mean, atol=0.3)
    np.testing.assert_allclose(result.std, target.std, rtol=0.05, atol=0.1)


@settings(deadline=None)
@given(cut=st.integers(1, 255), seed=st.integers(0, 9))
def test_a_piece_becomes_what_it_becomes_in_the_whole(tissue, cut, seed):
    source = ReinhardStatistics((60, 30 + seed, -15), (16, 9, 7))
    whole = apply_reinhard(tissue[0], source)
    for part in (np.s_[:cut], np.s_[cut:], np.s_[:, :cut], np.s_[:, cut:], np.s_[cut // 2 : cut, ::3]):
        np.testing.assert_array_equal(apply_reinhard(tissue[0][part], source), whole[part])


def test_a_thicker_section_of_one_tissue_becomes_the_same(tissue):
    # Thickness, or strength of both stains, is what three means and spreads can undo; their ratio is not.
    thicker = scale_stains(tissue[0], (1.3, 1.3, 1.3))
    one, other = (apply_reinhard(each, fit_reinhard(each.reshape(-1, 3))) for each in (tissue[0], thicker))
    before = np.abs(thicker.astype(int) - tissue[0]).mean()
    assert np.abs(one.astype(int) - other).mean() < 0.25 * before


def test_colours_beyond_rgb_are_clipped():
    image = np.array([[[250, 250, 250], [5, 0, 5]]], np.uint8)
    wild = apply_reinhard(image, ReinhardStatistics((50, 0, 0), (10, 5, 5)), ReinhardStatistics((50, 0, 0), (30, 5, 5)))
    np.testing.assert_array_equal(wild, [[[255, 255, 255], [0, 0, 0]]])


def test_the_published_target_in_units_of_cie():
    np.testing.assert_allclose(REINHARD_TARGET.mean, (58.2745, 41.30, -22.03), atol=1e-4)
    np.testing.assert_allclose(REINHARD_TARGET.std, (16.2980, 9.01, 6.67), atol=1e-4)


def test_no_tissue_is_refused():
    with pytest.raises(ValueError, match="there are no pixels of tissue"):
        fit_reinhard(np.zeros((0, 3), np.uint8))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (180, 120, 160)])
def test_a_single_colour_is_refused(colour):
    with pytest.raises(ValueError, match="tissue must vary in L, a and b to be scaled"):
        fit_reinhard(np.tile(np.array(colour, np.uint8), (100, 1)))


def test_lists_of_a_configuration_become_tuples():
    assert ReinhardStatistics([1, 2, 3], [4, 5, 6]) == ReinhardStatistics((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((1, 2), (1, 1, 1), "mean must be three finite values"),
        ((1, 2, float("nan")), (1, 1, 1), "mean must be three finite values"),
        ((1, 2, 3), (1, 1, float("inf")), "std must be three finite values"),
        ((1, 2, 3), (1, 0, 1), "std must be positive, got"),
    ],
)
def test_statistics_that_are_none_are_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        ReinhardStatistics(mean, std)
