"""The paper's segmentation network (section 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import check_images, convolution, initialise, leaky_relu

__all__ = ["SegmentationCNN"]


class SegmentationCNN(nn.Module):
    """The paper's CNN of 15 convolutions and 2 poolings for detection and class-level segmentation (section 5).

    Three 3x3 convolutions on each of five levels: 32 wide, pooled, 64 wide, pooled, 128 wide, upsampled, 64 wide,
    upsampled, 32 wide. These are the 15; the two transposed convolutions that upsample and the 1x1 convolution that
    reads the logits out are not counted. What is upsampled is concatenated with the features of its level on the way
    down. An output pixel sees 62 to 66 pixels each way, depending on its place among the pixels that are pooled (16.5
    µm at 0.25 µm per pixel): a nucleus and its neighbours.

    Args:
        out_channels: number of maps; the first are `DETECTION` and `SEGMENTATION`.

    Raises:
        ValueError: ``out_channels`` is less than 1.

    Example:
        >>> SegmentationCNN()(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 2, 64, 96])
    """

    def __init__(self, out_channels: int = 2) -> None:
        super().__init__()
        if out_channels < 1:
            raise ValueError(f"out_channels must be at least 1, got {out_channels}")
        self.down_full = _three(3, 32)
        self.down_half = nn.Sequential(nn.MaxPool2d(2), *_three(32, 64))
        self.quarter = nn.Sequential(nn.MaxPool2d(2), *_three(64, 128))
        self.to_half = nn.Sequential(nn.ConvTranspose2d(128, 64, 2, stride=2), leaky_relu())
        self.up_half = _three(64 + 64, 64)
        self.to_full = nn.Sequential(nn.ConvTranspose2d(64, 32, 2, stride=2), leaky_relu())
        self.up_full = _three(32 + 32, 32)
        self.logits = nn.Conv2d(32, out_channels, 1)
        initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        """Segment a batch of patches.

        Args:
            image: shape (B, 3, H, W), values in [-1, 1], H and W multiples of 16.

        Returns:
            logits, shape (B, out_channels, H, W).

        Raises:
            ValueError: the shape is wrong.
        """
        check_images("image", image)
        full = self.down_full(image)
        half = self.down_half(full)
        half = self.up_half(torch.cat([half, self.to_half(self.quarter(half))], dim=1))
        return self.logits(self.up_full(torch.cat([full, self.to_full(half)], dim=1)))


def _three(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        convolution(in_channels, out_channels),
        convolution(out_channels, out_channels),
        convolution(out_channels, out_channels),
    )
