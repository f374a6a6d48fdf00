"""Artificial H&E tissue, made without any real pixel: the sample data of the demo and the tests.

It shares no code and no approach with the training synthesis in ``nucleosynth.transforms``: that one paints polygons
with textures of real tissue, this one draws implicit shapes. A model that does well here has not merely met its own
training data again.
"""

from .generate import generate_phantom
from .pyramid import write_phantom
from .settings import Phantom, PhantomSettings

__all__ = ["Phantom", "PhantomSettings", "generate_phantom", "write_phantom"]
