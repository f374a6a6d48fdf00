"""A progress bar for trainings: on a terminal only, like all others of the program."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .events import TrainingEvents

__all__ = ["TrainingProgress"]


class TrainingProgress:
    """Show how far a training is, in which phase, and the losses (an Ignite handler)."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def attach(self, engine: Engine) -> None:
        """Show the bar from the start to the end of a run, however it ends."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(TrainingEvents.ENDED, self._stop)

    def _start(self, engine: Any) -> None:
        console = Console(stderr=True)
        if not console.is_terminal or engine.state.rank != 0:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[losses]}"), console=console)
        total, done = engine.schedule.iterations, engine.state.iteration
        self._task = self._progress.add_task("Training", total=total, completed=done, losses="")
        self._progress.start()

    def _advance(self, engine: Any) -> None:
        if self._progress is None or self._task is None:
            return
        losses = [f"{key[5:]} {value:.3f}" for key, value in engine.state.scalars.items() if key.startswith("loss/")]
        title = engine.schedule.phase(engine.state.iteration - 1).title
        done = engine.state.iteration
        self._progress.update(self._task, completed=done, description=f"Training {title}", losses=", ".join(losses))

    def _stop(self, engine: Any) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
