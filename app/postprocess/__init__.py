"""From the task network's maps to nuclei: instances, their outlines, and what can be measured of them."""

import lazy_loader

# Names are listed in __init__.pyi, and their modules imported when one is asked for (SPEC 1): processes that outline
# nuclei start without PyTorch and MONAI.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
