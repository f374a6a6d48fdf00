"""How good a segmentation of nuclei is."""

from .ignite import MeanInstanceScore
from .instances import InstanceScores, nuclei_auroc, score_instances

__all__ = ["InstanceScores", "MeanInstanceScore", "nuclei_auroc", "score_instances"]
