import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import hed_from_rgb, rgb_from_hed

from nucleosynth.engines import StainAugmentation

GREY = 2 / 255  # a grey level on the scale of [-1, 1]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tissue(count=4, size=24, seed=0):
    """Smooth pink and violet, values in [-1, 1]."""
    rng = np.random.default_rng(seed)
    stain = torch.from_numpy(rng.random((count, 2, size // 4, size // 4)).repeat(4, axis=2).repeat(4, axis=3))
    density = torch.einsum("bshw,sc->bchw", stain, torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]).double())
    return (torch.exp(-density) * 2 - 1).float()


def off(**settings):
    """Without anything but what is named."""
    return StainAugmentation(**{"stain": 0.0, "tint": 0.0, "blur": 0.0, "noise": 0.0, **settings})


def test_settings_of_zero_change_nothing_but_rounding():
    images = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    varied = off()(images, seeded())
    # Optical density ends at the darkest grey level above black.
    torch.testing.assert_close(varied, images.clamp(min=-1 + GREY), rtol=0, atol=1e-4)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0, 0.9), st.floats(0, 0.5), st.floats(0, 3), st.floats(0, 0.5))
def test_type_shape_and_range_are_kept(seed, stain, tint, blur, noise):
    images = torch.rand(2, 3, 16, 24, generator=seeded(seed)) * 2 - 1
    copy = images.clone()
    varied = StainAugmentation(stain, tint, blur, noise)(images, seeded(seed))
    assert varied.shape == images.shape
    assert varied.dtype == torch.float32
    assert varied.is_contiguous(memory_format=torch.channels_last)
    assert torch.isfinite(varied).all()
    assert varied.amin() >= -1
    assert varied.amax() <= 1
    assert torch.equal(images, copy)


def test_the_generator_decides_all():
    augment, images = StainAugmentation(), tissue()
    torch.manual_seed(1)
    first = augment(images, seeded(5))
    torch.manual_seed(2)
    assert torch.equal(augment(images, seeded(5)), first)
    assert not torch.equal(augment(images, seeded(6)), first)
    generator = seeded(5)
    assert torch.equal(augment(images, generator), first)
    assert not torch.equal(augment(images, generator), first)


def test_images_of_a_batch_vary_independently():
    image = tissue(1)
    varied = StainAugmentation()(image.expand(4, -1, -1, -1), seeded())
    assert len({tuple(each.mean(dim=(1, 2)).tolist()) for each in varied}) == 4


def test_half_precision_comes_in_and_single_goes_out():
    images = tissue()
    varied = off()(images.bfloat16(), seeded())
    assert varied.dtype == torch.float32
    torch.testing.assert_close(varied, images, rtol=0, atol=0.02)


def test_a_pixel_by_hand():
    """Unmixed into Ruifrok and Johnston's stains, each multiplied by its factor, and mixed again."""
    rgb = np.array([0.5, 0.3, 0.6])
    image = torch.tensor(rgb * 2 - 1).float().reshape(1, 3, 1, 1)
    drawn = torch.rand(1, 3, generator=seeded(4))[0].double().numpy() * 2 - 1
    expected = np.exp(-((-np.log(rgb) @ hed_from_rgb) * (1 + 0.4 * drawn)) @ rgb_from_hed)
    varied = off(stain=0.4)(image, seeded(4))
    assert np.abs(expected - rgb).max() > 0.02
    np.testing.assert_allclose((varied.flatten().numpy() + 1) / 2, expected, atol=1e-5)


def test_glass_stays_white():
    """Where there is no stain, other concentrations change nothing."""
    white = torch.ones(8, 3, 8, 8)
    torch.testing.assert_close(off(stain=0.8)(white, seeded()), white)


def test_a_stain_keeps_its_hue_and_changes_its_concentration():
    """A pixel of pure haematoxylin stays one: the densities of all channels change by one factor, within its range."""
    density = torch.from_numpy(rgb_from_hed[0]).float()
    image = (torch.exp(-density) * 2 - 1).reshape(1, 3, 1, 1).expand(200, -1, -1, -1)
    varied = off(stain=0.3)(image, seeded())
    factors = (-torch.log((varied + 1) / 2)).flatten(1) / density
    assert (factors.amax(1) - factors.amin(1)).max() < 1e-4
    assert 0.7 - 1e-4 <= factors.min() < 0.75
    assert 1.25 < factors.max() <= 1.3 + 1e-4
    assert factors.mean().item() == pytest.approx(1, abs=0.04)


def test_a_tint_adds_one_density_to_a_channel():
    images = tissue(50)
    added = torch.log((images + 1) / 2) - torch.log((off(tint=0.1)(images, seeded()) + 1) / 2)
    for image, change in zip(images, added, strict=True):
        for channel in range(3):
            # A pixel cannot become lighter than glass.
            dark = change[channel][image[channel] < 0.6]
            assert dark.max() - dark.min() < 1e-3
            assert abs(dark.mean().item()) <= 0.1 + 1e-4
    means = added[:, :, 0, 0]
    assert means.std() == pytest.approx(0.1 / 3**0.5, rel=0.2)  # uniform
    assert (means[:, 0] - means[:, 1]).abs().max() > 0.05


def point(count):
    """A white point on mid-grey, in the middle of each image."""
    image = torch.zeros(count, 3, 25, 25)
    image[:, :, 12, 12] = 1
    return image


def test_a_blur_keeps_the_mean_and_widens_a_point_as_far_as_it_says():
    varied = off(blur=1.5)(point(300), seeded())
    torch.testing.assert_close(varied.mean(dim=(1, 2, 3)), point(300).mean(dim=(1, 2, 3)), rtol=1e-3, atol=1e-6)
    share = varied[:, 0].sum(1)  # of the point's light in each column
    offsets = torch.arange(25) - 12
    deviation = ((share * offsets**2).sum(1) / share.sum(1)).clamp(min=0).sqrt()
    assert 1.3 < deviation.max() < 1.55
    # Half of the images stay as they are.
    assert (varied[:, 0, 12, 12] > 0.999).float().mean().item() == pytest.approx(0.5, abs=0.1)
    # Alike in both directions.
    torch.testing.assert_close(varied, varied.transpose(2, 3), rtol=0, atol=1e-5)


def test_each_image_gets_its_own_blur():
    """What is drawn belongs to the place in the batch."""
    images = tissue(6)
    varied = off(blur=2.0)(images, seeded(1))
    sharpness = (varied.diff(dim=3).abs().mean(dim=(1, 2, 3)) / images.diff(dim=3).abs().mean(dim=(1, 2, 3))).tolist()
    assert max(sharpness) == pytest.approx(1, abs=1e-3)
    assert min(sharpness) < 0.95
    swapped = off(blur=2.0)(images.flip(0), seeded(1)).flip(0)
    assert not torch.allclose(swapped, varied, atol=1e-3)


def test_noise_has_at_most_the_deviation_it_says():
    images = torch.zeros(200, 3, 16, 16)
    deviations = off(noise=0.1)(images, seeded()).std(dim=(1, 2, 3))
    assert deviations.max() < 0.106
    assert deviations.max() > 0.09
    assert deviations.min() < 0.01
    assert off(noise=0.1)(images, seeded()).mean().abs() < 1e-3


@pytest.mark.parametrize("name", ["stain", "tint", "blur", "noise"])
def test_negative_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -0.1"):
        StainAugmentation(**{name: -0.1})


@pytest.mark.parametrize("stain", [1, 1.5])
def test_a_stain_may_not_vanish(stain):
    with pytest.raises(ValueError, match=f"stain must be less than 1, got {stain}"):
        StainAugmentation(stain=stain)
