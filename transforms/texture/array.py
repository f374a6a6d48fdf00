"""Texture transforms on arrays; see ``dictionary.py`` for the dictionary versions."""

from __future__ import annotations

import numpy as np
from monai.config import NdarrayOrTensor
from monai.transforms import Randomizable, RandomizableTransform, Transform
from monai.utils.enums import TransformBackends
from scipy.special import ndtri

from ..base import check_mpp
from ..channels import check_same_size, to_channel_first, to_label, to_mask, to_rgb
from ..stain import od_to_rgb, rgb_to_hed, rgb_to_od, segment_nuclear_material
from .background import inpaint_background
from .distractors import Distractors, DistractorSettings, draw_distractors, paint_distractors
from .nuclei import (
    BlurSpot,
    blur_boundary,
    clear_chromatin,
    draw_spots,
    eosin_texture,
    extend_labels,
    mix,
    nuclear_od,
    rim_profile,
)

__all__ = [
    "InpaintBackground",
    "MixNuclei",
    "RandBlurBoundary",
    "RandClearChromatin",
    "RandDistractors",
    "RandNuclearTexture",
]


class InpaintBackground(Transform):
    """Take the nuclei out of an image: super-segmentation, then inpainting with the tissue's own texture.

    Input and output: uint8 RGB, shape (3, H, W).

    Args:
        mpp: µm per pixel.
        seed: of the places that the texture is taken from.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, mpp: float = 0.25, seed: int = 0) -> None:
        check_mpp(mpp)
        self.mpp, self.seed = mpp, seed

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        rgb = to_rgb(img)
        mask = segment_nuclear_material(rgb, self.mpp).super
        return to_channel_first(inpaint_background(rgb, mask, self.mpp, np.random.RandomState(self.seed)))


class RandNuclearTexture(Randomizable, Transform):
    """Paint every nucleus of a mask in a colour of its own, with the eosin texture of a real image.

    The label is of any integer type, shape (1, H, W), the texture image uint8 RGB, shape (3, H, W). The output is uint8
    RGB, shape (3, H, W): nuclear material everywhere, to be mixed with a background by the mask.

    Args:
        colours: optical densities (red, green, blue) that colours are drawn from.
        depth: range of the factor on each nucleus' optical density.
        contrast: range of the relative standard deviation of the texture.
        mpp: µm per pixel.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        colours: tuple[tuple[float, float, float], ...] = ((0.9, 1.1, 0.6),),
        depth: tuple[float, float] = (0.8, 1.1),
        contrast: tuple[float, float] = (0.08, 0.15),
        mpp: float = 0.25,
    ) -> None:
        if not colours:
            raise ValueError("colours must hold at least one colour, got none")
        for name, (low, high) in (("depth", depth), ("contrast", contrast)):
            if not 0 <= low <= high:
                raise ValueError(f"{name} must be a range of non-negative values, got {(low, high)}")
        check_mpp(mpp)
        self.colours, self.depth, self.contrast, self.mpp = np.array(colours, np.float32), depth, contrast, mpp
        self._od, self._contrast = self.colours[:1], np.zeros(1, np.float32)

    def randomize(self, data: int) -> None:
        """Draw the appearance of ``data`` nuclei and of what lies outside of them."""
        chosen = self.colours[self.R.randint(len(self.colours), size=data + 1)]
        self._od = chosen * self.R.uniform(*self.depth, size=(data + 1, 1)).astype(np.float32)
        self._contrast = self.R.uniform(*self.contrast, size=data + 1).astype(np.float32)

    def __call__(self, img: NdarrayOrTensor, label: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        ids, rgb = to_label(label), to_rgb(img)
        check_same_size(image=rgb, label=ids)
        if randomize or ids.max() >= len(self._od):
            self.randomize(int(ids.max()))
        tissue = rgb_to_od(rgb).mean(axis=2) > 0
        texture = eosin_texture(np.ascontiguousarray(rgb_to_hed(rgb)[..., 1]), tissue, self.mpp)
        return to_channel_first(od_to_rgb(nuclear_od(extend_labels(ids, 3), self._od, self._contrast, texture)))


class RandClearChromatin(Randomizable, Transform):
    """Clear parts of the chromatin inside nuclei, leaving their rim (paper, section 4.1).

    Image and texture image are uint8 RGB, shape (3, H, W), the label any integer type, shape (1, H, W). The output is
    the image, paler where chromatin is cleared.

    Args:
        share: range of the share of a nucleus' interior that is cleared.
        strength: range of the share of its optical density that goes there.
        rim_um: width of the rim that stays, in µm.
        mpp: µm per pixel.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        share: tuple[float, float] = (0.1, 0.5),
        strength: tuple[float, float] = (0.0, 0.7),
        rim_um: float = 0.75,
        mpp: float = 0.25,
    ) -> None:
        for name, (low, high) in (("share", share), ("strength", strength)):
            if not 0 <= low <= high <= 1:
                raise ValueError(f"{name} must be a range within [0, 1], got {(low, high)}")
        if rim_um < 0:
            raise ValueError(f"rim_um must not be negative, got {rim_um}")
        check_mpp(mpp)
        self.share, self.strength, self.rim_um, self.mpp = share, strength, rim_um, mpp
        self._threshold, self._strength = np.full(1, -np.inf), np.zeros(1)

    def randomize(self, data: int) -> None:
        """Draw the clearing of ``data`` nuclei; what lies outside is never cleared."""
        self._threshold = np.concatenate([[-np.inf], ndtri(self.R.uniform(*self.share, size=data))])
        self._strength = np.concatenate([[0.0], self.R.uniform(*self.strength, size=data)])

    def __call__(
        self, img: NdarrayOrTensor, label: NdarrayOrTensor, texture: NdarrayOrTensor, randomize: bool = True
    ) -> NdarrayOrTensor:
        rgb, ids, other = to_rgb(img), to_label(label), to_rgb(texture)
        check_same_size(image=rgb, label=ids, texture=other)
        if randomize or ids.max() >= len(self._strength):
            self.randomize(int(ids.max()))
        clumps = eosin_texture(np.ascontiguousarray(rgb_to_hed(other)[..., 1]), np.ones(ids.shape, bool), self.mpp)
        interior = rim_profile(ids, self.rim_um / self.mpp)
        left = clear_chromatin(ids, clumps, self._threshold, self._strength, interior)
        return to_channel_first(od_to_rgb(rgb_to_od(rgb) * left[..., None]))


class RandBlurBoundary(RandomizableTransform):
    """Turn a label image into a mixing mask with blurred boundaries, here and there out of focus.

    Input: any integer type, shape (1, H, W); output: float32, shape (1, H, W), 0 to 1.

    Args:
        sigma_um: range of the standard deviation of the blur, in µm.
        spots: largest number of places that are blurred once more.
        mpp: µm per pixel.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, sigma_um: tuple[float, float] = (0.15, 0.4), spots: int = 2, mpp: float = 0.25) -> None:
        RandomizableTransform.__init__(self, 1.0)
        if not 0 <= sigma_um[0] <= sigma_um[1]:
            raise ValueError(f"sigma_um must be a range of non-negative values, got {sigma_um}")
        if spots < 0:
            raise ValueError(f"spots must not be negative, got {spots}")
        check_mpp(mpp)
        self.sigma_um, self.spots, self.mpp = sigma_um, spots, mpp
        self._sigma, self._spots = 0.0, tuple[BlurSpot, ...]()

    def randomize(self, data: tuple[int, int]) -> None:
        super().randomize(None)
        self._sigma = float(self.R.uniform(*self.sigma_um)) / self.mpp
        self._spots = draw_spots(data, self.spots, self.mpp, self.R)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        ids = to_label(img)
        if randomize:
            self.randomize((ids.shape[0], ids.shape[1]))
        blurred = blur_boundary((ids > 0).astype(np.float32), self._sigma, self._spots)
        # Rounding may lift a full 1 a little.
        return to_channel_first(np.minimum(blurred, 1))


