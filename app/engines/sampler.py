"""Which examples belong to which iteration: a function of the schedule, so that a training can go on anywhere."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from .distributed import rank, world_size
from .schedule import Schedule

__all__ = ["ScheduleSampler"]


class ScheduleSampler(Sampler[list[int]]):
    """Batches for a schedule (``batch_sampler`` of a data loader): each holds all examples of an iteration.

    Args:
        schedule: of the training.
        batch_size: examples of one step, in each process.
        accumulation: batches whose gradients a step adds up.

    Attributes:
        start: iteration, counted from 0, to begin with.
    """

    def __init__(self, schedule: Schedule, batch_size: int, accumulation: int = 1) -> None:
        for name, value in (("batch_size", batch_size), ("accumulation", accumulation)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.schedule, self.batch_size, self.accumulation = schedule, batch_size, accumulation
        self.start = 0

    def __iter__(self) -> Iterator[list[int]]:
        each = self.batch_size * self.accumulation
        for iteration in range(self.start, self.schedule.iterations):
            count = len(self.schedule.phase(iteration).steps) * each
            first = self.schedule.steps_before(iteration) * each * world_size() + rank() * count
            yield list(range(first, first + count))

    def __len__(self) -> int:
        return self.schedule.iterations - self.start
