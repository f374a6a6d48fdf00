import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from nucleosynth.networks import Discriminator

NARROW = (8, 8, 16, 16, 16)


@pytest.mark.parametrize(("reference", "convolutions", "poolings"), [(True, 15, 3), (False, 11, 1)])
def test_the_papers_counts(executed, images, pooling, reference, convolutions, poolings):
    network = Discriminator(NARROW, reference=reference)
    counts = executed(network, images(1), images(1))
    assert [counts[layer] for layer in network.modules() if isinstance(layer, nn.Conv2d)] == [1] * convolutions
    assert [counts[layer] for layer in network.modules() if isinstance(layer, pooling)] == [1] * poolings


@pytest.mark.parametrize(("widths", "parameters"), [((32, 48, 64, 80, 128), 479_073), ((16, 24, 32, 40, 64), 120_881)])
def test_number_of_parameters(widths, parameters):
    assert sum(weights.numel() for weights in Discriminator(widths).parameters()) == parameters


def test_a_logit_of_the_map_sees_106_pixels_of_the_patch_and_all_of_the_reference(extent, images):
    network = Discriminator((4, 4, 4, 4, 4)).double()
    image, reference = images(1, 192, 192).double(), images(1, 48, 80).double()
    network.patch[2] = nn.AvgPool2d(2)  # a maximum passes the gradient of one pixel in four
    assert extent(lambda image: network.patch_logits(image, reference), image, 6, 6) == (106, 106)
    assert extent(lambda reference: network.patch_logits(image, reference), reference, 6, 6) == (48, 80)


def test_the_logit_is_the_mean_of_a_map_of_one_logit_every_16_pixels(images):
    network, image, reference = Discriminator(NARROW), images(2, 64, 96), images(2)
    with torch.no_grad():
        logits = network.patch_logits(image, reference)
        assert logits.shape == (2, 1, 4, 6)
        assert logits.std() > 0
        torch.testing.assert_close(network(image, reference), logits.mean((1, 2, 3)))


def test_downsampled_it_judges_the_means_of_pixels(images):
    """Alternating pixels that leave each mean as it is are not seen; the map has so many fewer logits."""
    network, image, reference = Discriminator(NARROW, downsampling=2), images(2, 64, 96) * 0.5, images(2)
    lattice = 0.1 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(32, 48)
    full = Discriminator(NARROW)
    full.load_state_dict(network.state_dict())
    with torch.no_grad():
        logits = network.patch_logits(image, reference)
        assert logits.shape == (2, 1, 2, 3)
        torch.testing.assert_close(network.patch_logits(image + lattice, reference), logits)
        means = [each.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5)) for each in (image, reference)]
        torch.testing.assert_close(network(image, reference), full(*means))
        assert not torch.allclose(full(image + lattice, reference), full(image, reference), atol=1e-4)


def test_downsampled_it_takes_the_smallest_patches(images):
    assert Discriminator(NARROW, downsampling=3)(images(2, 16, 16)).shape == (2,)


def test_logits_are_float32_under_autocast(images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Discriminator(NARROW)(images(2)).dtype == torch.float32


def test_patch_and_reference_interact(images):
    """Were the reference only added to the logit, it would change it alike for all patches."""
    network = Discriminator(NARROW).double()
    dark, bright = images(1).double() * 0.2 - 0.7, images(1).double() * 0.2 + 0.7
    with torch.no_grad():
        of_dark = network(dark, dark) - network(dark, bright)
        of_bright = network(bright, dark) - network(bright, bright)
    assert (of_dark - of_bright).abs() > 0.05 * torch.maximum(of_dark.abs(), of_bright.abs())


def test_the_branches_are_not_alike(images):
    network, one, other = Discriminator(NARROW), images(1), images(1) * 0.1
    with torch.no_grad():
        assert not torch.allclose(network(one, other), network(other, one), atol=1e-4)


@pytest.mark.parametrize(("batch_norm", "rate", "steps"), [(False, 2e-3, 300), (True, 5e-3, 120)])
def test_mismatched_pairs_are_told_from_pairs_of_one_type(batch_norm, rate, steps):
    """Types are colours of noise, new ones in every step: the patch alone and the reference alone say nothing."""

    def patches(colours):
        return (colours[:, :, None, None] + 0.1 * torch.randn(len(colours), 3, 32, 32)).clamp(-1, 1)

    def draw(count):
        types, others = torch.rand(2, count, 3) * 1.6 - 0.8
        matched = torch.arange(count) % 2 == 0
        return patches(types), patches(torch.where(matched[:, None], types, others)), matched

    network = Discriminator(NARROW, batch_norm=batch_norm)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(steps):
        image, reference, matched = draw(24)
        loss = binary_cross_entropy_with_logits(network(image, reference), matched.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    image, reference, matched = draw(200)
    with torch.no_grad():
        told = (network(image, reference) > 0) == matched
    assert told.float().mean() > 0.75


@pytest.mark.parametrize("widths", [(8, 8, 8, 8), (8, 8, 0, 8, 8)])
def test_widths_that_are_not_five_positive_numbers_are_refused(widths):
    with pytest.raises(ValueError, match=f"widths must be five positive numbers, got .{', '.join(map(str, widths))}"):
        Discriminator(widths)


def test_batch_normalisation_follows_every_convolution_but_the_last(executed, images):
    network = Discriminator(NARROW, batch_norm=True)
    counts = executed(network, images(2), images(2))
    assert sum(counts[layer] for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)) == 14
    assert sum(counts[layer] for layer in network.modules() if isinstance(layer, nn.Conv2d)) == 15


def test_in_evaluation_a_logit_depends_on_its_own_patch_only(images):
    network, image, reference = Discriminator(NARROW, batch_norm=True), images(4), images(4)
    network(image, reference)
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(image, reference)[:1], network(image[:1], reference[:1]))


def test_less_than_no_downsampling_is_refused():
    with pytest.raises(ValueError, match="downsampling must be at least 1, got 0"):
        Discriminator(NARROW, downsampling=0)
