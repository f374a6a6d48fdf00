import math

import pytest
import torch
from torch import nn

from nucleosynth.networks.blocks import ResidualBlock, check_images, convolution, initialise


def test_a_residual_block_adds_to_its_input():
    block, features = ResidualBlock(4), torch.rand(1, 4, 16, 16)
    nn.init.zeros_(block.second.weight)
    nn.init.zeros_(block.second.bias)
    torch.testing.assert_close(block(features), features)


def test_a_residual_block_leaves_its_input_alone():
    features = torch.rand(1, 4, 16, 16) - 0.5
    before = features.clone()
    ResidualBlock(4)(features)
    assert torch.equal(features, before)


@pytest.mark.parametrize(("stride", "size"), [(1, (16, 20)), (2, (8, 10))])
def test_a_convolution_divides_the_size_by_its_stride(stride, size):
    assert convolution(3, 5, stride)(torch.zeros(1, 3, 16, 20)).shape == (1, 5, *size)


def test_weights_start_uniformly_between_the_bounds_of_glorot():
    layer = nn.Conv2d(16, 32, 3)
    initialise(layer)
    bound = math.sqrt(2 / (1 + 0.2**2)) * math.sqrt(6 / (9 * (16 + 32)))
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not layer.bias.any()


def test_a_stack_of_blocks_keeps_the_size_of_the_signal():
    blocks = nn.Sequential(*(ResidualBlock(16) for _ in range(10)))
    initialise(blocks)
    features = torch.randn(1, 16, 32, 32)
    assert blocks(features).std().item() == pytest.approx(features.std().item(), rel=0.2)


def test_what_is_not_a_batch_of_images_is_refused_by_its_name():
    check_images("patch", torch.zeros(1, 3, 16, 48))
    with pytest.raises(
        ValueError, match=r"patch must have shape \(B, 3, H, W\) .* multiples of 16, got \[1, 3, 16, 50\]"
    ):
        check_images("patch", torch.zeros(1, 3, 16, 50))
