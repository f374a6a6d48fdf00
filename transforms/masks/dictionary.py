"""Dictionary versions of the mask transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from monai.config import KeysCollection, NdarrayOrTensor
from monai.utils import ensure_tuple_rep

from ..base import RandomizableMapTransform
from .array import RandNucleusMask, RandQuadrilateral
from .mask import MaskSettings
from .priors import NucleusClass, NucleusPrior, NucleusShape

__all__ = ["RandNucleusMaskd", "RandQuadrilaterald"]


class RandNucleusMaskd(RandomizableMapTransform):
    """Dictionary version of :class:`RandNucleusMask`, drawn anew for each key; other arguments as there.

    Args:
        keys: keys of the images, each of which gets a mask of its size.
        label_postfix: the mask of the image ``key`` is added as ``key_label_postfix``.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = RandNucleusMask.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_postfix: str = "label",
        prior: NucleusPrior | None = None,
        shape: NucleusShape | None = None,
        classes: Sequence[NucleusClass] = (),
        jitter: float = MaskSettings.jitter,
        max_overlap: float = MaskSettings.max_overlap,
        mpp: float = MaskSettings.mpp,
        allow_missing_keys: bool = False,
    ) -> None:
        transform = RandNucleusMask(prior, shape, classes, jitter, max_overlap, mpp)
        super().__init__(keys, transform, allow_missing_keys)
        self.label_postfix = label_postfix

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[f"{key}_{self.label_postfix}"] = self.transform(result[key])
        return result


class RandQuadrilaterald(RandomizableMapTransform):
    """Dictionary version of :class:`RandQuadrilateral`: all keys get the same distortion; other arguments as there.

    Args:
        keys: keys of the images and labels.
        nearest: one value for all keys, or one for each; True for labels.
        allow_missing_keys: do not raise when a key is missing.

    Example:
        >>> RandQuadrilaterald(keys=("image", "label"), nearest=(False, True))
    """

    backend = RandQuadrilateral.backend

    def __init__(
        self,
        keys: KeysCollection,
        jitter: float = 0.12,
        nearest: bool | Sequence[bool] = False,
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandQuadrilateral(jitter, prob=prob), allow_missing_keys)
        self.nearest = ensure_tuple_rep(nearest, len(self.keys))

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        self.randomize()
        for key, nearest in self.key_iterator(result, self.nearest):
            self.transform.nearest = nearest
            result[key] = self.transform(result[key], randomize=False)
        return result
