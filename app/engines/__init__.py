"""The training engine: three networks, a schedule of phases, checkpoints."""

from .augmentation import StainAugmentation
from .checkpoint import TrainingCheckpoint
from .history import HistoryBuffer
from .keys import Networks
from .learner import Learner
from .models import export_bundle, save_models
from .sampler import ScheduleSampler
from .schedule import Phase, Schedule
from .teaching import Teacher
from .trainer import SynthesisTrainer, TrainingDiverged
from .training import PRESETS, TrainingReport, TrainingSettings, train_networks
from .weighting import Calibration, ImportanceWeighting

__all__ = [
    "PRESETS",
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
    "Teacher",
    "TrainingCheckpoint",
    "TrainingDiverged",
    "TrainingReport",
    "TrainingSettings",
    "export_bundle",
    "save_models",
    "train_networks",
]
