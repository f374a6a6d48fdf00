"""nucleosynth: nuclei segmentation in H&E tissue, learnt from synthetic patches, without a single label."""

from importlib.metadata import version

__version__ = version("nucleosynth")
