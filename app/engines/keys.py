"""Names that trainer, handlers and configurations share."""

from __future__ import annotations

from ignite.engine import EventEnum
from monai.utils import StrEnum

__all__ = ["NETWORKS", "Networks", "TrainingEvents"]


class Networks(StrEnum):
    """The three networks, as phases, losses and checkpoints call them."""

    REFINER = "refiner"
    DISCRIMINATOR = "discriminator"
    TASK = "task"


NETWORKS = (Networks.REFINER, Networks.DISCRIMINATOR, Networks.TASK)
"""In the order in which they take their steps."""


class TrainingEvents(EventEnum):
    """Events of :class:`~nucleosynth.engines.SynthesisTrainer` besides those of Ignite and MONAI.

    ``PHASE_STARTED`` comes before the first iteration of each phase; ``ENDED`` when a run ends, also by an error; the
    others after each step of a network.
    """

    PHASE_STARTED = "phase_started"
    REFINER_COMPLETED = "refiner_completed"
    DISCRIMINATOR_COMPLETED = "discriminator_completed"
    TASK_COMPLETED = "task_completed"
    ENDED = "ended"
