"""Networks: refiners, the discriminator, and the paper's segmentation network.

Images are float tensors of shape (B, 3, H, W) with values in [-1, 1]; H and W are multiples of 16. In inference no
network's result for an image depends on the others in its batch.
"""

from .discriminator import Discriminator
from .pixels import from_uint8, prepare_images, to_uint8
from .refiner import Refiner, ResidualRefiner
from .segmentation import DETECTION, SEGMENTATION, SegmentationCNN
from .weights import build_network, build_part, load_weights, read_tensors

__all__ = [
    "DETECTION",
    "SEGMENTATION",
    "Discriminator",
    "Refiner",
    "ResidualRefiner",
    "SegmentationCNN",
    "build_network",
    "build_part",
    "from_uint8",
    "load_weights",
    "prepare_images",
    "read_tensors",
    "to_uint8",
]
