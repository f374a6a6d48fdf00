"""What the transforms have in common: a check of the scale, and the base of the random dictionary transforms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

__all__ = ["RandomizableMapTransform", "check_mpp"]


def check_mpp(mpp: float) -> None:
    """Refuse a scale in µm per pixel that is none."""
    if not 0 < mpp < math.inf:
        raise ValueError(f"mpp must be positive, got {mpp}")


class RandomizableMapTransform(Randomizable, MapTransform):
    """A dictionary transform that leaves all drawing to the array transform it holds.

    The array transform decides by its own ``prob`` whether it does anything. Each subclass says whether one draw serves
    all keys or each key gets its own.

    Args:
        keys: keys that the transform is applied to.
        transform: the array transform.
        allow_missing_keys: do not raise when a key is missing.
    """

    def __init__(self, keys: KeysCollection, transform: Any, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = transform

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandomizableMapTransform:
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        self.transform.randomize(data)
