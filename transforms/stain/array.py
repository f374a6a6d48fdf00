"""Stain transforms on arrays; see ``dictionary.py`` for the dictionary versions."""

from __future__ import annotations

import numpy as np
from monai.config import NdarrayOrTensor
from monai.transforms import RandomizableTransform, Transform
from monai.utils.enums import TransformBackends

from ..base import check_mpp
from ..channels import to_channel_first, to_rgb
from .deconvolution import rgb_to_hed
from .jitter import scale_stains
from .normalisation import StainStatistics, normalize_stain
from .segmentation import segment_nuclear_material

__all__ = ["ColorDeconvolution", "NormalizeStain", "RandStainJitter", "SegmentNuclearMaterial"]


class ColorDeconvolution(Transform):
    """Separate an H&E image into haematoxylin, eosin and DAB (Ruifrok and Johnston 2001).

    The input is uint8 RGB, shape (3, H, W); the output float32, shape (3, H, W), in natural optical density.

    Example:
        >>> hed = ColorDeconvolution()(torch.full((3, 8, 8), 255, dtype=torch.uint8))
        >>> float(hed.abs().max())
        0.0
    """

    backend = [TransformBackends.NUMPY]

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        return to_channel_first(rgb_to_hed(to_rgb(img)))


class SegmentNuclearMaterial(Transform):
    """Super- and sub-segmentation of nuclei by Otsu's threshold on haematoxylin (paper, section 4.1).

    The input is uint8 RGB, shape (3, H, W); the output uint8, shape (2, H, W), values 0 and 1: channel 0 the
    sub-segmentation, inside nuclei only, channel 1 the super-segmentation, which contains them all.

    Args:
        mpp: µm per pixel.
        sub_factor: share of Otsu's nuclear fraction in the sub-segmentation, in (0, 1].
        super_factor: multiple of it in the super-segmentation, at least 1.
        rim_um: width that is added around the super-segmentation, in µm.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self, mpp: float = 0.25, sub_factor: float = 0.92, super_factor: float = 1.08, rim_um: float = 0.75
    ) -> None:
        check_mpp(mpp)
        self.mpp, self.sub_factor, self.super_factor, self.rim_um = mpp, sub_factor, super_factor, rim_um

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        found = segment_nuclear_material(to_rgb(img), self.mpp, self.sub_factor, self.super_factor, self.rim_um)
        return to_channel_first(np.dstack([found.sub, found.super]).astype(np.uint8))


class NormalizeStain(Transform):
    """Make the stain of an image that of another (Reinhard et al. 2001, Macenko et al. 2009).

    The input and the output are uint8 RGB, shape (3, H, W). The statistics' type is the method. What is learned on
    images that were normalised to a target holds for images that are normalised to the same target.

    Args:
        source: of all tissue of the slide that the images are from, as of :func:`fit_stain`.
        target: what it becomes, such as ``MACENKO_TARGET``.

    Example:
        >>> source = fit_macenko(tissue_pixels)
        >>> NormalizeStain(source, MACENKO_TARGET)
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, source: StainStatistics, target: StainStatistics) -> None:
        if type(source) is not type(target):
            names = type(source).__name__, type(target).__name__
            raise ValueError(f"source and target must be of one method, got {names[0]} and {names[1]}")
        self.source, self.target = source, target

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        return to_channel_first(normalize_stain(to_rgb(img), self.source, self.target))


class RandStainJitter(RandomizableTransform):
    """Stain an image a little differently: scale its haematoxylin, eosin and residual colour, and the light.

    The input and the output are uint8 RGB, shape (3, H, W).

    Args:
        spread: largest relative change of each stain's concentration; 0 changes nothing.
        brightness_spread: largest relative change of the transmitted light.
        prob: share of the images that are changed.

    Example:
        >>> RandStainJitter(spread=0.1, brightness_spread=0.05, prob=0.5)
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, spread: float = 0.05, brightness_spread: float = 0.0, prob: float = 1.0) -> None:
        RandomizableTransform.__init__(self, prob)
        for name, value in (("spread", spread), ("brightness_spread", brightness_spread)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {value}")
        self.spread, self.brightness_spread = spread, brightness_spread
        self._factors, self._brightness = (1.0, 1.0, 1.0), 1.0

    def randomize(self, data: None = None) -> None:
        super().randomize(None)
        self._factors, self._brightness = (1.0, 1.0, 1.0), 1.0
        if self._do_transform:
            haematoxylin, eosin, residual = (float(f) for f in self.R.uniform(1 - self.spread, 1 + self.spread, 3))
            self._factors = (haematoxylin, eosin, residual)
            self._brightness = float(self.R.uniform(1 - self.brightness_spread, 1 + self.brightness_spread))

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        if randomize:
            self.randomize()
        return to_channel_first(scale_stains(to_rgb(img), self._factors, self._brightness))
