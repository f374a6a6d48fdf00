"""How good a segmentation of nuclei is."""

from .ignite import MeanInstanceScore
from .instances import InstanceScores, score_instances

__all__ = ["InstanceScores", "MeanInstanceScore", "score_instances"]
