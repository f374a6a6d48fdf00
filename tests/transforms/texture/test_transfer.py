import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.transforms.texture.transfer import local_mean, noise_of, transfer_detail, transfer_without_seams


def numbered(height, width):
    """An image in which every pixel has a colour of its own."""
    return np.arange(height * width * 3, dtype=np.float32).reshape(height, width, 3)


def test_a_local_mean_leaves_out_what_does_not_count():
    image = np.full((20, 30, 3), 7, np.float32)
    where = np.ones((20, 30), bool)
    where[5:15, 10:20] = False
    image[~where] = 1e6
    mean, reach = local_mean(image, where, 2.0)
    np.testing.assert_allclose(mean, 7, rtol=1e-4)
    assert reach.min() > 0.01
    assert reach.max() == pytest.approx(1, abs=1e-5)


def test_a_local_mean_far_from_all_that_counts_is_0():
    where = np.zeros((20, 60), bool)
    where[:, :5] = True
    mean, reach = local_mean(np.full((20, 60, 3), 50, np.float32), where, 2.0)
    assert not mean[:, 40:].any()
    assert not reach[:, 40:].any()


def test_by_hand_the_right_half_comes_from_the_left():
    """Shifts of about 8 px, whose direction is drawn: those that point right fill, the others find nothing."""
    detail = numbered(1, 16)
    mask = np.array([[False] * 8 + [True] * 8])
    filled, piece = transfer_detail(detail, mask, [7.0] * 50, np.random.RandomState(0))
    np.testing.assert_array_equal(filled[:, :8], detail[:, :8])
    assert (piece[:, :8] == 0).all()
    assert ((piece[:, 8:] > 0) & (piece[:, 8:] <= 50)).all()
    np.testing.assert_array_equal(filled[:, 8:], detail[:, :8])


