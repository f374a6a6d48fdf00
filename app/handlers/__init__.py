"""Handlers of engines: what a training does besides training."""

from .diagnostics import Diagnostics
from .events import TrainingEvents
from .held_out import Assessment, HeldOutPatches, assess, otsu_agreement
from .mlflow import MetricsRun, MLflowLogger
from .progress import TrainingProgress

__all__ = [
    "Assessment",
    "Diagnostics",
    "HeldOutPatches",
    "MLflowLogger",
    "MetricsRun",
    "TrainingEvents",
    "TrainingProgress",
    "assess",
    "otsu_agreement",
]
