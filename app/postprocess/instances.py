"""Instances from detection and segmentation maps by a marker-controlled watershed (paper, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from nucleosynth.transforms.stain import fill_small_holes

from .basins import divide_among_peaks

__all__ = ["InstanceSettings", "label_nuclei"]


@dataclass(frozen=True)
class InstanceSettings:
    """How maps become nuclei.

    Attributes:
        detection_prominence: how far the smoothed detection map must fall between two peaks for each to mark a nucleus,
            in (0, 1]. A threshold would take nuclei for one whose cores the network does not part entirely.
        segmentation_threshold: probability above which a pixel belongs to a nucleus. Real nuclei are less sharply
            bounded for the network than synthetic ones: at 0.6 its outlines lie on the edges of real ones where the
            true ones lie on those of synthetic ones (see ``benchmarks/outlines.py``).
        detection_smoothing_um: standard deviation of the smoothing of the detection map, in µm. Noise splits nuclei,
            a wide smoothing loses small ones; this and the prominence part synthetic nuclei well (see
            ``benchmarks/instances.py``).
        segmentation_smoothing_um: the same of the segmentation map, whose noise frays outlines.
        min_area_um2: least area of a nucleus, in µm².
        min_probability: least mean of the segmentation map over a nucleus, in [0, 1]; cytoplasm and debris that
            pass the threshold often do so barely.
        mpp: scale of the maps, µm per pixel.
    """

    detection_prominence: float = 0.15
    segmentation_threshold: float = 0.6
    detection_smoothing_um: float = 0.6
    segmentation_smoothing_um: float = 0.25
    min_area_um2: float = 6.0
    min_probability: float = 0.75
    mpp: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.segmentation_threshold < 1:
            raise ValueError(f"segmentation_threshold must lie in (0, 1), got {self.segmentation_threshold}")
        if not 0 < self.detection_prominence <= 1:
            raise ValueError(f"detection_prominence must lie in (0, 1], got {self.detection_prominence}")
        if not 0 <= self.min_probability <= 1:
            raise ValueError(f"min_probability must lie in [0, 1], got {self.min_probability}")
        for name in ("detection_smoothing_um", "segmentation_smoothing_um", "min_area_um2"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.mpp > 0:
            raise ValueError(f"mpp must be positive, got {self.mpp}")


def label_nuclei(detection: np.ndarray, segmentation: np.ndarray, settings: InstanceSettings) -> np.ndarray:
    """Divide the segmentation map into nuclei.

    Peaks of the detection map are the markers, and every region of the segmentation without one becomes a marker as a
    whole, so that no segmented nucleus is lost (paper's rule). Holes within a nucleus are filled. What is too small,
    or doubtful all over, is dropped at last.

    Args:
        detection: float, shape (H, W), probability of being in the core of a nucleus.
        segmentation: float, shape (H, W), probability of being in a nucleus.
        settings: thresholds and scale.

    Returns:
        int32, shape (H, W), instance ids 1 to N; 0 is background.
    """
    if detection.shape != segmentation.shape or detection.ndim != 2:
        raise ValueError(f"maps must have one shape (H, W), got {detection.shape} and {segmentation.shape}")
    cores = _smooth(detection, settings.detection_smoothing_um / settings.mpp)
    inside = _smooth(segmentation, settings.segmentation_smoothing_um / settings.mpp)
    # A hole is never larger than the largest nuclei; larger gaps are rings of nuclei around tissue.
    mask = fill_small_holes(inside > settings.segmentation_threshold, 100 / settings.mpp**2)
    label = divide_among_peaks(cores, mask, settings.detection_prominence)
    return _drop(label, segmentation, settings.min_area_um2 / settings.mpp**2, settings.min_probability)


def _smooth(probability: np.ndarray, sigma: float) -> np.ndarray:
    probability = probability.astype(np.float32)
    return cv2.GaussianBlur(probability, (0, 0), sigma) if sigma > 0 else probability


def _drop(label: np.ndarray, segmentation: np.ndarray, least_area: float, least_mean: float) -> np.ndarray:
    """Remove instances under an area, in pixels, or a mean of the map, and number the others from 1; in place."""
    inside = np.flatnonzero(label > 0)
    ids = label.ravel()[inside]
    area = np.bincount(ids, minlength=1)
    total = np.bincount(ids, segmentation.ravel()[inside], minlength=1)
    keep = (area >= least_area) & (area > 0) & (total >= least_mean * area)
    numbers = np.zeros(len(area), np.int32)
    numbers[keep] = np.arange(1, np.count_nonzero(keep) + 1)
    label.ravel()[inside] = numbers[ids]
    return label
