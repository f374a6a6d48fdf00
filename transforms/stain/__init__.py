"""Stains: optical density, colour deconvolution, nuclear material, variation of staining, and its normalisation."""

import lazy_loader

# Names are listed in __init__.pyi, and their modules imported when one is asked for (SPEC 1): processes that outline
# nuclei start without PyTorch and MONAI.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
