import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.transforms.texture import (
    BlurSpot,
    blur_boundary,
    clear_chromatin,
    draw_spots,
    eosin_texture,
    extend_labels,
    lost_noise,
    mix,
    nuclear_od,
    rim_profile,
)


@pytest.fixture
def label():
    """Two touching squares of 10 x 10 and 10 x 6 pixels."""
    label = np.zeros((24, 32), np.uint16)
    label[5:15, 5:15], label[5:15, 15:21] = 1, 2
    return label


def test_mix_by_hand():
    foreground, background = np.full((1, 3, 3), 10, np.float32), np.full((1, 3, 3), 110, np.float32)
    mixed = mix(foreground, background, np.array([[0, 0.25, 1]], np.float32))
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed, np.repeat(np.array([[[110], [85], [10]]]), 3, axis=2), rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_a_mix_with_its_lost_noise_is_as_rough_as_its_parts(share):
    foreground, background = np.random.default_rng(0).normal(0, 4, (2, 400, 50, 3)).astype(np.float32)
    mask = np.full((400, 50), share, np.float32)
    mixed, lost = mix(foreground, background, mask), lost_noise(foreground, background, mask)
    assert lost.dtype == np.float32
    # By hand: in the middle the mix keeps 1 / sqrt(2) of the deviation.
    assert mixed.std() == pytest.approx(4 * np.hypot(share, 1 - share), rel=0.02)
    assert (mixed + lost).std() == pytest.approx(4, rel=0.02)
    assert share not in (0, 1) or not lost.any()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(foreground=st.floats(0, 255), background=st.floats(0, 255), share=st.floats(0, 1))
def test_a_mix_lies_between_its_parts(foreground, background, share):
    mixed = mix(*(np.full((1, 1, 3), v, np.float32) for v in (foreground, background)), np.float32([[share]]))
    assert min(foreground, background) - 0.01 <= mixed.min() <= mixed.max() <= max(foreground, background) + 0.01


def test_eosin_texture_is_fine_and_of_unit_spread():
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 5, 200, dtype=np.float32)[None].repeat(150, axis=0)
    eosin = slope + rng.normal(0, 0.05, (150, 200)).astype(np.float32)
    texture = eosin_texture(eosin, np.ones(eosin.shape, bool), 0.25)
    assert texture.dtype == np.float32
    assert texture.shape == eosin.shape
    assert abs(texture.mean()) < 0.05
    assert texture.std() == pytest.approx(1, abs=0.05)
    assert np.abs(texture).max() <= 3
    # The slope is gone.
    assert abs(np.corrcoef(texture[:, 20:-20].ravel(), slope[:, 20:-20].ravel())[0, 1]) < 0.05


def test_texture_is_measured_over_the_tissue():
    rng = np.random.default_rng(0)
    eosin = np.zeros((100, 100), np.float32)
    eosin[:, :50] = rng.normal(0.3, 0.05, (100, 50))
    tissue = np.zeros((100, 100), bool)
    tissue[:, :40] = True
    texture = eosin_texture(eosin, tissue, 0.25)
    assert texture[tissue].std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("tissue", [True, False])
def test_an_even_or_empty_tile_has_no_texture(tissue):
    assert not eosin_texture(np.full((30, 40), 0.3, np.float32), np.full((30, 40), tissue), 0.25).any()


def test_extended_labels_by_hand(label):
    assert extend_labels(label, 0) is label
    extended = extend_labels(label, 3)
    np.testing.assert_array_equal(extended[label > 0], label[label > 0])
    assert (extended[10, 2], extended[10, 1]) == (1, 0)
    assert (extended[2, 10], extended[1, 10]) == (1, 0)
    assert (extended[10, 23], extended[10, 24]) == (2, 0)
    assert extended[3, 14] == 2  # where both reach, the higher id


