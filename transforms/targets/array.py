"""Targets of the task network, on arrays; see ``dictionary.py`` for the dictionary version."""

from __future__ import annotations

from monai.config import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import Transform
from monai.utils import convert_to_tensor
from monai.utils.enums import TransformBackends

from ..channels import to_label
from .maps import nucleus_targets

__all__ = ["NucleusTargets"]


class NucleusTargets(Transform):
    """Turn an instance label into the two maps that the task network learns: detection and segmentation.

    The input is of integers, shape (1, H, W), instance ids with 0 as background; the output uint8, shape (2, H, W),
    0 or 1.

    Args:
        core: share of a nucleus' largest distance to its boundary at which its core, the detection map, begins.

    Example:
        >>> NucleusTargets(core=0.5)(label)
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, core: float = 0.5) -> None:
        if not 0 < core <= 1:
            raise ValueError(f"core must lie in (0, 1], got {core}")
        self.core = core

    def __call__(self, img: NdarrayOrTensor) -> NdarrayOrTensor:
        return convert_to_tensor(nucleus_targets(to_label(img), self.core), track_meta=get_track_meta())
