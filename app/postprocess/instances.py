"""Instances from detection and segmentation maps by a marker-controlled watershed (paper, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.segmentation import watershed

from nucleosynth.transforms.stain import fill_small_holes

__all__ = ["InstanceSettings", "label_nuclei"]


@dataclass(frozen=True)
class InstanceSettings:
    """How maps become nuclei.

    Attributes:
        detection_threshold: probability above which the smoothed detection map marks a nucleus.
        segmentation_threshold: probability above which a pixel belongs to a nucleus. Real nuclei are less sharply
            bounded for the network than synthetic ones: at 0.6 its outlines lie on the edges of real ones where the
            true ones lie on those of synthetic ones (see ``benchmarks/outlines.py``).
        detection_smoothing_um: standard deviation of the smoothing of the detection map, in µm. Noise splits nuclei,
            a wide smoothing loses small ones; 0.45 µm parts synthetic nuclei well (see ``benchmarks/instances.py``).
        segmentation_smoothing_um: the same of the segmentation map, whose noise frays outlines.
        min_area_um2: least area of a nucleus, in µm².
        mpp: scale of the maps, µm per pixel.
    """

    detection_threshold: float = 0.5
    segmentation_threshold: float = 0.6
    detection_smoothing_um: float = 0.45
    segmentation_smoothing_um: float = 0.25
    min_area_um2: float = 6.0
    mpp: float = 0.25

    def __post_init__(self) -> None:
        for name in ("detection_threshold", "segmentation_threshold"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")
        for name in ("detection_smoothing_um", "segmentation_smoothing_um", "min_area_um2"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.mpp > 0:
            raise ValueError(f"mpp must be positive, got {self.mpp}")


def label_nuclei(detection: np.ndarray, segmentation: np.ndarray, settings: InstanceSettings) -> np.ndarray:
    """Divide the segmentation map into nuclei.

    Cores in the detection map are the markers, and every region of the segmentation without one becomes a marker as a
    whole, so that no segmented nucleus is lost (paper's rule). Holes within a nucleus are filled.

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
    label = _divided(cores, cores > settings.detection_threshold, mask)
    return _drop_small(label, settings.min_area_um2 / settings.mpp**2)


def _smooth(probability: np.ndarray, sigma: float) -> np.ndarray:
    probability = probability.astype(np.float32)
    return cv2.GaussianBlur(probability, (0, 0), sigma) if sigma > 0 else probability


def _divided(cores: np.ndarray, core: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Ids, int32, shape (H, W), of the regions of the mask, and of the parts of those that hold several cores.

    Args:
        cores: float, shape (H, W), probability of being in a core.
        core: bool, shape (H, W), where it counts as one.
        mask: bool, shape (H, W).
    """
    count, markers = cv2.connectedComponents((core & mask).astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    regions, label = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    marked = np.flatnonzero(markers)
    # Each core once, at whichever of its pixels comes last: a core lies in one region.
    home = np.zeros(count, np.intp)
    home[markers.ravel()[marked]] = label.ravel()[marked]
    cores_in = np.bincount(home[1:], minlength=regions)
    inside = np.flatnonzero(mask)
    clumped = inside[(cores_in > 1)[label.ravel()[inside]]]
    if len(clumped):
        # A watershed would fill a region of one core with it: only the others have to be flooded.
        clump = np.zeros(mask.shape, bool)
        clump.ravel()[clumped] = True
        parts = watershed(-cores, np.where(clump, markers, 0), mask=clump)
        label.ravel()[clumped] = parts.ravel()[clumped] + (regions - 1)
    return label


def _drop_small(label: np.ndarray, least: float) -> np.ndarray:
    """Remove instances under an area, in pixels, and number the others from 1 without gaps; in place."""
    inside = np.flatnonzero(label)
    ids = label.ravel()[inside]
    area = np.bincount(ids, minlength=1)
    keep = (area >= least) & (area > 0)
    numbers = np.zeros(len(area), np.int32)
    numbers[keep] = np.arange(1, np.count_nonzero(keep) + 1)
    label.ravel()[inside] = numbers[ids]
    return label