def test_each_nucleus_has_its_colour_and_contrast(label):
    colours = np.array([[0.1, 0.1, 0.1], [0.9, 1.1, 0.6], [0.5, 0.7, 0.3]])
    texture = np.zeros(label.shape, np.float32)
    texture[:, ::2], texture[:, 1::2] = 1, -1
    od = nuclear_od(label, colours, np.array([0.0, 0.2, 0.0]), texture)
    assert od.dtype == np.float32
    np.testing.assert_allclose(od[0, 0], colours[0])
    np.testing.assert_allclose(od[10, 10], 1.2 * colours[1], rtol=1e-6)
    np.testing.assert_allclose(od[10, 11], 0.8 * colours[1], rtol=1e-6)
    np.testing.assert_allclose(od[5:15, 15:21], np.broadcast_to(colours[2], (10, 6, 3)), rtol=1e-6)


def test_texture_never_turns_a_nucleus_into_light(label):
    od = nuclear_od(label, np.ones((3, 3)), np.full(3, 5.0), np.full(label.shape, -3, np.float32))
    np.testing.assert_allclose(od, 0.1, rtol=1e-6)


def test_pixels_can_be_given_as_a_list(label):
    rng = np.random.default_rng(0)
    texture = rng.normal(size=label.shape).astype(np.float32)
    colours, contrast = rng.uniform(0.2, 1, (3, 3)), np.array([0.1, 0.2, 0.3])
    where = np.flatnonzero(label)
    whole = nuclear_od(label, colours, contrast, texture).reshape(-1, 3)[where]
    listed = nuclear_od(label.ravel()[where], colours, contrast, texture.ravel()[where])
    np.testing.assert_array_equal(whole, listed)


def test_rim_profile_of_a_square():
    label = np.zeros((13, 13), np.uint16)
    label[1:12, 1:12] = 1
    profile = rim_profile(label, 4.0)
    assert profile.dtype == np.float32
    # Rings from the outside: the rim itself, then 1, 2, 3, 4 pixels inside it (OpenCV's unit step is 0.955).
    np.testing.assert_allclose(profile[6, :7], [0, 0, 0.239, 0.478, 0.716, 0.955, 1], atol=0.002)
    np.testing.assert_array_equal(profile, profile.T)
    np.testing.assert_array_equal(profile, profile[::-1])
    assert not profile[label == 0].any()


def test_touching_nuclei_each_have_their_rim(label):
    profile = rim_profile(label, 2.0)
    assert not profile[10, [4, 5, 14, 15, 20, 21]].any()
    assert (profile[10, [6, 13, 16, 19]] > 0).all()


def test_the_border_of_the_patch_is_no_rim():
    label = np.ones((9, 9), np.uint16)
    np.testing.assert_array_equal(rim_profile(label, 3.0), 1)


def test_clearing_by_hand(label):
    texture = np.zeros(label.shape, np.float32)
    texture[:10] = -2
    interior = np.ones(label.shape, np.float32)
    threshold, strength = np.array([-np.inf, -1.0, -np.inf]), np.array([1.0, 0.6, 1.0])
    left = clear_chromatin(label, texture, threshold, strength, interior)
    assert left.dtype == np.float32
    expected = np.ones(label.shape)
    expected[5:10, 5:15] = 0.4
    np.testing.assert_allclose(left, expected, rtol=1e-6)


def test_the_rim_is_not_cleared(label):
    texture = np.full(label.shape, -5, np.float32)
    interior = rim_profile(label, 2.0)
    left = clear_chromatin(label, texture, np.full(3, np.inf), np.array([0, 0.5, 1.0]), interior)
    np.testing.assert_allclose(left, 1 - np.array([0, 0.5, 1.0])[label] * interior, rtol=1e-6)
    assert left[10, 18] == pytest.approx(0, abs=0.05)
    np.testing.assert_array_equal(left[label == 0], 1)
    np.testing.assert_array_equal(left[5, 5:21], 1)


