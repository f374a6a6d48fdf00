"""Events of the trainer, for handlers to listen to."""

from __future__ import annotations

from ignite.engine import EventEnum

__all__ = ["TrainingEvents"]


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
