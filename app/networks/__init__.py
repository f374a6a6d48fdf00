"""Networks: refiners, the discriminator, and the paper's segmentation network.

Images are float tensors of shape (B, 3, H, W) with values in [-1, 1]; H and W are multiples of 16. In inference no
network's result for an image depends on the others in its batch.
"""

import lazy_loader

# Names are listed in __init__.pyi, and their modules imported when one is asked for (SPEC 1): processes that outline
# nuclei start without PyTorch and MONAI.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
