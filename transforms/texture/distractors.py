"""Unlabelled distractors: debris and out-of-focus shadows, painted like nuclei but no nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..base import check_mpp

__all__ = ["DistractorSettings", "Distractors", "draw_distractors", "paint_distractors"]


@dataclass(frozen=True)
class DistractorSettings:
    """How much debris there is, and how large.

    Attributes:
        debris_per_mm2: range of the number of small dark specks per mm².
        debris_radius_um: range of their radius, in µm.
        shadows: largest number of blurred, nucleus-sized shadows in a patch.
        shadow_radius_um: range of their radius, in µm.
        mpp: µm per pixel.
    """

    debris_per_mm2: tuple[float, float] = (0.0, 500.0)
    debris_radius_um: tuple[float, float] = (0.4, 1.4)
    shadows: int = 2
    shadow_radius_um: tuple[float, float] = (2.0, 4.0)
    mpp: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.debris_per_mm2[0] <= self.debris_per_mm2[1]:
            raise ValueError(f"debris_per_mm2 must be a range of non-negative values, got {self.debris_per_mm2}")
        for name in ("debris_radius_um", "shadow_radius_um"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be a range of positive values, got {(low, high)}")
        if self.shadows < 0:
            raise ValueError(f"shadows must not be negative, got {self.shadows}")
        check_mpp(self.mpp)


@dataclass(frozen=True)
class Distractors:
    """Distractors that were drawn.

    Attributes:
        outlines: polygons, float, shape (V, 2) each, as (x, y) in pixels of the patch.
        opacity: one per outline, 0 to 1.
        sigma: one per outline, standard deviation of its blur in pixels.
    """

    outlines: tuple[np.ndarray, ...]
    opacity: tuple[float, ...]
    sigma: tuple[float, ...]


def _star(centre: np.ndarray, radius: float, corners: int, rng: np.random.RandomState) -> np.ndarray:
    theta = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    distance = radius * rng.uniform(0.5, 1.2, size=corners)
    stretch = rng.uniform(0.6, 1.0)
    angle = rng.uniform(0, np.pi)
    x, y = distance * np.cos(theta), stretch * distance * np.sin(theta)
    return centre + np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=1)


def draw_distractors(size: tuple[int, int], settings: DistractorSettings, rng: np.random.RandomState) -> Distractors:
    """Draw debris and shadows for a patch.

    Args:
        size: height and width of the patch, in pixels.
        settings: how many and how large.
        rng: source of randomness.
    """
    mpp = settings.mpp
    area_mm2 = size[0] * size[1] * mpp**2 / 1e6
    debris = rng.poisson(rng.uniform(*settings.debris_per_mm2) * area_mm2)
    shadows = rng.randint(settings.shadows + 1)
    span = np.array([size[1], size[0]])
    outlines, opacity, sigma = [], [], []
    for number in range(debris + shadows):
        small = number < debris
        radius = rng.uniform(*(settings.debris_radius_um if small else settings.shadow_radius_um)) / mpp
        outlines.append(_star(rng.uniform(size=2) * span, radius, 12 if small else 24, rng))
        opacity.append(float(rng.uniform(0.2, 0.7) if small else rng.uniform(0.2, 0.5)))
        sigma.append(float((rng.uniform(0.15, 0.3) if small else rng.uniform(0.6, 1.2)) / mpp))
    return Distractors(tuple(outlines), tuple(opacity), tuple(sigma))


def paint_distractors(mask: np.ndarray, distractors: Distractors) -> np.ndarray:
    """Add distractors to a mixing mask.

    Args:
        mask: float32, shape (H, W), 0 to 1.
        distractors: what to add.

    Returns:
        float32, shape (H, W); nowhere less than the input, at most 1. The input itself where nothing is added.
    """
    if not distractors.outlines:
        return mask
    painted = mask.copy()
    height, width = mask.shape
    for outline, opacity, sigma in zip(distractors.outlines, distractors.opacity, distractors.sigma, strict=True):
        pad = int(np.ceil(3 * sigma))
        left, top = (np.floor(outline.min(axis=0)).astype(int) - pad).tolist()
        right, bottom = (np.ceil(outline.max(axis=0)).astype(int) + pad + 1).tolist()
        patch = np.zeros((bottom - top, right - left), np.float32)
        cv2.fillPoly(patch, [np.round((outline - (left, top)) * 16).astype(np.int32)], opacity, shift=4)
        patch = cv2.GaussianBlur(patch, (0, 0), sigma)
        patch = patch[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
        there = painted[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if patch.size and there.size:
            np.maximum(there, patch, out=there)
    return painted
