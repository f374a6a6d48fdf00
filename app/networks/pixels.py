"""Images as they are stored and as networks see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.utils.enums import CommonKeys

__all__ = ["from_uint8", "prepare_images", "to_uint8"]


def from_uint8(images: torch.Tensor) -> torch.Tensor:
    """Scale images of 8 bits to what all networks take.

    Args:
        images: uint8, shape (B, 3, H, W), 0 to 255.

    Returns:
        float32 in channels_last layout, the same shape, -1 to 1.
    """
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Round images of a network to 8 bits; values outside [-1, 1] are clipped.

    Args:
        images: float, shape (B, 3, H, W), -1 to 1.

    Returns:
        uint8, the same shape, 0 to 255.
    """
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def prepare_images(
    batch: Mapping[str, Any], device: torch.device | str | None = None, non_blocking: bool = False, **_: Any
) -> tuple[torch.Tensor, Any]:
    """Images and labels of a batch, for MONAI's evaluators (``prepare_batch``).

    Args:
        batch: with ``image``, uint8, shape (B, 3, H, W), and perhaps ``label``, which stays as and where it is.
        device: where the images go.
        non_blocking: whether copying may overlap with other work.
    """
    image = batch[CommonKeys.IMAGE].to(device=device, non_blocking=non_blocking)
    return from_uint8(image), batch.get(CommonKeys.LABEL)