class RandDistractors(RandomizableTransform):
    """Add unlabelled debris and out-of-focus shadows to a mixing mask.

    Input and output: float32, shape (1, H, W), 0 to 1; nothing gets less.

    Args:
        settings: how much debris there is, and how large.
        prob: share of the masks that get any.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, settings: DistractorSettings | None = None, prob: float = 1.0) -> None:
        RandomizableTransform.__init__(self, prob)
        self.settings = settings or DistractorSettings()
        self._distractors = Distractors((), (), ())

    def randomize(self, data: tuple[int, int]) -> None:
        super().randomize(None)
        nothing = Distractors((), (), ())
        self._distractors = draw_distractors(data, self.settings, self.R) if self._do_transform else nothing

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        mask = to_mask(img)
        if randomize:
            self.randomize((mask.shape[0], mask.shape[1]))
        return to_channel_first(paint_distractors(mask, self._distractors))


class MixNuclei(Transform):
    """I = A M + B (1 - M): nuclear texture A over background B by the mask M (paper, section 4.1).

    A and B are uint8 RGB, shape (3, H, W), M float32, shape (1, H, W), 0 to 1; the output is uint8 RGB.
    """

    backend = [TransformBackends.NUMPY]

    def __call__(self, img: NdarrayOrTensor, background: NdarrayOrTensor, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        nuclei, behind, weight = to_rgb(img), to_rgb(background), to_mask(mask)
        check_same_size(image=nuclei, background=behind, mask=weight)
        mixed = mix(nuclei.astype(np.float32), behind.astype(np.float32), weight)
        return to_channel_first(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
