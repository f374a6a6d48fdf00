"""The training engine: three networks, a schedule of phases, checkpoints."""

from .augmentation import StainAugmentation
from .checkpoint import TrainingCheckpoint
from .history import HistoryBuffer
from .keys import Networks, TrainingEvents
from .learner import Learner
from .models import export_bundle, save_models
from .sampler import ScheduleSampler
from .schedule import Phase, Schedule
from .trainer import SynthesisTrainer, TrainingDiverged
from .weighting import Calibration, ImportanceWeighting

__all__ = [
    "Calibration",
    "HistoryBuffer",
    "ImportanceWeighting",
    "Learner",
    "Networks",
    "Phase",
    "Schedule",
    "ScheduleSampler",
    "StainAugmentation",
    "SynthesisTrainer",
    "TrainingCheckpoint",
    "TrainingDiverged",
    "TrainingEvents",
    "export_bundle",
    "save_models",
]
