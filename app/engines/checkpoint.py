"""Checkpoints of a training, complete enough that it goes on as if it had never stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events

from ..atomic import replace_atomically
from ..errors import InputError
from ..networks import read_tensors
from .distributed import gather_states, rank
from .trainer import SynthesisTrainer

__all__ = ["TrainingCheckpoint"]


class TrainingCheckpoint:
    """Save a training every so many iterations, and continue it (an Ignite handler).

    ``checkpoint.pt`` is one flat dictionary: ``iteration``, ``identity``, for each network ``refiner_network``,
    ``refiner_optimizer`` and so on with the state dictionaries, ``weighting``, and ``history``, a list with the
    history of each process. Random states are not in it, since all random numbers come from seed and iteration.

    Attach it after handlers that change the training, such as :class:`~nucleosynth.handlers.Diagnostics`.

    Args:
        folder: where ``checkpoint.pt`` goes; replaced each time, in one step, so that there always is a whole one.
        every: iterations between checkpoints.
        identity: of the training, such as a digest of its settings; one with another identity is not continued.
    """

    def __init__(self, folder: Path | str, every: int, identity: str = "") -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.path, self.every, self.identity = Path(folder) / "checkpoint.pt", every, identity

    def attach(self, engine: SynthesisTrainer) -> None:
        """Save after every so many iterations, and after the last one."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(event_filter=self._due), self.save)

    def _due(self, engine: Any, iteration: int) -> bool:
        return iteration % self.every == 0 or iteration == engine.schedule.iterations

    def save(self, trainer: SynthesisTrainer) -> None:
        """Write the checkpoint, from the first process."""
        history = trainer.history
        state: dict[str, Any] = {"iteration": trainer.state.iteration, "identity": self.identity}
        for name, learner in trainer.learners.items():
            state |= {f"{name}_{part}": value for part, value in learner.state_dict().items()}
        state["weighting"] = {} if trainer.weighting is None else trainer.weighting.state_dict()
        state["history"] = gather_states({} if history is None else history.state_dict())
        if rank() == 0:
            with replace_atomically(self.path) as partial, partial.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())

    def saved_iteration(self) -> int:
        """Number of iterations after which the checkpoint was saved, without reading the rest; 0 without one.

        Raises:
            InputError: the checkpoint is damaged.
        """
        return int(read_tensors(self.path).get("iteration", 0)) if self.path.exists() else 0

    def restore(self, trainer: SynthesisTrainer) -> int:
        """Continue from the checkpoint, if there is one.

        Returns:
            Number of iterations that are done.

        Raises:
            InputError: the checkpoint is damaged, or of another training.
        """
        if not self.path.exists():
            return 0
        state = read_tensors(self.path)
        if state.get("identity") != self.identity:
            raise InputError(f"{self.path}: of a training with other settings; give another output, or delete it")
        try:
            for name, learner in trainer.learners.items():
                own = {key.removeprefix(f"{name}_"): state[key] for key in state if key.startswith(f"{name}_")}
                learner.load_state_dict(own)
            if trainer.weighting is not None:
                trainer.weighting.load_state_dict(state["weighting"])
            if trainer.history is not None:
                trainer.history.load_state_dict(state["history"][rank()])
            trainer.state.iteration = int(state["iteration"])
        except (KeyError, IndexError, RuntimeError, ValueError) as error:
            raise InputError(f"{self.path}: of a training with other networks or processes ({error})") from error
        return trainer.state.iteration
