"""Variation of stain and focus, on the device, after the refiner and before the task network."""

from __future__ import annotations

import numpy as np
import torch
from skimage.color import hed_from_rgb, rgb_from_hed
from torch.nn import functional

__all__ = ["StainAugmentation"]


class StainAugmentation:
    """Vary concentration of the stains, brightness, sharpness and noise of each image of a batch.

    Args:
        stain: largest relative change of the concentration of each stain (Ruifrok and Johnston's directions).
        tint: largest change of optical density of each colour channel.
        blur: largest standard deviation of a blur, in pixels; half of the images stay as they are.
        noise: largest standard deviation of Gaussian noise, on the scale of [-1, 1].

    Example:
        >>> augment = StainAugmentation(stain=0.25)
        >>> augment(images, torch.Generator().manual_seed(0))
    """

    _RADIUS = 4

    def __init__(self, stain: float = 0.2, tint: float = 0.05, blur: float = 1.0, noise: float = 0.02) -> None:
        for name, value in (("stain", stain), ("tint", tint), ("blur", blur), ("noise", noise)):
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if stain >= 1:
            raise ValueError(f"stain must be less than 1, got {stain}")
        self.stain, self.tint, self.blur, self.noise = stain, tint, blur, noise
        self._to_stains = torch.as_tensor(np.asarray(hed_from_rgb), dtype=torch.float32)
        self._to_rgb = torch.as_tensor(np.asarray(rgb_from_hed), dtype=torch.float32)

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment a batch.

        Args:
            images: float, shape (B, 3, H, W), values in [-1, 1].
            generator: source of randomness, on the CPU.

        Returns:
            float32, of the same shape and range.
        """
        count, device = len(images), images.device

        def draw(*shape: int) -> torch.Tensor:
            return torch.rand(count, *shape, generator=generator) * 2 - 1

        factors = 1 + self.stain * draw(3)
        # Unmix, scale, mix: one matrix for each image.
        mixing = (self._to_stains[None] * factors[:, None]) @ self._to_rgb
        tint = self.tint * draw(3, 1, 1)
        sigma = self.blur * draw(1).clamp(min=0)
        noise = self.noise * draw(1, 1, 1).abs()
        density = -torch.log(((images.float() + 1) / 2).clamp(min=1 / 255))
        density = torch.einsum("bchw,bcd->bdhw", density, mixing.to(device)) + tint.to(device)
        varied = torch.exp(-density.clamp(min=0))
        if self.blur > 0:
            varied = self._blur(varied, sigma.to(device))
        if self.noise > 0:
            grain = torch.randn(varied.shape, generator=generator).to(device)
            varied = varied + noise.to(device) / 2 * grain
        return (varied.clamp(0, 1) * 2 - 1).contiguous(memory_format=torch.channels_last)

    def _blur(self, images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Blur each image with its own Gaussian, one axis after the other; sigma of shape (B, 1), 0 does nothing."""
        count, channels, height, width = images.shape
        offsets = torch.arange(-self._RADIUS, self._RADIUS + 1, device=images.device, dtype=torch.float32)
        kernels = torch.exp(-(offsets**2) / (2 * sigma.clamp(min=1e-3) ** 2))
        kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
        flat = images.reshape(1, count * channels, height, width)
        for kernel, pad in (
            (kernels[:, :, None, :], (self._RADIUS, self._RADIUS, 0, 0)),
            (kernels[:, :, :, None], (0, 0, self._RADIUS, self._RADIUS)),
        ):
            flat = functional.conv2d(functional.pad(flat, pad, mode="reflect"), kernel, groups=count * channels)
        return flat.reshape(images.shape)
