"""The border between MONAI's channel-first tensors and the channel-last arrays that OpenCV works on."""

from __future__ import annotations

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.utils import convert_to_numpy, convert_to_tensor

__all__ = ["check_same_size", "to_channel_first", "to_channel_last", "to_label", "to_mask", "to_rgb"]


def to_channel_last(img: NdarrayOrTensor) -> np.ndarray:
    """Channel-last array of a channel-first image.

    Args:
        img: array or tensor, shape (C, H, W).

    Returns:
        contiguous array of the same dtype, shape (H, W, C).
    """
    array = convert_to_numpy(img)
    if array.ndim != 3:
        raise ValueError(f"an image must be channel-first with three dimensions, got shape {tuple(array.shape)}")
    return np.ascontiguousarray(array.transpose(1, 2, 0))


def to_rgb(img: NdarrayOrTensor) -> np.ndarray:
    """Channel-last array of a channel-first RGB image, refusing anything else.

    Args:
        img: uint8 array or tensor, shape (3, H, W), values 0 to 255.

    Returns:
        contiguous uint8 array, shape (H, W, 3).
    """
    array = to_channel_last(img)
    if array.dtype != np.uint8 or array.shape[2] != 3:
        raise ValueError(f"an RGB image must be uint8 with shape (3, H, W), got {array.dtype} {tuple(img.shape)}")
    return array


def to_label(img: NdarrayOrTensor) -> np.ndarray:
    """Two-dimensional array of an instance label image.

    Args:
        img: array or tensor of an integer type, shape (1, H, W), ids 0 to 65535.

    Returns:
        contiguous uint16 array, shape (H, W), the type that OpenCV's morphology takes.
    """
    array = convert_to_numpy(img)
    if array.ndim != 3 or array.shape[0] != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"a label must be of integers with shape (1, H, W), got {array.dtype} {tuple(array.shape)}")
    if array.size and (array.min() < 0 or array.max() >= 2**16):
        raise ValueError(f"label ids must lie between 0 and 65535, got {array.min()} to {array.max()}")
    return np.ascontiguousarray(array[0], dtype=np.uint16)


def to_mask(img: NdarrayOrTensor) -> np.ndarray:
    """Two-dimensional array of a mixing mask.

    Args:
        img: array or tensor, shape (1, H, W), values 0 to 1.

    Returns:
        contiguous float32 array, shape (H, W).
    """
    array = convert_to_numpy(img)
    if array.ndim != 3 or array.shape[0] != 1:
        raise ValueError(f"a mask must have the shape (1, H, W), got {tuple(array.shape)}")
    return np.ascontiguousarray(array[0], dtype=np.float32)


def check_same_size(**images: np.ndarray) -> None:
    """Refuse images, given by their names, of different height or width."""
    sizes = {name: image.shape[:2] for name, image in images.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size[0]}x{size[1]}" for name, size in sizes.items())
        raise ValueError(f"images must have the same height and width, got {listed}")


def to_channel_first(array: np.ndarray) -> torch.Tensor:
    """Channel-first tensor (a MetaTensor where MONAI tracks metadata) of a channel-last or two-dimensional array.

    Args:
        array: shape (H, W, C), or (H, W), which becomes one channel.
    """
    if array.ndim == 2:
        array = array[..., None]
    return convert_to_tensor(np.ascontiguousarray(array.transpose(2, 0, 1)), track_meta=get_track_meta())