def test_what_no_shift_fills_is_told_and_as_it_was():
    detail, mask = numbered(6, 6), np.ones((6, 6), bool)
    filled, piece = transfer_detail(detail, mask, [2.0, 3.0], np.random.RandomState(0))
    np.testing.assert_array_equal(filled, detail)
    assert (piece == 255).all()


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(0, 9), st.integers(0, 30))
def test_every_pixel_keeps_its_own_or_gets_an_unmasked_one(height, width, share, seed, shifts):
    detail = numbered(height, width)
    mask = np.random.RandomState(seed).uniform(size=(height, width)) < share
    filled, piece = transfer_detail(detail, mask, np.linspace(1, 25, shifts), np.random.RandomState(seed))
    own = (piece == 0) | (piece == 255)
    np.testing.assert_array_equal(piece == 0, ~mask)
    np.testing.assert_array_equal(filled[own], detail[own])
    # Colours are unique: each tells where it comes from, and all pixels of a piece have moved alike.
    moved = filled[..., 0].astype(int) // 3
    assert not mask.ravel()[moved[~own]].any()
    ys, xs = np.indices(mask.shape)
    for number in np.unique(piece[~own]):
        here = piece == number
        ((dy, dx),) = {*zip((ys - moved // width)[here], (xs - moved % width)[here], strict=True)}
        assert dy % 8 == dx % 8 == 0


def test_the_grid_of_compression_goes_on_through_what_is_filled():
    """Blocks of 8 x 8 px, each of one level: no step of the filled image lies within a block."""
    levels = np.random.default_rng(0).normal(0, 5, (16, 16, 3)).astype(np.float32)
    detail = np.kron(levels, np.ones((8, 8, 1), np.float32))
    mask = np.zeros((128, 128), bool)
    mask[40:88, 24:72] = True
    filled, piece = transfer_detail(detail, mask, np.linspace(30, 70, 30), np.random.RandomState(0))
    assert (piece[mask] > 0).all()
    assert (piece[mask] < 255).all()
    np.testing.assert_array_equal(filled, np.kron(filled[::8, ::8], np.ones((8, 8, 1))))
    assert not np.array_equal(filled, detail)


def test_seams_are_smoothed_and_the_noise_across_them_is_not():
    """The left half is of one tone, the right half is moved in from another: a step, and noise on both sides."""
    rng = np.random.default_rng(0)
    steps = np.where(np.arange(120) % 40 < 20, 0, 60).astype(np.float32)
    detail = np.broadcast_to(steps[:, None, None], (120, 80, 3)).copy()
    noise = rng.normal(0, 5, detail.shape).astype(np.float32)
    mask = np.zeros((120, 80), bool)
    mask[:, 30:50] = True
    shifts = [25.0] * 40
    rough, piece = transfer_detail(detail, mask, shifts, np.random.RandomState(1))
    soft, moved, empty = transfer_without_seams(detail, noise, mask, shifts, 2.0, np.random.RandomState(1))
    assert not empty.any()
    across = np.abs(np.diff(rough[..., 0], axis=1)).max()
    assert across == 60
    assert np.abs(np.diff(soft[..., 0], axis=1)).max() < 0.5 * across
    assert moved[mask].std() == pytest.approx(5, rel=0.05)
    np.testing.assert_array_equal(moved[~mask], noise[~mask])
    far = (piece == 0) & (np.abs(np.arange(80) - 39.5) > 22)
    np.testing.assert_array_equal(soft[far], detail[far])


def test_what_no_shift_fills_is_0_without_seams():
    detail, mask = numbered(40, 40), np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    soft, noise, empty = transfer_without_seams(detail, detail, mask, [], 1.0, np.random.RandomState(0))
    np.testing.assert_array_equal(empty, mask)
    assert not noise[mask].any()
    assert not soft[18:22, 18:22].any()


def test_noise_is_what_there_is_where_the_image_is_even():
    """A step of 100 and noise of 3: what is taken for noise is as strong as it, and does not hold the step."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 3, (120, 120, 3)).astype(np.float32)
    image = true + np.where(np.arange(120) < 60, 50, 150).astype(np.float32)[:, None]
    noise = noise_of(image, np.ones((120, 120), bool))
    assert noise[:, :50].std() == pytest.approx(3, rel=0.12)
    assert np.corrcoef(noise[:, :50].ravel(), true[:, :50].ravel())[0, 1] > 0.95
    assert np.abs(noise).max() < 3 * 3


def test_an_image_without_noise_has_none():
    image = np.zeros((60, 60, 3), np.float32)
    image[20:40, 20:40] = 200
    assert np.abs(noise_of(image, np.ones((60, 60), bool))).max() < 0.1
    assert not noise_of(image, np.zeros((60, 60), bool)).any()


def test_the_slope_of_a_blurred_boundary_is_no_noise():
    """Next to what does not count, too: a mean of one side only would take a part of the slope for noise."""
    rng = np.random.default_rng(0)
    where = np.zeros((120, 160), bool)
    where[:, 76:] = True
    slope = cv2.GaussianBlur(np.where(np.arange(160) < 80, 200, 80)[None].repeat(120, 0).astype(np.float32), (0, 0), 3)
    noisy = slope[..., None] + rng.normal(0, 2, (120, 160, 3)).astype(np.float32)
    noise = noise_of(noisy, where)
    # It rises by 16 a pixel, and the bound of the noise is 5.
    assert np.abs(noise[:, 76:].mean(axis=0)).max() < 2


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_nothing_is_left_of_the_step_at_a_seam(sigma):
    detail = np.zeros((40, 80, 3), np.float32)
    detail[:, 56:] = 60  # moved in by 40 px, it meets zeros
    mask = np.zeros((40, 80), bool)
    mask[:, 16:40] = True
    soft, *_ = transfer_without_seams(detail, detail * 0, mask, [40.0] * 60, sigma, np.random.RandomState(0))
    assert soft[20, 28, 0] == pytest.approx(60, abs=6)
    # The steepest slope of a step of 60 that is blurred by sigma, and more since contrast is given back.
    assert np.abs(np.diff(soft[20, 4:28, 0])).max() < 1.6 * 60 / (sigma * np.sqrt(2 * np.pi))


def test_where_seams_lie_close_contrast_is_given_back():
    """Every few pixels another piece: smoothing alone would leave half of the deviation, or less."""
    rng = np.random.default_rng(0)
    detail = cv2.GaussianBlur(rng.normal(0, 60, (160, 160, 3)).astype(np.float32), (0, 0), 1.5)
    mask = np.kron(rng.uniform(size=(32, 32)) < 0.7, np.ones((5, 5), bool))
    soft, _, empty = transfer_without_seams(
        detail, detail * 0, mask, np.linspace(8, 60, 40), 2.0, rng=np.random.RandomState(0)
    )
    assert empty.mean() < 0.2
    spread = soft[mask & ~empty].std()
    assert 0.8 * detail.std() < spread < 1.2 * detail.std()
