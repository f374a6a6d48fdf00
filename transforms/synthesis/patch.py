"""The initial synthesis of a patch: drawing what it is made of, then painting it (paper, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from scipy.special import ndtri

from ..masks import MaskSettings, NucleusMask, NucleusPrior, draw_mask
from ..stain import scale_stains
from ..texture import (
    BlurSpot,
    Distractors,
    DistractorSettings,
    blur_boundary,
    clear_chromatin,
    draw_distractors,
    draw_spots,
    fibre_direction,
    mix,
    nuclear_od,
    paint_distractors,
    rim_profile,
)
from .analysis import NuclearColours, TileAnalysis
from .crop import Crop, draw_crop, take_crop

__all__ = ["PatchDraw", "SynthesisSettings", "SyntheticPatch", "draw_patch", "paint_patch"]

# Largest relative contrast that is taken for grain of the chromatin.
_GRAIN = 0.15
# Optical density of haematoxylin-stained nuclei where neither tile has any to take colours from.
_PLAIN = NuclearColours(
    od=np.array([[0.9, 1.1, 0.6]], np.float32),
    contrast=np.array([0.15], np.float32),
    pallor=np.zeros(1, np.float32),
    hue=np.zeros(3, np.float32),
)


@dataclass(frozen=True)
class SynthesisSettings:
    """How patches are synthesised.

    Attributes:
        size: side of the patch, in pixels.
        prior: density, sizes and elongation of nuclei; None estimates them from each tile.
        mask: how masks are drawn.
        distractors: how much unlabelled debris there is.
        depth: range of the factor on the optical density of the real nucleus that lends its colour. Otsu's threshold
            finds the darker nuclei, so the range reaches further down than up.
        texture_gain: range of the factor on the texture contrast that the tile's own nuclei have.
        cleared: range of the share of a nucleus' interior in which chromatin is cleared.
        edge_gain: range of the factor on the blur that the tile's own nuclear boundaries have.
        blur_spots: largest number of places that are blurred a second time.
        stain_spread: largest relative change of each stain's concentration in the whole patch.
    """

    size: int = 400
    prior: NucleusPrior | None = None
    mask: MaskSettings = field(default_factory=MaskSettings)
    distractors: DistractorSettings = field(default_factory=DistractorSettings)
    depth: tuple[float, float] = (0.8, 1.1)
    texture_gain: tuple[float, float] = (0.6, 1.0)
    cleared: tuple[float, float] = (0.1, 0.5)
    edge_gain: tuple[float, float] = (0.8, 1.2)
    blur_spots: int = 2
    stain_spread: float = 0.03

    def __post_init__(self) -> None:
        if self.size < 16:
            raise ValueError(f"size must be at least 16 px, got {self.size}")
        for name in ("depth", "texture_gain", "cleared", "edge_gain"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be a range of non-negative values, got {(low, high)}")
        if self.cleared[1] > 1:
            raise ValueError(f"cleared must lie within [0, 1], got {self.cleared}")
        if self.blur_spots < 0:
            raise ValueError(f"blur_spots must not be negative, got {self.blur_spots}")
        if not 0 <= self.stain_spread < 1:
            raise ValueError(f"stain_spread must lie in [0, 1), got {self.stain_spread}")


@dataclass(frozen=True)
class PatchDraw:
    """All that was drawn for a patch; painting it twice gives the same patch.

    Attributes:
        mask: the nuclei.
        background, texture, clearing, reference: where each is taken from.
        colours: float32, shape (N + 1, 3), optical density of each nucleus.
        hue: float32, shape (3,), deviation of the optical density by which hue varies inside nuclei.
        contrast, threshold, strength: float32, shape (N + 1,), of each nucleus' texture and chromatin clearing.
        edge_sigma: blur of the boundaries, in pixels.
        spots: where they are blurred a second time.
        distractors: unlabelled debris and shadows.
        stains: factors on haematoxylin, eosin and the residual.
    """

    mask: NucleusMask
    background: Crop
    texture: Crop
    clearing: Crop
    reference: Crop
    colours: np.ndarray
    hue: np.ndarray
    contrast: np.ndarray
    threshold: np.ndarray
    strength: np.ndarray
    edge_sigma: float
    spots: tuple[BlurSpot, ...]
    distractors: Distractors
    stains: tuple[float, float, float]

    def parameters(self) -> dict[str, Any]:
        """What was drawn, in numbers, strings and lists, for a manifest."""
        return {
            "nuclei": len(self.mask.category),
            "nuclei_drawn": self.mask.expected,
            "category": self.mask.category.tolist(),
            "corners": self.mask.corners.round(5).tolist(),
            "background": vars(self.background),
            "texture": vars(self.texture),
            "clearing": vars(self.clearing),
            "reference": vars(self.reference),
            "edge_sigma": round(self.edge_sigma, 5),
            "blur_spots": len(self.spots),
            "distractors": len(self.distractors.outlines),
            "stains": [round(factor, 5) for factor in self.stains],
        }


@dataclass(frozen=True)
class SyntheticPatch:
    """A painted patch.

    Attributes:
        image: uint8, shape (P, P, 3).
        label: uint16, shape (P, P), instance ids: 0 background, 1 to N.
        reference: uint8, shape (P, P, 3), a real patch of the same type.
        category: int64, shape (N,), class of each nucleus, 0 for none.
    """

    image: np.ndarray
    label: np.ndarray
    reference: np.ndarray
    category: np.ndarray


def _density_crop(tile: TileAnalysis, crop: Crop) -> np.ndarray:
    cell = (tile.image.shape[0] / tile.density_map.shape[0], tile.image.shape[1] / tile.density_map.shape[1])
    return take_crop(tile.density_map, crop, cell)


def _draw_donors(
    colours: NuclearColours, category: np.ndarray, settings: MaskSettings, rng: np.random.RandomState
) -> np.ndarray:
    """Which real nucleus lends its appearance to each drawn one: any, or one as dark as the class asks for."""
    low, high = np.zeros(len(category)), np.ones(len(category))
    for number, rule in enumerate(settings.classes, 1):
        low[category == number], high[category == number] = rule.darkness
    quantile = low + (high - low) * rng.uniform(size=len(category))
    # Colours are sorted from pale to dark, so a quantile is a position.
    return np.minimum((quantile * len(colours.contrast)).astype(int), len(colours.contrast) - 1)


def draw_patch(
    source: TileAnalysis,
    texture: TileAnalysis,
    reference: TileAnalysis,
    settings: SynthesisSettings,
    rng: np.random.RandomState,
) -> PatchDraw:
    """Draw what a patch is made of.

    Args:
        source: the tile that lends background, colours and priors.
        texture: another tile, whose eosin channel lends the nuclear texture.
        reference: a tile of the same type, which lends the real patch beside.
        settings: how patches are synthesised.
        rng: source of randomness.
    """
    size = settings.size
    background = draw_crop(source.image.shape, size, rng)
    direction = fibre_direction(np.ascontiguousarray(take_crop(source.background, background)), source.mpp)
    mask = draw_mask(
        (size, size), settings.prior or source.prior, settings.mask, rng, _density_crop(source, background), direction
    )
    donor_tile = next((c for c in (source.colours, texture.colours) if len(c.contrast)), _PLAIN)
    donors = _draw_donors(donor_tile, mask.category, settings.mask, rng)
    count = len(donors)

    def with_outside(values: np.ndarray, outside: float | np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(outside, np.float32)[None], values.astype(np.float32)])

    contrast = np.minimum(donor_tile.contrast[donors], _GRAIN) * rng.uniform(*settings.texture_gain, size=count)
    cleared = rng.uniform(*settings.cleared, size=count)
    # What contrast grain does not explain is clear chromatin: a share q cleared by s has the deviation s sqrt(q - q²).
    beyond = np.sqrt(np.maximum(donor_tile.contrast[donors] ** 2 - contrast**2, 0))
    strength = np.clip(beyond / np.sqrt(np.maximum(cleared * (1 - cleared), 0.04)), 0, 0.9)
    # Clearing takes density away: the rest is denser by as much, so that the nucleus keeps its mean colour.
    colours = (
        donor_tile.od[donors] * (rng.uniform(*settings.depth, size=count) / (1 - 0.6 * cleared * strength))[:, None]
    )
    spots = draw_spots((size, size), settings.blur_spots, source.mpp, rng)
    stains = rng.uniform(1 - settings.stain_spread, 1 + settings.stain_spread, size=3)
    return PatchDraw(
        mask=mask,
        background=background,
        texture=draw_crop(texture.image.shape, size, rng),
        clearing=draw_crop(texture.image.shape, size, rng),
        reference=draw_crop(reference.image.shape, size, rng),
        hue=donor_tile.hue,
        colours=with_outside(colours, np.median(donor_tile.od, axis=0)),
        contrast=with_outside(contrast, 0.1),
        threshold=with_outside(ndtri(cleared), -np.inf),
        strength=with_outside(strength, 0.0),
        edge_sigma=source.edge_sigma * rng.uniform(*settings.edge_gain),
        spots=spots,
        distractors=draw_distractors((size, size), settings.distractors, rng),
        stains=tuple(stains.tolist()),
    )


def _take_texture(tile: TileAnalysis, crop: Crop, sigma: float) -> np.ndarray:
    """Texture of a tile, blurred, at unit standard deviation."""
    texture = np.ascontiguousarray(take_crop(tile.texture, crop)).astype(np.float32)
    if sigma > 0.3:
        texture = cv2.GaussianBlur(texture, (0, 0), sigma)
    return texture / max(float(texture.std()), 1e-6)


def paint_patch(
    source: TileAnalysis, texture: TileAnalysis, reference: TileAnalysis, draw: PatchDraw
) -> SyntheticPatch:
    """Paint a patch: I = A M + B (1 - M), with the cleared and blurred mask M.

    Args:
        source, texture, reference: the tiles that :func:`draw_patch` was given.
        draw: what it drew.
    """
    label = draw.mask.label
    # Grain as sharp as the source tile; clumps of chromatin are coarser, about 1 µm.
    grain = _take_texture(texture, draw.texture, np.sqrt(max(source.edge_sigma**2 - texture.edge_sigma**2, 0)))
    clumps = _take_texture(texture, draw.clearing, max(0.4 / source.mpp, source.edge_sigma))
    chromatin = clear_chromatin(label, clumps, draw.threshold, draw.strength, rim_profile(label, 0.75 / source.mpp))
    # Cleared chromatin is no sharper than the tile; nuclei of a blurred tile would else hold glints.
    chromatin = cv2.GaussianBlur(chromatin, (0, 0), 0.5 * draw.edge_sigma)
    # The grain upside down is as good as another grain, and costs nothing.
    od = (
        nuclear_od(label, draw.colours, draw.contrast, grain) * chromatin[..., None]
        + grain[::-1, ::-1, None] * draw.hue
    )
    foreground = 255 * cv2.exp(-od)
    mask = blur_boundary((label > 0).astype(np.float32), draw.edge_sigma, draw.spots)
    mask = paint_distractors(mask, draw.distractors)
    background = np.ascontiguousarray(take_crop(source.background, draw.background)).astype(np.float32)
    # Nuclei lie in cytoplasm: the background takes its shade around them.
    around = cv2.GaussianBlur(np.minimum(label, 1).astype(np.float32), (0, 0), 2.0 / source.mpp)
    background *= 1 - around[..., None] * (1.7 * (1 - np.exp(-source.shade)))
    mixed = mix(foreground, background, mask)
    image = scale_stains(cv2.convertScaleAbs(mixed), draw.stains)
    # Where nothing was painted and no stain changed, the background is kept to the bit.
    return SyntheticPatch(
        image=image,
        label=label,
        reference=np.ascontiguousarray(take_crop(reference.image, draw.reference)),
        category=draw.mask.category,
    )
