"""The limits of tile quality, apart from the measurements so that the command line starts fast."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QualityLimits"]


@dataclass(frozen=True)
class QualityLimits:
    """What a tile must reach to be kept; the measures are those of :mod:`nucleosynth.data.quality`.

    Args:
        min_tissue: least share of tissue, 0 to 1. Half keeps glands and loose stroma, and refuses fat and glass.
        min_blur_score: least sharpness. Measured on 533 tissue patches of four sources at 0.25 µm/px: all of them reach
            0.43, and of the same patches blurred by a Gaussian of 3 px (0.75 µm) none does.
        max_fold: largest share that lies folded. The patches, which hold no folds, stay below 0.15.
        max_pen: largest share under ink. The patches, which hold none, stay below 0.03.
    """

    min_tissue: float = 0.5
    min_blur_score: float = 0.43
    max_fold: float = 0.15
    max_pen: float = 0.1

    def __post_init__(self) -> None:
        for name in ("min_tissue", "max_fold", "max_pen"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not self.min_blur_score >= 0:
            raise ValueError(f"min_blur_score must not be negative, got {self.min_blur_score}")
