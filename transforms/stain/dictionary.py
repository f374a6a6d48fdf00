"""Dictionary versions of the stain transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform

from ..base import RandomizableMapTransform
from .array import ColorDeconvolution, NormalizeStain, RandStainJitter, SegmentNuclearMaterial
from .normalisation import StainStatistics

__all__ = ["ColorDeconvolutiond", "NormalizeStaind", "RandStainJitterd", "SegmentNuclearMateriald"]


class ColorDeconvolutiond(MapTransform):
    """Dictionary version of :class:`ColorDeconvolution`.

    Args:
        keys: keys of the images, each replaced by its concentrations.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = ColorDeconvolution.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = ColorDeconvolution()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


class SegmentNuclearMateriald(MapTransform):
    """Dictionary version of :class:`SegmentNuclearMaterial`; other arguments as there.

    Args:
        keys: keys of the images.
        mask_postfix: the two-channel mask of the image ``key`` is added as ``key_mask_postfix``.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = SegmentNuclearMaterial.backend

    def __init__(
        self,
        keys: KeysCollection,
        mask_postfix: str = "nuclear_material",
        mpp: float = 0.25,
        sub_factor: float = 0.92,
        super_factor: float = 1.08,
        rim_um: float = 0.75,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_postfix = mask_postfix
        self.transform = SegmentNuclearMaterial(mpp, sub_factor, super_factor, rim_um)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[f"{key}_{self.mask_postfix}"] = self.transform(result[key])
        return result


class NormalizeStaind(MapTransform):
    """Dictionary version of :class:`NormalizeStain`; other arguments as there.

    Args:
        keys: keys of the images, all of one slide.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = NormalizeStain.backend

    def __init__(
        self, keys: KeysCollection, source: StainStatistics, target: StainStatistics, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = NormalizeStain(source, target)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


class RandStainJitterd(RandomizableMapTransform):
    """Dictionary version of :class:`RandStainJitter`: all keys get the same change; other arguments as there.

    Args:
        keys: keys of the images.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = RandStainJitter.backend

    def __init__(
        self,
        keys: KeysCollection,
        spread: float = 0.05,
        brightness_spread: float = 0.0,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandStainJitter(spread, brightness_spread, prob), allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        self.randomize()
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], randomize=False)
        return result
