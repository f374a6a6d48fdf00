"""Small trainings: tiny networks on phantom tissue."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nucleosynth.data.keys import PatchKeys as Keys
from nucleosynth.engines import (
    HistoryBuffer,
    ImportanceWeighting,
    Learner,
    Schedule,
    ScheduleSampler,
    StainAugmentation,
    SynthesisTrainer,
)
from nucleosynth.losses import DiscriminatorLoss, RefinerLoss, SegmentationLoss
from nucleosynth.networks import Discriminator, ResidualRefiner

PHASES = [
    {"discriminator": 1, "iterations": 3},
    {"refiner": 2, "discriminator": 1, "iterations": 3},
    {"refiner": 1, "discriminator": 1, "task": 2, "iterations": 4},
    {"task": 1, "iterations": 2},
]


class Noise(Dataset):
    """Examples of coloured noise; the n-th is a function of n."""

    def __init__(self, size=32):
        self.size = size

    def __getitem__(self, number):
        rng = np.random.default_rng(number)

        def image(level):
            return torch.from_numpy(rng.integers(level, level + 60, (3, self.size, self.size), dtype=np.uint8))

        return {
            str(Keys.IMAGE): image(80),
            str(Keys.TARGET): torch.from_numpy(rng.integers(0, 2, (2, self.size, self.size), dtype=np.uint8)),
            str(Keys.REFERENCE): image(120),
            str(Keys.REAL): image(120),
            str(Keys.REAL_REFERENCE): image(120),
            str(Keys.REAL_TYPE): int(rng.integers(2)),
        }


def tiny_learners(hard=0.01, mismatched=0.0, max_norm=None):
    """Learners of tiny networks, the same each time."""
    torch.manual_seed(0)
    refiner = ResidualRefiner(width=4, blocks=1)
    discriminator = Discriminator(widths=(4, 4, 4, 4, 4), batch_norm=True)
    task = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))

    def adam(network):
        return torch.optim.AdamW(network.parameters(), 1e-2)

    task_optimizer = adam(task)
    schedule = torch.optim.lr_scheduler.OneCycleLR(task_optimizer, 1e-2, total_steps=50)
    return {
        "refiner": Learner(refiner, adam(refiner), RefinerLoss(hard=hard), max_norm=max_norm),
        "discriminator": Learner(
            discriminator, adam(discriminator), DiscriminatorLoss(mismatched), max_norm=max_norm, ema_decay=0.9
        ),
        "task": Learner(task, task_optimizer, SegmentationLoss(), schedule, max_norm, ema_decay=0.9),
    }


@pytest.fixture
def make_learners():
    """The function that makes learners of tiny networks by name."""
    return tiny_learners


@pytest.fixture
def noise():
    """Examples of coloured noise."""
    return Noise()


@pytest.fixture
def make_trainer():
    """The function that makes a small trainer; keyword arguments replace the trainer's own."""

    def make(phases=PHASES, batch_size=4, accumulation=1, workers=0, learners=None, dataset=None, **changes):
        sampler = ScheduleSampler(Schedule(phases), batch_size, accumulation)
        loader = DataLoader(dataset or Noise(), batch_sampler=sampler, num_workers=workers)
        settings = {
            "history": HistoryBuffer(6),
            "weighting": ImportanceWeighting(),
            "augment": StainAugmentation(),
            "bfloat16": False,
            **(tiny_learners() if learners is None else learners),
            **changes,
        }
        return SynthesisTrainer("cpu", loader, **settings)

    return make
