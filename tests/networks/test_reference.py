import pytest
import torch
from torch import nn

from nucleosynth.networks.blocks import initialise
from nucleosynth.networks.reference import ReferenceEncoder, concatenate, reference_or_self


@pytest.fixture
def encoder():
    network = ReferenceEncoder((4, 5, 6, 7))
    initialise(network)
    return network


@pytest.mark.parametrize("size", [(16, 16), (64, 96), (256, 48)])
def test_any_size_becomes_one_vector(encoder, size):
    assert encoder(torch.zeros(2, 3, *size)).shape == (2, 7)


def test_four_convolutions_and_two_poolings_are_executed_once(encoder, executed, pooling):
    counts = executed(encoder, torch.zeros(1, 3, 64, 64))
    assert [counts[layer] for layer in encoder.modules() if isinstance(layer, nn.Conv2d)] == [1] * 4
    assert [counts[layer] for layer in encoder.modules() if isinstance(layer, pooling)] == [1] * 2


def test_a_value_before_the_last_pooling_sees_43_pixels(encoder, extent, images):
    assert extent(encoder.double().layers[:-2], images(1, 128, 128).double(), 8, 8) == (43, 43)


def test_what_a_patch_shows_counts_and_where_hardly(encoder):
    """A spot moves the vector about as much wherever it is, but for the way it falls on the strides of 8 pixels."""
    grey, left, right = torch.zeros(3, 1, 3, 128, 128)
    left[..., 48:64, 32:48] = 1
    right[..., 64:80, 80:96] = 1
    with torch.no_grad():
        none, one, other = encoder(grey), encoder(left), encoder(right)
    assert (one - other).norm() < 0.01 * (one - none).norm()


def test_a_vector_is_tiled_behind_the_features():
    features, vector = torch.rand(2, 3, 4, 5), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    joined = concatenate(features, vector)
    assert torch.equal(joined[:, :3], features)
    assert torch.equal(joined[:, 3:], vector[:, :, None, None].repeat(1, 1, 4, 5))


def test_the_image_is_its_own_reference_only_where_there_is_none(images):
    image, reference = images(2), images(2)
    assert reference_or_self(image, None) is image
    assert reference_or_self(image, reference) is reference
    with pytest.raises(ValueError, match="reference must hold one patch an image, got 3 for 2"):
        reference_or_self(image, images(3))
