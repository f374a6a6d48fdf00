"""Trained refiners at work: refined patches with importance weights, from a trained bundle."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import InputError
from ..losses import importance_weights
from ..networks import build_network, from_uint8, load_weights, to_uint8

__all__ = ["CALIBRATION", "Refinement", "load_refinement", "refinement_files"]

CALIBRATION = "calibration.json"
"""File of a bundle's models in which a training leaves what its weights are computed with."""


@dataclass(frozen=True)
class Refinement:
    """A refiner, its discriminator, and how logits become weights.

    Attributes:
        refiner, discriminator: networks of two images, patch and reference.
        temperature: by which logits are divided.
        log_mean: logarithm of the mean weight of synthetic patches.
        clip: least and largest weight.
    """

    refiner: nn.Module
    discriminator: nn.Module
    temperature: float
    log_mean: float
    clip: tuple[float, float]

    def refine(self, image: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, float]:
        """Refine a patch and judge it.

        Args:
            image: uint8, shape (H, W, 3), an initial synthetic patch. Sides that are no multiples of 16 are padded.
            reference: uint8, shape (H, W, 3), a real patch of the same type.

        Returns:
            The refined patch, uint8, of the same shape, and the discriminator's logit for it.
        """
        height, width = image.shape[:2]
        patch, beside = _padded(image), _padded(reference)
        with torch.inference_mode():
            refined = to_uint8(self.refiner(from_uint8(patch), from_uint8(beside)))
            logit = self.discriminator(from_uint8(refined), from_uint8(beside))
        return np.ascontiguousarray(refined[0, :, :height, :width].permute(1, 2, 0).numpy()), float(logit[0])

    def weight(self, logit: float) -> float:
        """Importance weight w = c D / (1 - D) of a synthetic patch (Eq. 5), normalised and clipped."""
        logits = torch.tensor([logit])
        return float(importance_weights(logits, temperature=self.temperature, log_mean=self.log_mean, clip=self.clip))


def load_refinement(bundle: Path) -> Refinement:
    """Load what ``nucleosynth train`` left in its bundle ``nuclei_synthesis``.

    Args:
        bundle: the folder of that bundle, or the output folder that holds it.

    Raises:
        InputError: it is no such bundle, or a file in it is missing or damaged.
    """
    config, refiner_file, discriminator_file, calibration = refinement_files(bundle)
    refiner = load_weights(build_network(config, "network_def"), refiner_file)
    discriminator = load_weights(build_network(config, "discriminator_def"), discriminator_file)
    try:
        values = json.loads(calibration.read_bytes())
        low, high = map(float, values["clip"])
        temperature, log_mean = float(values["temperature"]), float(values["log_mean"])
        if not (0 <= low <= 1 <= high < math.inf and 0 < temperature < math.inf and math.isfinite(log_mean)):
            raise ValueError("out of range")
        return Refinement(refiner, discriminator, temperature, log_mean, (low, high))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{calibration}: missing or damaged; train again") from error


def refinement_files(bundle: Path) -> list[Path]:
    """What :func:`load_refinement` reads: configuration, refiner, discriminator and calibration.

    Raises:
        InputError: ``bundle`` is no folder of a trained bundle.
    """
    inner = bundle / "nuclei_synthesis"
    folder = inner if inner.is_dir() else bundle
    files = [folder / "configs" / "inference.yaml"]
    files += [folder / "models" / name for name in ("model.pt", "discriminator.pt", CALIBRATION)]
    for path in files:
        if not path.exists():
            raise InputError(f"{bundle}: has no {path.name}, so it is no trained bundle; give an output of train")
    return files


def _padded(image: np.ndarray) -> torch.Tensor:
    """A batch of one image, its sides mirrored up to multiples of 16."""
    rows, columns = (-side % 16 for side in image.shape[:2])
    padded = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="symmetric")
    return torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1)))[None]
