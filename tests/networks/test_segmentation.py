import pytest
import torch
from torch import nn

from nucleosynth.networks import DETECTION, SEGMENTATION, SegmentationCNN


def test_the_papers_counts(executed, images, pooling):
    network = SegmentationCNN()
    counts = executed(network, images(1))
    layers = {
        "convolutions": [x for x in network.modules() if isinstance(x, nn.Conv2d) and x.kernel_size == (3, 3)],
        "read-outs": [x for x in network.modules() if isinstance(x, nn.Conv2d) and x.kernel_size == (1, 1)],
        "up-convolutions": [x for x in network.modules() if isinstance(x, nn.ConvTranspose2d)],
        "poolings": [x for x in network.modules() if isinstance(x, pooling)],
    }
    assert {name: len(found) for name, found in layers.items()} == {
        "convolutions": 15,
        "read-outs": 1,
        "up-convolutions": 2,
        "poolings": 2,
    }
    assert {counts[layer] for found in layers.values() for layer in found} == {1}
    assert [layer.out_channels for layer in layers["convolutions"]] == [
        width for width in (32, 64, 128, 64, 32) for _ in range(3)
    ]


def test_number_of_parameters():
    assert sum(weights.numel() for weights in SegmentationCNN().parameters()) == 706_498


def test_an_output_pixel_sees_62_to_66_pixels_depending_on_its_place(extent, images):
    network, image = SegmentationCNN().double(), images(1, 96, 96).double()
    # The largest value of each pool is one pixel, which may not be at the edge of what is seen.
    for module in network.modules():
        for name, layer in module.named_children():
            if isinstance(layer, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(2))
    seen = [extent(network, image, 48 + offset, 48) for offset in range(4)]
    assert {height for height, _ in seen} == {62, 66}
    assert max(seen) == (66, seen[0][1])


@pytest.mark.parametrize("skip", ["to_half", "to_full"])
def test_both_levels_have_a_skip_and_what_comes_from_below(skip, images):
    """Without what is upsampled there are still the features of the level."""
    network, image = SegmentationCNN(), images(1)
    with torch.no_grad():
        whole = network(image)
        getattr(network, skip)[0].weight.zero_()
        partial = network(image)
    assert not torch.allclose(whole, partial, atol=1e-3)
    assert partial.std() > 0.01


def test_nuclei_and_their_centres_are_learnt():
    image = 0.1 * torch.randn(2, 3, 64, 64) + 0.6
    target = torch.zeros(2, 2, 64, 64)
    for row, column in ((12, 20), (40, 44), (44, 14)):
        image[:, :, row - 5 : row + 6, column - 5 : column + 6] -= 1
        target[:, SEGMENTATION, row - 5 : row + 6, column - 5 : column + 6] = 1
        target[:, DETECTION, row - 1 : row + 2, column - 1 : column + 2] = 1
    network = SegmentationCNN()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(40):
        loss = nn.functional.binary_cross_entropy_with_logits(network(image), target, pos_weight=torch.tensor(5.0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = (network(image) > 0).float()
    overlap = 2 * (found * target).sum((0, 2, 3)) / (found + target).sum((0, 2, 3))
    assert overlap[SEGMENTATION] > 0.9
    assert overlap[DETECTION] > 0.4


@pytest.mark.parametrize("number", [1, 4])
def test_number_of_maps(number, images):
    assert SegmentationCNN(out_channels=number)(images(1)).shape == (1, number, 64, 64)


def test_no_maps_are_refused():
    with pytest.raises(ValueError, match="out_channels must be at least 1, got 0"):
        SegmentationCNN(out_channels=0)
