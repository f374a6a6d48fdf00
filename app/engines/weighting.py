"""Importance weights during a training: calibrated on held-out pairs, applied to every batch (paper, section 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ..losses import (
    calibrate_temperature,
    clipped_share,
    effective_sample_size,
    importance_weights,
    log_mean_weight,
)

__all__ = ["Calibration", "ImportanceWeighting"]

# Logits that part few held-out patches perfectly would be blown up without the lower bound.
_COOLEST, _HOTTEST = 0.25, 20.0
# Factor by which the temperature is raised until the weights are even enough.
_TEMPERING = 1.1


@dataclass(frozen=True)
class Calibration:
    """What held-out pairs say about the discriminator and its weights.

    Attributes:
        temperature: by which logits are divided; above 1 the discriminator was too sure of itself, or the weights had
            to be tempered.
        log_mean: logarithm of the mean weight of synthetic patches, before it is normalised away.
        effective_sample_size: share of the synthetic patches that the clipped weights count for, in (0, 1].
        clipped: share of the weights that were clipped.
        untempered_sample_size: effective sample size of the calibrated weights, before they were tempered.
    """

    temperature: float
    log_mean: float
    effective_sample_size: float
    clipped: float
    untempered_sample_size: float


class ImportanceWeighting:
    """w = c D / (1 - D) (Eq. 5) with calibrated logits, a mean of about 1 over synthetic patches, and bounds.

    A batch is too small to normalise by itself, so temperature and mean come from held-out patches. Until the first
    calibration all weights are 1.

    Where the discriminator tells nearly all synthetic patches, p and g hardly overlap, and nearly all weight would rest
    on a few patches, on which the task network cannot be trained. The weights are then tempered, w^a with a < 1
    (Neal 2001): they keep their order, and a bias is taken for a variance that training can bear.

    Args:
        clip: least and largest weight.
        least_sample_size: effective sample size, as a share, at which weights are tempered; 0 never tempers them.

    Attributes:
        calibration: the last one; None before the first.
    """

    def __init__(self, clip: tuple[float, float] = (0.1, 4.0), least_sample_size: float = 0.4) -> None:
        if not 0 <= clip[0] < 1 < clip[1] < math.inf:
            raise ValueError(f"clip must be two bounds around 1, got {tuple(clip)}")
        if not 0 <= least_sample_size < 1:
            raise ValueError(f"least_sample_size must lie in [0, 1), got {least_sample_size}")
        self.clip, self.least_sample_size = (float(clip[0]), float(clip[1])), float(least_sample_size)
        self.calibration: Calibration | None = None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Weights of synthetic patches.

        Args:
            logits: shape (B,), of the discriminator.

        Returns:
            float32, shape (B,), without gradient.
        """
        if self.calibration is None:
            return torch.ones_like(logits, dtype=torch.float32)
        return self._weights(logits.detach(), self.calibration.temperature, self.calibration.log_mean)

    def calibrate(self, real: torch.Tensor, synthetic: torch.Tensor) -> Calibration:
        """Fit temperature and mean to held-out pairs.

        Args:
            real: shape (N,), logits of real pairs.
            synthetic: shape (M,), logits of synthetic pairs.
        """
        temperature = calibrate_temperature(real, synthetic, bounds=(_COOLEST, _HOTTEST))
        untempered = size = self._sample_size(synthetic, temperature)
        while size < self.least_sample_size:
            temperature *= _TEMPERING
            size = self._sample_size(synthetic, temperature)
        log_mean = log_mean_weight(synthetic, temperature=temperature)
        free = importance_weights(synthetic, temperature=temperature, log_mean=log_mean)
        self.calibration = Calibration(temperature, log_mean, size, clipped_share(free, self.clip), untempered)
        return self.calibration

    def _sample_size(self, logits: torch.Tensor, temperature: float) -> float:
        log_mean = log_mean_weight(logits, temperature=temperature)
        return effective_sample_size(self._weights(logits, temperature, log_mean))

    def _weights(self, logits: torch.Tensor, temperature: float, log_mean: float) -> torch.Tensor:
        return importance_weights(logits, temperature=temperature, clip=self.clip, log_mean=log_mean)

    def state_dict(self) -> dict[str, Any]:
        """The calibration, as plain numbers."""
        return {} if self.calibration is None else vars(self.calibration).copy()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.calibration = Calibration(**state) if state else None
