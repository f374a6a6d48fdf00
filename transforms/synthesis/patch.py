"""The initial synthesis of a patch: drawing what it is made of, then painting it (paper, section 4.1)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
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
    extend_labels,
    fibre_direction,
    lost_noise,
    mix,
    paint_distractors,
    rim_profile,
)
from .analysis import NuclearColours, TileAnalysis
from .crop import Crop, draw_crop, take_crop

__all__ = ["PatchDraw", "SynthesisSettings", "SyntheticPatch", "draw_patch", "paint_patch"]

# Distance to which a nucleus lends its colour beyond its boundary, in pixels, and the least share of it that shows.
_REACH, _VISIBLE = 4, 1 / 512
# Density of nuclei, as a share of the tile's, under which a crop is drawn again, and how often at most.
_LEAST_DENSITY, _REDRAWS = 0.2, 4
# Strength and reach, in µm, of the shade around nuclei; strong enough that nuclei's surroundings get the tile's.
_SHADE_STRENGTH, _SHADE_UM = 2.2, 2.0
# Blur of a nucleus as a multiple of its tile's, a third of the nuclei each: some lie nearer to the focal plane. On
# `unlabelled/`, the blur of boundaries scatters by so much more than that of nuclei that are painted equally blurred.
_FOCUS = (0.65, 1.0, 1.3)
# Contrast inside nuclei is measured coarsely; what is painted of it is finer, and blurred again. With this factor those
# on `unlabelled/` vary inside nearly as real ones do, from 1 to 4 px and beyond.
_CONTRAST_GAIN = 2.0
# Largest share of the chromatin that goes where it is cleared.
_MOST_CLEARED = 0.3
# Of vesicular nuclei: share of the interior that is cleared, and of the chromatin that goes there; and the largest gain
# in area, as a share, of the nuclei of a patch where all of them are.
_VESICLE_CLEARED, _VESICLE_STRENGTH, _VESICLE_GROWTH = (0.5, 0.95), (0.3, 0.85), 1.0
# Width of the rim that clearing spares, and size of the clumps that it leaves, in µm.
_RIM_UM, _CLUMP_UM = 0.75, 0.4
# What is finer than the mean of a square of this side, in px, is noise; a Gaussian would cost five times as much.
_NOISE_PX = 11
# Optical density of haematoxylin-stained nuclei where neither tile has any to take colours from.
_PLAIN = NuclearColours(
    od=np.array([[0.9, 1.1, 0.6]], np.float32),
    contrast=np.array([0.15], np.float32),
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
        cleared: range of the share of a nucleus' interior in which chromatin is cleared.
        vesicular: share of the patches some or all of whose nuclei are vesicular, as cells of many tumours have them:
            larger than the tile's, and pale inside, with chromatin along the rim, whether or not the tile has such. It
            makes patches less like their tile, and a network that learns from them see more of other tissue.
        edge_gain: range of the factor on the blur that the tile's own nuclear boundaries have.
        blur_spots: largest number of places that are blurred a second time.
        stain_spread: largest relative change of each stain's concentration in the whole patch.
    """

    size: int = 400
    prior: NucleusPrior | None = None
    mask: MaskSettings = field(default_factory=MaskSettings)
    distractors: DistractorSettings = field(default_factory=DistractorSettings)
    depth: tuple[float, float] = (0.85, 1.1)
    cleared: tuple[float, float] = (0.1, 0.5)
    vesicular: float = 0.0
    edge_gain: tuple[float, float] = (0.8, 1.2)
    blur_spots: int = 2
    stain_spread: float = 0.03

    def __post_init__(self) -> None:
        if self.size < 16:
            raise ValueError(f"size must be at least 16 px, got {self.size}")
        for name in ("depth", "cleared", "edge_gain"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be a range of non-negative values, got {(low, high)}")
        if self.cleared[1] > 1:
            raise ValueError(f"cleared must lie within [0, 1], got {self.cleared}")
        if not 0 <= self.vesicular <= 1:
            raise ValueError(f"vesicular must lie within [0, 1], got {self.vesicular}")
        if self.blur_spots < 0:
            raise ValueError(f"blur_spots must not be negative, got {self.blur_spots}")
        if not 0 <= self.stain_spread < 1:
            raise ValueError(f"stain_spread must lie in [0, 1), got {self.stain_spread}")
        if self.distractors.mpp != self.mask.mpp:
            raise ValueError(
                f"mask and distractors must be of the same mpp, got {self.mask.mpp} and {self.distractors.mpp}"
            )

    def at_scale(self, mpp: float) -> SynthesisSettings:
        """The same settings for tiles at another scale, in µm per pixel; the patch keeps its size in pixels."""
        return replace(self, mask=replace(self.mask, mpp=mpp), distractors=replace(self.distractors, mpp=mpp))


@dataclass(frozen=True)
class PatchDraw:
    """All that was drawn for a patch; painting it twice gives the same patch.

    Attributes:
        mask: the nuclei.
        background, clearing, reference: where each is taken from.
        colours: float32, shape (N + 1, 3), optical density of each nucleus.
        hue: float32, shape (3,), deviation of the optical density by which hue varies inside nuclei.
        threshold, strength: float32, shape (N + 1,), of each nucleus' chromatin clearing.
        edge_sigma: blur of the boundaries, in pixels.
        focus: uint8, shape (N + 1,), whether a nucleus is sharper than that (0), as blurred (1), or more so (2).
        spots: where they are blurred a second time.
        distractors: unlabelled debris and shadows.
        stains: factors on haematoxylin, eosin and the residual.
    """

    mask: NucleusMask
    background: Crop
    clearing: Crop
    reference: Crop
    colours: np.ndarray
    hue: np.ndarray
    threshold: np.ndarray
    strength: np.ndarray
    edge_sigma: float
    focus: np.ndarray
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
            "background": asdict(self.background),
            "clearing": asdict(self.clearing),
            "reference": asdict(self.reference),
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


def _draw_ground(source: TileAnalysis, size: int, rng: np.random.RandomState) -> Crop:
    """A crop for the background; one that is nearly all glass is drawn again, but not for ever."""
    crop = draw_crop(source.image.shape, size, rng)
    for _ in range(_REDRAWS):
        if _density_crop(source, crop).mean() >= _LEAST_DENSITY:
            break
        crop = draw_crop(source.image.shape, size, rng)
    return crop


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


def _draw_looks(
    colours: NuclearColours,
    donors: np.ndarray,
    vesicular: float,
    settings: SynthesisSettings,
    rng: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours, threshold and strength of a :class:`PatchDraw`, from the nuclei that lend their appearance.

    A share ``vesicular`` of the nuclei is so.
    """
    count, spread = len(donors), colours.contrast[donors]

    def with_outside(values: np.ndarray, outside: float | np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(outside, np.float32)[None], values.astype(np.float32)])

    cleared = rng.uniform(*settings.cleared, size=count)
    # What texture leaves of the contrast is clear chromatin: a share q cleared by s has the deviation s sqrt(q - q²).
    strength = np.clip(_CONTRAST_GAIN * spread / np.sqrt(np.maximum(cleared * (1 - cleared), 0.04)), 0, _MOST_CLEARED)
    # Clearing takes density away: the rest is denser by as much, so that the nucleus keeps its mean colour.
    depth = rng.uniform(*settings.depth, size=count) / (1 - 0.6 * cleared * strength)
    vesicle = rng.uniform(size=count) < vesicular
    # These are paler than the nuclei that lend their colours.
    cleared = np.where(vesicle, rng.uniform(*_VESICLE_CLEARED, size=count), cleared)
    strength = np.where(vesicle, rng.uniform(*_VESICLE_STRENGTH, size=count), strength)
    return (
        with_outside(colours.od[donors] * depth[:, None], np.median(colours.od, axis=0)),
        with_outside(ndtri(cleared), -np.inf),
        with_outside(strength, 0.0),
    )


def draw_patch(
    source: TileAnalysis,
    texture: TileAnalysis,
    reference: np.ndarray,
    settings: SynthesisSettings,
    rng: np.random.RandomState,
) -> PatchDraw:
    """Draw what a patch is made of.

    Args:
        source: the tile that lends background, colours and priors.
        texture: another tile, whose eosin channel says where chromatin is cleared.
        reference: uint8, shape (H, W, 3), a tile of the same type, which lends the real patch beside.
        settings: how patches are synthesised.
        rng: source of randomness.
    """
    size = settings.size
    background = _draw_ground(source, size, rng)
    direction = fibre_direction(take_crop(source.background, background), source.mpp)
    vesicular = rng.uniform() if rng.uniform() < settings.vesicular else 0.0
    prior = settings.prior or source.prior
    prior = replace(prior, area=prior.area * (1 + vesicular * rng.uniform(0, _VESICLE_GROWTH)))
    mask = draw_mask((size, size), prior, settings.mask, rng, _density_crop(source, background), direction)
    donor_tile = next((c for c in (source.colours, texture.colours) if len(c.contrast)), _PLAIN)
    donors = _draw_donors(donor_tile, mask.category, settings.mask, rng)
    colours, threshold, strength = _draw_looks(donor_tile, donors, vesicular, settings, rng)
    spots = draw_spots((size, size), settings.blur_spots, source.mpp, rng)
    stains = rng.uniform(1 - settings.stain_spread, 1 + settings.stain_spread, size=3)
    return PatchDraw(
        mask=mask,
        background=background,
        clearing=draw_crop(texture.image.shape, size, rng),
        reference=draw_crop(reference.shape, size, rng),
        hue=donor_tile.hue,
        colours=colours,
        threshold=threshold,
        strength=strength,
        edge_sigma=source.edge_sigma * rng.uniform(*settings.edge_gain),
        focus=rng.randint(len(_FOCUS), size=len(colours)).astype(np.uint8),
        spots=spots,
        distractors=draw_distractors((size, size), settings.distractors, rng),
        stains=tuple(stains.tolist()),
    )


def _take_texture(tile: TileAnalysis, crop: Crop, sigma: float) -> np.ndarray:
    """Texture of a tile, blurred, at unit standard deviation."""
    texture = take_crop(tile.texture, crop)
    if sigma > 0.3:
        texture = cv2.GaussianBlur(texture, (0, 0), sigma)
    spread = float(cv2.meanStdDev(texture)[1][0, 0])
    return texture / np.float32(max(spread, 1e-6))


def _mixing_mask(draw: PatchDraw) -> np.ndarray:
    """Share of each pixel that is nuclear, float32: nuclei, each blurred as its distance to the focal plane asks."""
    label = draw.mask.label
    plane = np.where(label > 0, draw.focus[label], np.uint8(len(_FOCUS)))
    sharp, *others = (
        blur_boundary((plane == number).astype(np.float32), factor * draw.edge_sigma)
        for number, factor in enumerate(_FOCUS)
    )
    return blur_boundary(sum(others, start=sharp), 0, draw.spots)


def _paint_nuclei(source: TileAnalysis, texture: TileAnalysis, draw: PatchDraw, where: np.ndarray) -> np.ndarray:
    """Colour, 255 for white, shape (K, 3), of nuclear material at K pixels of a patch, given by flat indices."""
    label = draw.mask.label
    # Clumps of chromatin are about 1 µm; what is finer would be the other tile's noise, or sharper than this one.
    clumps = _take_texture(texture, draw.clearing, max(_CLUMP_UM / source.mpp, source.edge_sigma)).ravel()
    interior = rim_profile(label, _RIM_UM / source.mpp).ravel()[where]
    left = clear_chromatin(label.ravel()[where], clumps[where], draw.threshold, draw.strength, interior)
    od = np.take(draw.colours, extend_labels(label, _REACH), axis=0)
    within = od.reshape(-1, 3)
    # Clear is as pale as the lamp lets anything be.
    clear = np.minimum(within[where], source.lamp)
    # Hue varies as coarsely as the clumps; turned by half, they are as good as others.
    within[where] = clear + (within[where] - clear) * left[:, None] + clumps[::-1][where][:, None] * draw.hue
    # The tissue's blur goes over from one nucleus to the next, and over chromatin, as it does over boundaries.
    od = blur_boundary(od, draw.edge_sigma).reshape(-1, 3)[where]
    # Texture comes from where the background does, so that noise and compression have the same orientation.
    return 255 * cv2.exp(-od) + take_crop(source.chromatin, draw.background).reshape(-1, 3)[where]


def _shade(background: np.ndarray, label: np.ndarray, source: TileAnalysis) -> np.ndarray:
    """Background, float32, that takes the tile's shade around nuclei: they lie in cytoplasm."""
    sigma = _SHADE_UM / source.mpp
    # So wide a blur needs no full resolution.
    step = max(int(sigma / 2), 1)
    size = (-(-label.shape[1] // step), -(-label.shape[0] // step))
    near = cv2.resize((label > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    near = cv2.resize(cv2.GaussianBlur(near, (0, 0), sigma / step), label.shape[::-1], interpolation=cv2.INTER_LINEAR)
    # Per channel the factor is 1 - strength * near: an affine map of one channel to three.
    strength = _SHADE_STRENGTH * (1 - np.exp(-source.shade))
    factor = cv2.transform(near, np.stack([-strength, np.ones(3)], axis=1).astype(np.float32))
    return cv2.multiply(background.astype(np.float32), factor)


def _noise(image: np.ndarray) -> np.ndarray:
    """What of an image is fine enough to be noise, float32."""
    return image - cv2.blur(image.astype(np.float32), (_NOISE_PX, _NOISE_PX))


def paint_patch(source: TileAnalysis, texture: TileAnalysis, reference: np.ndarray, draw: PatchDraw) -> SyntheticPatch:
    """Paint a patch: I = A M + B (1 - M), with the cleared and blurred mask M.

    Args:
        source, texture, reference: the tiles that :func:`draw_patch` was given.
        draw: what it drew.
    """
    label = draw.mask.label
    mask = paint_distractors(_mixing_mask(draw), draw.distractors)
    background = _shade(take_crop(source.background, draw.background), label, source)
    # Nuclei cover a fifth of a patch: only where they show is their look worked out, as flat lists of pixels.
    where = np.flatnonzero(mask > _VISIBLE)
    pixels = background.reshape(-1, 3)
    if len(where):
        share = mask.ravel()[where]
        nuclear = _noise(take_crop(source.chromatin, draw.background)).reshape(-1, 3)[where]
        lost = lost_noise(nuclear, _noise(background).reshape(-1, 3)[where], share)
        pixels[where] = np.maximum(mix(_paint_nuclei(source, texture, draw, where), pixels[where], share) + lost, 0)
    image = scale_stains(cv2.convertScaleAbs(background), draw.stains)
    return SyntheticPatch(
        image=image,
        label=label,
        reference=take_crop(reference, draw.reference),
        category=draw.mask.category,
    )
