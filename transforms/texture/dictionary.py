"""Dictionary versions of the texture transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform

from ..base import RandomizableMapTransform
from .array import (
    InpaintBackground,
    MixNuclei,
    RandBlurBoundary,
    RandClearChromatin,
    RandDistractors,
    RandNuclearTexture,
)
from .distractors import DistractorSettings

__all__ = [
    "InpaintBackgroundd",
    "MixNucleid",
    "RandBlurBoundaryd",
    "RandClearChromatind",
    "RandDistractorsd",
    "RandNuclearTextured",
]

Data = Mapping[Hashable, NdarrayOrTensor]


class InpaintBackgroundd(MapTransform):
    """Dictionary version of :class:`InpaintBackground`; ``mpp`` and ``seed`` as there.

    Args:
        keys: keys of the images, each replaced by its background.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = InpaintBackground.backend

    def __init__(
        self, keys: KeysCollection, mpp: float = 0.25, seed: int = 0, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = InpaintBackground(mpp, seed)

    def __call__(self, data: Data) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


class RandNuclearTextured(RandomizableMapTransform):
    """Dictionary version of :class:`RandNuclearTexture`, drawn anew for each key; other arguments as there.

    Args:
        keys: keys of the texture images, each replaced by nuclei painted with its texture.
        label_key: key of the label image.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = RandNuclearTexture.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        colours: tuple[tuple[float, float, float], ...] = ((0.9, 1.1, 0.6),),
        depth: tuple[float, float] = (0.8, 1.1),
        contrast: tuple[float, float] = (0.08, 0.15),
        mpp: float = 0.25,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandNuclearTexture(colours, depth, contrast, mpp), allow_missing_keys)
        self.label_key = label_key

    def __call__(self, data: Data) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], result[self.label_key])
        return result


class RandClearChromatind(RandomizableMapTransform):
    """Dictionary version of :class:`RandClearChromatin`, drawn anew for each key; other arguments as there.

    Args:
        keys: keys of the painted nuclei.
        label_key: key of the label image.
        texture_key: key of the image whose texture decides where chromatin is cleared.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = RandClearChromatin.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        texture_key: str = "texture",
        share: tuple[float, float] = (0.1, 0.5),
        strength: tuple[float, float] = (0.0, 0.7),
        rim_um: float = 0.75,
        mpp: float = 0.25,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandClearChromatin(share, strength, rim_um, mpp), allow_missing_keys)
        self.label_key, self.texture_key = label_key, texture_key

    def __call__(self, data: Data) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], result[self.label_key], result[self.texture_key])
        return result


class RandBlurBoundaryd(RandomizableMapTransform):
    """Dictionary version of :class:`RandBlurBoundary`, drawn anew for each key; other arguments as there.

    Args:
        keys: keys of the label images.
        mask_postfix: the mixing mask of the label ``key`` is added as ``key_mask_postfix``.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = RandBlurBoundary.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_postfix: str = "mask",
        sigma_um: tuple[float, float] = (0.15, 0.4),
        spots: int = 2,
        mpp: float = 0.25,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandBlurBoundary(sigma_um, spots, mpp), allow_missing_keys)
        self.mask_postfix = mask_postfix

    def __call__(self, data: Data) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[f"{key}_{self.mask_postfix}"] = self.transform(result[key])
        return result


class RandDistractorsd(RandomizableMapTransform):
    """Dictionary version of :class:`RandDistractors`: each key gets its own; other arguments as there.

    Args:
        keys: keys of the mixing masks.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = RandDistractors.backend

    def __init__(
        self,
        keys: KeysCollection,
        settings: DistractorSettings | None = None,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandDistractors(settings, prob), allow_missing_keys)

    def __call__(self, data: Data) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


class MixNucleid(MapTransform):
    """Dictionary version of :class:`MixNuclei`.

    Args:
        keys: keys of the painted nuclei, each replaced by its mix with the background.
        background_key: key of the background.
        mask_key: key of the mixing mask.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = MixNuclei.backend

    def __init__(
        self,
        keys: KeysCollection,
        background_key: str = "background",
        mask_key: str = "label_mask",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.background_key, self.mask_key = background_key, mask_key
        self.transform = MixNuclei()

    def __call__(self, data: Data) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], result[self.background_key], result[self.mask_key])
        return result
