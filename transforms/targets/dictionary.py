"""Dictionary version of the targets of the task network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform

from .array import NucleusTargets

__all__ = ["NucleusTargetsd"]


class NucleusTargetsd(MapTransform):
    """Dictionary version of :class:`NucleusTargets`, which replaces the labels.

    Args:
        keys: keys of the instance labels.
        core: as there.
        allow_missing_keys: do not raise when a key is missing.
    """

    backend = NucleusTargets.backend

    def __init__(self, keys: KeysCollection, core: float = 0.5, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = NucleusTargets(core)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result
