"""Instances right from a network's logits."""

from __future__ import annotations

import torch

from ..networks import DETECTION, SEGMENTATION
from .instances import InstanceSettings, label_nuclei

__all__ = ["label_logits"]


def label_logits(logits: torch.Tensor, settings: InstanceSettings) -> torch.Tensor:
    """Nuclei from the task network's output for one image, for a chain of MONAI transforms.

    Args:
        logits: float, shape (2, H, W) or more channels: detection and segmentation.
        settings: thresholds and scale.

    Returns:
        int32, shape (1, H, W), on the CPU.
    """
    maps = torch.as_tensor(logits).detach().float().sigmoid().cpu().numpy()
    return torch.from_numpy(label_nuclei(maps[DETECTION], maps[SEGMENTATION], settings)[None])
