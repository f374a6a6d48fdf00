"""The branch that looks at the reference patch, in the refiners and the discriminator (paper, Fig. 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .blocks import check_images, convolution

__all__ = ["ReferenceEncoder", "concatenate", "reference_or_self"]


class ReferenceEncoder(nn.Module):
    """Describe a reference patch by one vector: which stains and textures it shows, and not where.

    Four 3x3 convolutions, the first two with stride 2, and two poolings: 2x2 after the second convolution, and over
    all of the patch at the end. A value before the last pooling sees 43 x 43 pixels (10.75 µm at 0.25 µm per pixel).

    Args:
        widths: channels of the four convolutions; the last one is the length of the vector.
        in_channels: channels of what it looks at.
        batch_norm: whether batch normalisation follows each convolution.

    Example:
        >>> ReferenceEncoder((8, 8, 16, 16))(torch.zeros(2, 3, 64, 96)).shape
        torch.Size([2, 16])
    """

    def __init__(self, widths: Sequence[int], in_channels: int = 3, batch_norm: bool = False) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.layers = nn.Sequential(
            convolution(in_channels, first, stride=2, batch_norm=batch_norm),
            convolution(first, second, stride=2, batch_norm=batch_norm),
            nn.AvgPool2d(2),
            convolution(second, third, batch_norm=batch_norm),
            convolution(third, fourth, batch_norm=batch_norm),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, reference: Tensor) -> Tensor:
        """Shape (B, in_channels, H, W) to shape (B, widths[3])."""
        return self.layers(reference)


def concatenate(features: Tensor, vector: Tensor) -> Tensor:
    """Tile a vector over the image and put it behind the features: (B, C, H, W) and (B, D) to (B, C + D, H, W)."""
    tiled = vector[:, :, None, None].expand(-1, -1, features.shape[2], features.shape[3])
    return torch.cat([features, tiled], dim=1)


def reference_or_self(image: Tensor, reference: Tensor | None) -> Tensor:
    """The references of a batch of images; None stands for the images themselves.

    So a network of two inputs can be given one, which is all that MONAI's tools for exporting and checking networks do.

    Raises:
        ValueError: the references have the wrong shape, or are not as many as the images.
    """
    if reference is None:
        return image
    check_images("reference", reference)
    if reference.shape[0] != image.shape[0]:
        raise ValueError(f"reference must hold one patch an image, got {reference.shape[0]} for {image.shape[0]}")
    return reference
