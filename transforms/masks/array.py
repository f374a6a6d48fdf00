"""Mask transforms on arrays; see ``dictionary.py`` for the dictionary versions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from monai.config import NdarrayOrTensor
from monai.transforms import RandomizableTransform
from monai.utils.enums import TransformBackends

from ..channels import to_channel_first, to_channel_last
from .mask import MaskSettings, NucleusMask, draw_mask
from .priors import NucleusClass, NucleusPrior, NucleusShape
from .quadrilateral import draw_corners, quadrilateral_homography, warp_image

__all__ = ["RandNucleusMask", "RandQuadrilateral"]


class RandNucleusMask(RandomizableTransform):
    """Draw a mask of random nuclei with instance ids, as large as the image it is given (paper, section 4.1).

    Outlines are polygons, smooth or angular, of clustered size and direction, distorted together by a random
    quadrilateral, overlapping by a bounded share. The output is int32, shape (1, H, W): 0 background, 1 to N nuclei;
    one mask in fifty is empty. ``category`` holds, after a call, the class of each nucleus (0: none of the
    ``classes``).

    Args:
        prior: density, sizes and elongation.
        shape: how outlines depart from ellipses.
        classes: kinds of nuclei that follow rules of their own.
        jitter: largest movement of the quadrilateral's corners, as a share of the side, in [0, 0.25).
        max_overlap: largest share of a nucleus that may lie under others.
        mpp: µm per pixel.

    Example:
        >>> label = RandNucleusMask(NucleusPrior(density=3000), mpp=0.25)(torch.zeros(3, 256, 256))
        >>> label.shape
        torch.Size([1, 256, 256])
    """

    backend = [TransformBackends.NUMPY]

    def __init__(
        self,
        prior: NucleusPrior | None = None,
        shape: NucleusShape | None = None,
        classes: Sequence[NucleusClass] = (),
        jitter: float = MaskSettings.jitter,
        max_overlap: float = MaskSettings.max_overlap,
        mpp: float = MaskSettings.mpp,
    ) -> None:
        RandomizableTransform.__init__(self, 1.0)
        self.prior = prior or NucleusPrior()
        self.settings = MaskSettings(
            shape=shape or NucleusShape(), classes=tuple(classes), jitter=jitter, max_overlap=max_overlap, mpp=mpp
        )
        self._mask: NucleusMask | None = None

    @property
    def category(self) -> np.ndarray:
        """int64, shape (N,): the class of each nucleus of the last mask; empty before the first."""
        return np.zeros(0, np.int64) if self._mask is None else self._mask.category

    def randomize(self, data: tuple[int, int]) -> None:
        super().randomize(None)
        self._mask = draw_mask(data, self.prior, self.settings, self.R)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        size = (int(img.shape[-2]), int(img.shape[-1]))
        if randomize or self._mask is None or self._mask.label.shape != size:
            self.randomize(size)
        return to_channel_first(self._mask.label.astype(np.int32))  # type: ignore[union-attr]


class RandQuadrilateral(RandomizableTransform):
    """Distort an image or a label image by a random quadrilateral that keeps areas at the centre (section 4.1).

    Input and output: shape (C, H, W); what comes from outside is reflected. With ``nearest`` every output value is an
    input value, as instance ids need; an instance of a few pixels may vanish.

    Args:
        jitter: largest movement of each corner, as a share of the side, in [0, 0.25); 0 changes nothing.
        nearest: take the nearest pixel instead of interpolating; labels need it.
        prob: share of the images that are distorted.

    Example:
        >>> RandQuadrilateral(jitter=0.1, nearest=True)
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, jitter: float = 0.12, nearest: bool = False, prob: float = 1.0) -> None:
        RandomizableTransform.__init__(self, prob)
        if not 0 <= jitter < 0.25:
            raise ValueError(f"jitter must lie in [0, 0.25), got {jitter}")
        self.jitter, self.nearest = jitter, nearest
        self._corners: np.ndarray | None = None

    def randomize(self, data: None = None) -> None:
        super().randomize(None)
        self._corners = draw_corners(self.jitter, self.R) if self._do_transform and self.jitter else None

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        if randomize:
            self.randomize()
        if self._corners is None:
            return img
        image = to_channel_last(img)
        homography = quadrilateral_homography(self._corners, (image.shape[1], image.shape[0]))
        return to_channel_first(warp_image(image, homography, self.nearest))
