"""What a network is sure of, as something to learn from (self-training)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from nucleosynth.transforms.targets import nucleus_targets

from .instances import InstanceSettings, label_nuclei

__all__ = ["ConfidenceSettings", "confident_targets"]


@dataclass(frozen=True)
class ConfidenceSettings:
    """What counts as sure.

    Attributes:
        nucleus: least mean of the segmentation map over a nucleus.
        background: probability of a nucleus under which a pixel outside of all is background.
        solidity: least share of its convex hull that a nucleus fills. Nuclei are convex but for a notch; what is less
            so is several of them, or a part of one.
    """

    nucleus: float = 0.8
    background: float = 0.3
    solidity: float = 0.8

    def __post_init__(self) -> None:
        for name in ("nucleus", "background", "solidity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


def confident_targets(
    maps: np.ndarray, instances: InstanceSettings, settings: ConfidenceSettings | None = None, core: float = 0.5
) -> np.ndarray:
    """Targets from a network's own maps: hard where it is sure; elsewhere its probability, which teaches little.

    A nucleus that is sure is filled up to its convex hull, of which the network has not known: what bites into a
    nucleus is its own cleared chromatin.

    Args:
        maps: float, shape (2, H, W), probability of being in the core of a nucleus, and in a nucleus.
        instances: how maps become nuclei.
        settings: what counts as sure; None takes the usual.
        core: share of a nucleus' largest distance to its boundary at which its core begins.

    Returns:
        float32, shape (2, H, W), in [0, 1].

    Raises:
        ValueError: the maps have another shape.
    """
    if maps.ndim != 3 or len(maps) != 2:
        raise ValueError(f"maps must have shape (2, H, W), got {maps.shape}")
    settings = settings or ConfidenceSettings()
    label = label_nuclei(maps[0], maps[1], instances)
    full, sure = _filled(label, maps[1], settings)
    certain = sure[full] | ((full == 0) & (maps[1] < settings.background))
    return np.where(certain, nucleus_targets(full, core), maps).astype(np.float32)


def _filled(label: np.ndarray, probability: np.ndarray, settings: ConfidenceSettings) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei that are sure, filled up to their hulls where no other lies, and the others; which are sure, by id."""
    full, sure = label.copy(), np.zeros(label.max() + 1, bool)
    for number, window in enumerate(ndimage.find_objects(label), 1):
        nucleus = (label[window] == number).astype(np.uint8)
        hull = cv2.fillConvexPoly(np.zeros_like(nucleus), cv2.convexHull(cv2.findNonZero(nucleus)), 1)
        convex = nucleus.sum() >= settings.solidity * hull.sum()
        sure[number] = convex and probability[window][nucleus > 0].mean() >= settings.nucleus
        if sure[number]:
            full[window][(hull > 0) & (full[window] == 0)] = number
    return full, sure
