"""The command line. A command parses, calls one function, and prints; all it does can be done from Python.

Imports of a command's own code stay inside the command: ``nucleosynth --help`` must not wait for torch.
"""

from .application import app, main

# In the order in which help lists them.
from . import tiles, synthesize, train, segment, evaluate, register, experiment, demo  # isort: skip

__all__ = ["app", "demo", "evaluate", "experiment", "main", "register", "segment", "synthesize", "tiles", "train"]
