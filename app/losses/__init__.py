"""Losses of the refiner, the discriminator and the task network, and importance weights (paper, sections 3 and 4.2).

Images are float tensors of shape (B, 3, H, W) with values in [-1, 1]; logits of the discriminator have shape (B,), one
a patch; logits of the task network and its targets have shape (B, 2, H, W). Every loss is computed in float32, under
autocast too, and as a mean over pixels, so that a setting holds for patches of any size.
"""

from .adversarial import DiscriminatorLoss, RealismLoss
from .calibration import calibrate_temperature
from .elastic_net import ElasticNetLoss
from .importance import clipped_share, effective_sample_size, importance_weights, log_mean_weight
from .refiner import RefinerLoss
from .segmentation import SegmentationLoss, weighted_mean

__all__ = [
    "DiscriminatorLoss",
    "ElasticNetLoss",
    "RealismLoss",
    "RefinerLoss",
    "SegmentationLoss",
    "calibrate_temperature",
    "clipped_share",
    "effective_sample_size",
    "importance_weights",
    "log_mean_weight",
    "weighted_mean",
]
