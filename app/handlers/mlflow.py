"""Metrics of a training, averaged over some iterations, for its MLflow run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ignite.engine import Engine, Events

__all__ = ["MLflowLogger", "MetricsRun"]


class MetricsRun(Protocol):
    """A run that keeps metrics, such as :class:`nucleosynth.tracking.TrackedRun`."""

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Keep values of a step."""

    def flush(self) -> None:
        """Write what was kept."""

    def fail(self, error: BaseException) -> None:
        """End the run as failed."""


class MLflowLogger:
    """Log the means of ``engine.state.scalars``, and the end of a training that fails.

    Every ``every`` iterations, and at the end, each scalar is averaged over those iterations since the last time that
    had it, and logged at the present iteration. A scalar that was not finite once has no finite mean, as it should be
    seen.

    Attach it after all other handlers: ignite goes on after an exception if a handler takes it, so this one raises it
    again, and handlers attached later would not see it.

    Args:
        run: where the means go.
        every: number of iterations that are averaged.

    Example:
        >>> MLflowLogger(run, every=20).attach(trainer)
    """

    def __init__(self, run: MetricsRun, every: int = 20) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.run, self.every = run, every
        self._sums: dict[str, tuple[float, int]] = {}

    def attach(self, engine: Engine) -> None:
        """Listen to an engine whose iterations leave ``state.scalars``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._complete)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _collect(self, engine: Engine) -> None:
        for name, value in engine.state.scalars.items():  # type: ignore[attr-defined]
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + float(value), count + 1
        if engine.state.iteration % self.every == 0:
            self._log(engine)

    def _log(self, engine: Engine) -> None:
        if self._sums:
            means = {name: total / count for name, (total, count) in self._sums.items()}
            self.run.log_metrics(means, engine.state.iteration)
            self._sums.clear()

    def _complete(self, engine: Engine) -> None:
        self._log(engine)
        self.run.flush()

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._log(engine)
        self.run.fail(error)
        raise error
