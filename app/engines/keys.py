"""Names of the networks, which trainer and configurations share."""

from __future__ import annotations

from monai.utils import StrEnum

__all__ = ["NETWORKS", "Networks"]


class Networks(StrEnum):
    """The three networks, as phases, losses and checkpoints call them."""

    REFINER = "refiner"
    DISCRIMINATOR = "discriminator"
    TASK = "task"


NETWORKS = (Networks.REFINER, Networks.DISCRIMINATOR, Networks.TASK)
"""In the order in which they take their steps."""
