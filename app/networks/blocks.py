"""What all networks are built of: convolutions with leaky rectifiers, their start, and the check of their input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SLOPE", "ResidualBlock", "check_images", "convolution", "initialise", "leaky_relu", "with_detail"]

SLOPE = 0.2
"""Slope of the leaky rectifier for negative values, in all networks."""


def leaky_relu() -> nn.LeakyReLU:
    """The non-linearity of all networks; it overwrites its input, which a convolution made for it alone."""
    return nn.LeakyReLU(SLOPE, inplace=True)


def convolution(in_channels: int, out_channels: int, stride: int = 1, batch_norm: bool = False) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation if wanted, and a leaky rectifier.

    Shape (B, in, H, W) to (B, out, H / stride, W / stride), rounded up.
    """
    # The normalisation takes any bias away again, and has its own.
    layers: list[nn.Module] = [nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=not batch_norm)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(out_channels))
    return nn.Sequential(*layers, leaky_relu())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to their input; the shape (B, width, H, W) is kept.

    Args:
        width: number of channels.

    Example:
        >>> ResidualBlock(8)(torch.zeros(1, 8, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.first(features))


def with_detail(images: Tensor) -> Tensor:
    """Put an image's fine detail beside it: twelve times what deviates from the mean of 5x5 pixels around.

    What gives a synthetic patch away is mostly grain and sharpness, of a small fraction of the range that colours span.
    A network without normalisation finds it in hundreds of steps rather than thousands if it is as large as they are:
    on tiles of `unlabelled/organs`, whose camera's noise is some two levels of 255, after 550 steps, and with a third
    of the factor after 1200.

    Args:
        images: shape (B, 3, H, W).

    Returns:
        shape (B, 6, H, W): the images, and their detail.
    """
    # A mean that leaves out what lies beyond the border, so that there is no edge.
    mean = functional.avg_pool2d(images, 5, stride=1, padding=2, count_include_pad=False)
    return torch.cat([images, 12 * (images - mean)], dim=1)


def initialise(network: nn.Module) -> None:
    """Draw all weights as Glorot and Bengio (2010) do, uniformly, with the gain of the leaky rectifier; biases are 0.

    Most networks have no normalisation: the signal must come through all layers by its start alone. What a
    residual block adds is therefore drawn a tenth as large: a stack of blocks would double the variance with each.
    """
    gain = nn.init.calculate_gain("leaky_relu", SLOPE)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, ResidualBlock):
                module.second.weight.mul_(0.1)


def check_images(name: str, images: Tensor) -> None:
    """Refuse what is not a batch of images that every network can take.

    Args:
        name: what the caller calls them.
        images: should have shape (B, 3, H, W), H and W multiples of 16. The value range is not looked at, as that
            would wait for the device.

    Raises:
        ValueError: the shape is another.
    """
    shape = images.shape
    if len(shape) != 4 or shape[1] != 3 or shape[2] % 16 != 0 or shape[3] % 16 != 0 or shape[2] * shape[3] == 0:
        raise ValueError(f"{name} must have shape (B, 3, H, W) with H and W multiples of 16, got {list(shape)}")
