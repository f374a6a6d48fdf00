"""The scores as an Ignite metric, for evaluators of MONAI and Ignite."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce

from .instances import InstanceScores, score_instances

__all__ = ["MeanInstanceScore"]


class MeanInstanceScore(Metric):
    """Mean over images of one of the scores of :class:`InstanceScores`.

    Args:
        score: its name, such as ``"aji"``.
        output_transform: takes the engine's output to a pair of sequences of label images, prediction and truth, each
            of integers, shape (1, H, W) or (H, W).
        device: where the sum is kept.

    Example:
        >>> MeanInstanceScore("pq", output_transform=monai.handlers.from_engine(["pred", "label"]))
    """

    def __init__(
        self,
        score: str,
        output_transform: Callable[[Any], Any] = lambda output: output,
        device: torch.device | str = "cpu",
    ) -> None:
        names = [field.name for field in dataclasses.fields(InstanceScores)]
        if score not in names:
            raise ValueError(f"score must be one of {', '.join(names)}, got {score!r}")
        self.score = score
        super().__init__(output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        self._sum = torch.zeros((), dtype=torch.float64, device=self._device)
        self._count = torch.zeros((), dtype=torch.int64, device=self._device)

    @reinit__is_reduced
    def update(self, output: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]) -> None:
        for prediction, truth in zip(*output, strict=True):
            labels = (torch.as_tensor(each).cpu().numpy().astype("int64") for each in (truth, prediction))
            true, predicted = (label.reshape(label.shape[-2:]) for label in labels)
            self._sum += getattr(score_instances(true, predicted), self.score)
            self._count += 1

    @sync_all_reduce("_sum", "_count")
    def compute(self) -> float:
        if not self._count:
            raise NotComputableError("no image was scored")
        return float(self._sum / self._count)
