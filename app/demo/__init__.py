"""All of it, small, on sample tissue that the program makes itself (``nucleosynth demo``)."""

from .run import DemoSettings, run_demo

__all__ = ["DemoSettings", "run_demo"]
