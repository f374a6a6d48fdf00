from collections import Counter

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def _repeatable():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def images():
    """Draw patches with values in [-1, 1]."""

    def draw(count, height=64, width=64):
        return torch.rand(count, 3, height, width) * 2 - 1

    return draw


@pytest.fixture
def executed():
    """Run a network and count how often it called each of its layers: a counter of modules, by identity."""

    def run(network, *inputs):
        counts = Counter()
        layers = [module for module in network.modules() if not list(module.children())]
        handles = [layer.register_forward_hook(lambda module, *_: counts.update([module])) for layer in layers]
        with torch.no_grad():
            network(*inputs)
        for handle in handles:
            handle.remove()
        return counts

    return run


@pytest.fixture
def pooling():
    return (nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@pytest.fixture
def extent():
    """Height and width of the part of the input that one pixel of the output depends on, measured by gradients."""

    def measure(network, image, row, column):
        image = image.clone().requires_grad_()
        network(image)[..., row, column].sum().backward()
        seen = image.grad.abs().sum(dim=(0, 1)) > 0
        rows, columns = seen.any(dim=1).nonzero(), seen.any(dim=0).nonzero()
        return int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)

    return measure