def test_a_point_becomes_a_gaussian():
    point = np.zeros((41, 41), np.float32)
    point[20, 20] = 1
    blurred = blur_boundary(point, 2.0)
    assert blurred.sum() == pytest.approx(1, rel=1e-3)
    assert (blurred[20] * (np.arange(41) - 20) ** 2).sum() / blurred[20].sum() == pytest.approx(4, rel=0.05)


def test_an_edge_is_half_way_at_the_edge():
    edge = np.zeros((20, 41), np.float32)
    edge[:, 20:] = 1
    blurred = blur_boundary(edge, 1.5)
    np.testing.assert_allclose(blurred[:, 19] + blurred[:, 20], 1, atol=1e-5)
    # A step blurred by sigma is 1 / (sigma sqrt(2 pi)) steep.
    assert (blurred[10, 20] - blurred[10, 19]) == pytest.approx(1 / (1.5 * np.sqrt(2 * np.pi)), rel=0.05)
    np.testing.assert_array_equal(blurred[:, :10], 0)


def test_no_blur_is_a_copy(label):
    mask = (label > 0).astype(np.float32)
    blurred = blur_boundary(mask, 0)
    np.testing.assert_array_equal(blurred, mask)
    assert blurred is not mask


def test_a_spot_blurs_its_place_alone(label):
    mask = np.tile((np.arange(64) // 4 % 2).astype(np.float32), (64, 1))
    before = mask.copy()
    blurred = blur_boundary(mask, 0.0, [BlurSpot((20.0, 30.0), 10.0, 3.0)])
    ys, xs = np.mgrid[:64, :64]
    distance = np.hypot(xs - 20, ys - 30)
    np.testing.assert_array_equal(blurred[distance > 10], mask[distance > 10])
    assert blurred[distance < 5].std() < 0.5 * mask[distance < 5].std()
    assert blurred.min() >= 0
    assert blurred.max() <= 1
    np.testing.assert_array_equal(mask, before)


def test_a_spot_fades_over_the_outer_half_of_its_radius():
    mask = np.random.default_rng(0).uniform(0, 1, (80, 80)).astype(np.float32)
    fully = cv2.GaussianBlur(mask, (0, 0), 1.0)
    blurred = blur_boundary(mask, 0.0, [BlurSpot((40.0, 40.0), 24.0, 1.0)])
    np.testing.assert_allclose(blurred[40, 40:52], fully[40, 40:52], atol=1e-5)
    np.testing.assert_allclose(blurred[40, 58], 0.5 * fully[40, 58] + 0.5 * mask[40, 58], atol=1e-5)
    np.testing.assert_allclose(blurred[34, 40], fully[34, 40], atol=1e-5)
    assert blurred[40, 64] == mask[40, 64]


@pytest.mark.parametrize("centre", [(0.0, 0.0), (32.0, 24.0), (-50.0, 5.0), (5.0, 500.0)])
def test_spots_on_and_beyond_the_border(label, centre):
    assert blur_boundary((label > 0).astype(np.float32), 1.0, [BlurSpot(centre, 6.0, 2.0)]).shape == label.shape


def test_a_negative_sigma_is_refused():
    with pytest.raises(ValueError, match="sigma must not be negative, got -1"):
        blur_boundary(np.zeros((4, 4), np.float32), -1)


def test_spots_are_drawn_within_the_patch():
    rng = np.random.RandomState(0)
    spots = [spot for _ in range(100) for spot in draw_spots((50, 100), 2, 0.25, rng)]
    assert 70 < len(spots) < 130
    centres = np.array([spot.centre for spot in spots])
    assert (centres >= 0).all()
    assert (centres < [100, 50]).all()
    assert centres[:, 0].max() > 90
    assert all(5 <= spot.radius <= 12.5 and 1 <= spot.sigma <= 3 for spot in spots)
    assert draw_spots((50, 100), 0, 0.25, rng) == ()
