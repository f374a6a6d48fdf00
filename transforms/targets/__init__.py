"""Training targets of the task network, from instance labels: detection and class-level segmentation."""

from .array import NucleusTargets
from .dictionary import NucleusTargetsd
from .maps import nucleus_targets

__all__ = ["NucleusTargets", "NucleusTargetsd", "nucleus_targets"]
