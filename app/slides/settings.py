"""Settings of the long runs over slides, apart from their code so that the command line starts fast."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..data.limits import QualityLimits

__all__ = [
    "FORMATS",
    "NORMALIZATIONS",
    "READERS",
    "SMALLEST_TILE",
    "TURNS",
    "TYPE_SOURCES",
    "SegmentSettings",
    "TileSettings",
    "chosen_formats",
]

FORMATS = ("ome-tiff", "dicom", "anndata")
READERS = ("auto", "cucim", "openslide")
NORMALIZATIONS = ("none", "reinhard", "macenko")
TURNS = (1, 2, 4)  # In how many orientations a network can look at a place.
TYPE_SOURCES = ("folder", "image")
SMALLEST_TILE = 64  # Pixels; less shows no tissue, only parts of a few nuclei.


@dataclass(frozen=True)
class TileSettings:
    """How tiles are sampled.

    Args:
        target_mpp: scale of the tiles, µm per pixel.
        size: width and height of a tile, pixels; images that are smaller at ``target_mpp`` are kept whole.
        per_slide: at most so many tiles of one slide; images are used in full.
        seed: of the choice of tiles in a slide.
        mpp: scale of the inputs, µm per pixel, overriding what they say of themselves.
        reader: one of ``READERS``.
        type_by: what makes images one type: their ``"folder"``, or each ``"image"`` by itself.
        limits: what a tile must reach to be kept.
    """

    target_mpp: float = 0.25
    size: int = 1024
    per_slide: int = 16
    seed: int = 0
    mpp: float | None = None
    reader: str = "auto"
    type_by: str = "folder"
    limits: QualityLimits = field(default_factory=QualityLimits)

    def __post_init__(self) -> None:
        for name in ("target_mpp", "mpp"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value}")
        if self.size < SMALLEST_TILE:
            raise ValueError(f"size must be at least {SMALLEST_TILE} px, got {self.size}")
        if self.per_slide < 1:
            raise ValueError(f"per_slide must be at least 1, got {self.per_slide}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.reader not in READERS:
            raise ValueError(f"reader must be one of {', '.join(READERS)}, got {self.reader!r}")
        if self.type_by not in TYPE_SOURCES:
            raise ValueError(f"type_by must be one of {', '.join(TYPE_SOURCES)}, got {self.type_by!r}")


@dataclass(frozen=True)
class SegmentSettings:
    """How slides are read for segmentation.

    Args:
        mpp: scale of the inputs, µm per pixel, overriding what they say of themselves.
        reader: one of ``READERS``.
        whole: whether glass is segmented as well. Plain images always are, all of them.
        normalize: one of ``NORMALIZATIONS``: what the network sees has the stain of each slide's tissue brought to the
            method's published reference. The network should have been trained on tissue that was brought to the same
            reference; where it was not, trials have come out worse as well as slightly better. Measurements of nuclei
            are of the original colours in any case.
    """

    mpp: float | None = None
    reader: str = "auto"
    whole: bool = False
    normalize: str = "none"

    def __post_init__(self) -> None:
        if self.mpp is not None and not (math.isfinite(self.mpp) and self.mpp > 0):
            raise ValueError(f"mpp must be positive, got {self.mpp}")
        if self.reader not in READERS:
            raise ValueError(f"reader must be one of {', '.join(READERS)}, got {self.reader!r}")
        if self.normalize not in NORMALIZATIONS:
            raise ValueError(f"normalize must be one of {', '.join(NORMALIZATIONS)}, got {self.normalize!r}")


def chosen_formats(names: Iterable[str]) -> tuple[str, ...]:
    """Which of ``FORMATS`` are asked for, each once, in their order there.

    Args:
        names: of formats; each may be several, with commas between them.

    Raises:
        ValueError: there is no such format.
    """
    wanted = {name.strip() for several in names for name in several.split(",")} - {""}
    unknown = sorted(wanted - set(FORMATS))
    if unknown:
        raise ValueError(f"formats: there is no {unknown[0]!r}; choose from {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in wanted)
