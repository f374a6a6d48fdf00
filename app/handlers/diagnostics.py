"""Diagnostics of a training: calibrated weights, their spread, pictures, and a word when something went wrong."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Protocol

from ignite.engine import Engine, Events, EventsList

from ..atomic import write_atomically
from .events import TrainingEvents
from .held_out import Assessment, HeldOutPatches, assess
from .pictures import weight_grid, weight_histogram

__all__ = ["Diagnostics"]

# Discriminator's AUROC from which it has won: nothing that the refiner does goes unnoticed.
_WON = 0.995


class PictureRun(Protocol):
    """What is needed of a tracked run."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file."""


class Diagnostics:
    """Look at held-out patches every so many iterations, and calibrate the importance weights on them.

    Calibration is part of the training: attach this before :class:`~nucleosynth.engines.TrainingCheckpoint`, and leave
    it out only where there are no weights. It takes place before each phase and every so many iterations.

    Writes into ``folder``, each time anew: ``NNNNNN_grid.png`` (initial, refined and reference patches with their
    weights, the heaviest first, as in the paper's Fig. 7), ``NNNNNN_weights.png`` (histogram), and
    ``NNNNNN.json`` with the numbers, which also go to ``engine.state.scalars`` as ``held_out/...``:

    - ``auroc``, ``initial_auroc``: of the discriminator, real against refined and against initial patches;
    - ``temperature``, ``effective_sample_size``, ``clipped``, ``untempered_sample_size``:
      see :class:`~nucleosynth.engines.Calibration`;
    - ``agreement_before``, ``agreement_after``: Dice coefficient of the synthetic mask and the patch's own Otsu mask.

    Args:
        patches: the held-out patches.
        folder: for pictures and numbers; None writes nothing.
        every: iterations between two looks.
        mpp: scale of the patches, µm per pixel.
        least_sample_size: effective sample size, as a share, under which the weights count as collapsed.
        run: where the pictures are kept as well; None keeps them in ``folder`` alone.

    Attributes:
        warnings: what was reported, in sentences.
    """

    def __init__(
        self,
        patches: HeldOutPatches,
        folder: Path | str | None,
        every: int = 250,
        mpp: float = 0.25,
        least_sample_size: float = 0.1,
        run: PictureRun | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.patches, self.folder, self.every, self.mpp = patches, None if folder is None else Path(folder), every, mpp
        self.least_sample_size, self.run = least_sample_size, run
        self.warnings: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Look before each phase, every so many iterations, and at the end."""
        moments = EventsList() | Events.ITERATION_COMPLETED(event_filter=self._due)
        engine.add_event_handler(moments, self.look)
        engine.add_event_handler(TrainingEvents.PHASE_STARTED, self.calibrate)

    def _due(self, engine: Any, iteration: int) -> bool:
        return iteration % self.every == 0 or iteration == engine.state.epoch_length

    def calibrate(self, engine: Any) -> Assessment:
        """Fit temperature and mean of the weights to the held-out patches, and warn of a discriminator that won."""
        found = assess(engine, self.patches, self.mpp)
        if engine.weighting is not None:
            engine.weighting.calibrate(found.real_logits, found.synthetic_logits)
        return found

    def look(self, engine: Any) -> None:
        """Calibrate, write numbers and pictures."""
        found = self.calibrate(engine)
        numbers = self._numbers(engine, found)
        engine.state.scalars = {**engine.state.scalars, **{f"held_out/{key}": value for key, value in numbers.items()}}
        self._warn(engine.state.iteration, numbers)
        # Every process calibrates, on the same patches with the same networks; one writes.
        if self.folder is None or engine.state.rank != 0:
            return
        stem = self.folder / f"{engine.state.iteration:06d}"
        weights = None if engine.weighting is None else engine.weighting(found.synthetic_logits).numpy()
        pictures = {f"{stem}_grid.png": weight_grid(self.patches.examples, found.refined, weights)}
        if weights is not None:
            pictures[f"{stem}_weights.png"] = weight_histogram(weights, found)
        for name, picture in pictures.items():
            write_atomically(Path(name), picture)
            if self.run is not None:
                self.run.log_artifact(Path(name), "diagnostics")
        line = {"iteration": engine.state.iteration, **numbers, "warnings": self.warnings}
        write_atomically(Path(f"{stem}.json"), (json.dumps(line, indent=2) + "\n").encode())

    def _numbers(self, engine: Any, found: Assessment) -> dict[str, float]:
        numbers = {
            "auroc": found.auroc,
            "initial_auroc": found.initial_auroc,
            "agreement_before": found.agreement[0],
            "agreement_after": found.agreement[1],
        }
        if engine.weighting is not None and engine.weighting.calibration is not None:
            calibration = engine.weighting.calibration
            numbers |= {
                "temperature": calibration.temperature,
                "effective_sample_size": calibration.effective_sample_size,
                "clipped": calibration.clipped,
                "untempered_sample_size": calibration.untempered_sample_size,
            }
        return numbers

    def _warn(self, iteration: int, numbers: dict[str, float]) -> None:
        size = numbers.get("untempered_sample_size", 1.0)
        if size < self.least_sample_size:
            self._report(
                f"iteration {iteration}: the weights collapsed, their effective sample size would be {size:.1%} of "
                f"the patches (AUROC of the discriminator {numbers['auroc']:.3f}), and were tempered to "
                f"{numbers['effective_sample_size']:.0%}; give the refiner more steps"
            )
        elif numbers["auroc"] > _WON:
            self._report(
                f"iteration {iteration}: the discriminator tells every refined patch from real ones (AUROC "
                f"{numbers['auroc']:.3f}); its weights rank patches, but say little about p/g"
            )

    def _report(self, sentence: str) -> None:
        self.warnings.append(sentence)
        logging.getLogger(__name__).warning(sentence)
