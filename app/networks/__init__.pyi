from .channels import DETECTION, SEGMENTATION
from .discriminator import Discriminator
from .pixels import from_uint8, prepare_images, to_uint8
from .refiner import Refiner, ResidualRefiner
from .segmentation import SegmentationCNN
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
