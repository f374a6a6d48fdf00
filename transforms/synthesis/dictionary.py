"""Dictionary versions of the initial synthesis."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..base import RandomizableMapTransform
from .array import AnalyzeTile, RandSynthesizeNuclei
from .patch import SynthesisSettings

__all__ = ["AnalyzeTiled", "RandSynthesizeNucleid"]


class AnalyzeTiled(MapTransform):
    """Dictionary version of :class:`AnalyzeTile`; ``mpp`` and ``seed`` as there.

    Args:
        keys: keys of the tiles, each replaced by its analysis.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = AnalyzeTile.backend

    def __init__(
        self, keys: KeysCollection, mpp: float = 0.25, seed: int = 0, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = AnalyzeTile(mpp, seed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


class RandSynthesizeNucleid(RandomizableMapTransform):
    """Dictionary version of :class:`RandSynthesizeNuclei`.

    Adds ``label``, ``reference``, ``category`` and ``parameters``, and replaces the tile by the synthetic ``image``.
    The texture tile stays, and patches differ in their number of nuclei: before batching, put ``SelectItemsd``.

    Args:
        keys: the one key of the source tile, analysed by :class:`AnalyzeTiled`; it becomes the synthetic image.
        texture_key: key of the tile that lends the nuclear texture; the source itself where it is missing.
        reference_key: key of a tile of the same type, uint8 RGB, shape (3, H, W), which is replaced by the reference
            patch; the source itself where it is missing.
        label_key: key of the label image that is added.
        settings: how patches are synthesised.
        allow_missing_keys: do not raise when the source is missing.

    Example:
        >>> Compose([AnalyzeTiled(keys=("image", "texture")), RandSynthesizeNucleid(keys="image")])
    """

    backend = RandSynthesizeNuclei.backend

    def __init__(
        self,
        keys: KeysCollection,
        texture_key: str = "texture",
        reference_key: str = "reference",
        label_key: str = "label",
        settings: SynthesisSettings | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandSynthesizeNuclei(settings), allow_missing_keys)
        if len(self.keys) != 1:
            raise ValueError(f"keys must be the one key of the source tile, got {self.keys}")
        self.texture_key, self.reference_key, self.label_key = texture_key, reference_key, label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            patch = self.transform(result[key], result.get(self.texture_key), result.get(self.reference_key))
            result[key] = patch["image"]
            result[self.label_key], result[self.reference_key] = patch["label"], patch["reference"]
            result["category"], result["parameters"] = patch["category"], patch["parameters"]
        return result
