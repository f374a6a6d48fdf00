"""The schedule of a training: which network takes how many steps, when (paper's code; DESIGN: phases as data)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from .keys import NETWORKS

__all__ = ["Phase", "Schedule"]


@dataclass(frozen=True)
class Phase:
    """A stretch of the training in which every iteration is alike.

    Attributes:
        iterations: its length.
        refiner, discriminator, task: steps that each network takes in an iteration, in this order.
    """

    iterations: int
    refiner: int = 0
    discriminator: int = 0
    task: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", *NETWORKS):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise ValueError(f"{name} of a phase must be a whole number, not negative, got {getattr(self, name)!r}")
        if not self.steps:
            raise ValueError(f"a phase needs at least one step of a network, got {self}")

    @property
    def steps(self) -> tuple[str, ...]:
        """The networks in the order in which they take their steps."""
        return tuple(name for name in NETWORKS for _ in range(getattr(self, name)))

    @property
    def title(self) -> str:
        """Such as ``2 refiner + 1 discriminator``."""
        return " + ".join(f"{getattr(self, name)} {name}" for name in NETWORKS if getattr(self, name))


class Schedule:
    """Phases one after another.

    Args:
        phases: each a mapping with ``iterations`` and the steps per iteration of ``refiner``, ``discriminator`` and
            ``task``; a step that is left out is not taken, and a phase of 0 iterations is passed over.
        skip: networks that take no step whatever the phases say; phases in which no other does are passed over.

    Raises:
        ValueError: a phase holds something else, or there is no iteration at all.

    Example:
        >>> schedule = Schedule([{"discriminator": 1, "iterations": 9}, {"refiner": 2, "task": 6, "iterations": 5}])
        >>> schedule.iterations, schedule.steps("task")
        (14, 30)
    """

    def __init__(self, phases: Sequence[Mapping[str, int]], skip: Sequence[str] = ()) -> None:
        allowed = {"iterations", *map(str, NETWORKS)}
        if unknown := set(skip) - set(map(str, NETWORKS)):
            raise ValueError(f"skip names networks ({', '.join(NETWORKS)}), but not {', '.join(sorted(unknown))}")
        for phase in phases:
            if unknown := set(phase) - allowed:
                raise ValueError(f"a phase has {', '.join(sorted(allowed))}, but not {', '.join(sorted(unknown))}")
            if "iterations" not in phase:
                raise ValueError(f"a phase needs its number of iterations, got {dict(phase)}")
        asked = tuple(Phase(**phase) for phase in phases if phase["iterations"])
        left = (replace(phase, **dict.fromkeys(skip, 0)) for phase in asked if set(phase.steps) - set(skip))
        self.phases = tuple(left)
        if not self.phases:
            raise ValueError("a schedule needs at least one iteration")
        self._ends = list(accumulate(phase.iterations for phase in self.phases))
        batches = (phase.iterations * len(phase.steps) for phase in self.phases)
        self._batch_ends = list(accumulate(batches))

    @property
    def iterations(self) -> int:
        """Length of the whole training."""
        return self._ends[-1]

    def steps(self, network: str) -> int:
        """Number of steps that a network takes in the whole training."""
        return sum(phase.iterations * getattr(phase, network) for phase in self.phases)

    def first(self, network: str) -> int:
        """Number, from 0, of the iteration in which a network takes its first step; 0 if it takes none."""
        begins = zip((0, *self._ends), self.phases, strict=False)
        return next((begin for begin, phase in begins if getattr(phase, network)), 0)

    def phase_number(self, iteration: int) -> int:
        """Number of the phase that an iteration, counted from 0, belongs to."""
        if not 0 <= iteration < self.iterations:
            raise ValueError(f"iteration must lie in [0, {self.iterations}), got {iteration}")
        return bisect_right(self._ends, iteration)

    def phase(self, iteration: int) -> Phase:
        """The phase that an iteration, counted from 0, belongs to."""
        return self.phases[self.phase_number(iteration)]

    def steps_before(self, iteration: int) -> int:
        """Number of steps of all networks before an iteration, counted from 0."""
        number = self.phase_number(iteration)
        begin, done = (0, 0) if number == 0 else (self._ends[number - 1], self._batch_ends[number - 1])
        return done + (iteration - begin) * len(self.phases[number].steps)
