"""A network with all that its training needs, and one optimiser step of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .distributed import average_buffers, average_gradients

__all__ = ["Learner", "frozen"]


class Learner:
    """One of the networks in training.

    Args:
        network: the network, on its device.
        optimizer: over its parameters.
        loss: callable, what it minimises; :class:`~nucleosynth.engines.SynthesisTrainer` says what it is called with.
        scheduler: of the learning rate, stepped after each step of the optimiser; None leaves the rate as it is.
        max_norm: norm to which gradients are clipped; None does not clip.
        ema_decay: decay of an exponential moving average of the parameters, in (0, 1); None keeps none.

    Attributes:
        ema: the averaged network, in evaluation mode, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Any,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        max_norm: float | None = None,
        ema_decay: float | None = None,
    ) -> None:
        if max_norm is not None and not max_norm > 0:
            raise ValueError(f"max_norm must be positive, got {max_norm}")
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise ValueError(f"ema_decay must lie in (0, 1), got {ema_decay}")
        self.network, self.optimizer, self.loss = network, optimizer, loss
        self.scheduler, self.max_norm = scheduler, max_norm
        self.ema: AveragedModel | None = None
        if ema_decay is not None:
            average = get_ema_multi_avg_fn(ema_decay)
            self.ema = AveragedModel(network, multi_avg_fn=average, use_buffers=True).eval()

    @property
    def trained(self) -> nn.Module:
        """The network to use when training is over: the averaged one, if there is one."""
        return self.network if self.ema is None else self.ema.module

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self) -> float:
        """Take a step along the gradients that were accumulated.

        Returns:
            Norm of the gradients before they are clipped.
        """
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        average_gradients(parameters)
        average_buffers(self.network)
        limit = float("inf") if self.max_norm is None else self.max_norm
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.scheduler is not None:
            self.scheduler.step()
        if self.ema is not None:
            self.ema.update_parameters(self.network)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """States of the network and of all that belongs to it: tensors, numbers and strings only."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer, "scheduler": self.scheduler, "ema": self.ema}
        return {name: part for name, part in parts.items() if part is not None}


@contextmanager
def frozen(*learners: Learner | None) -> Iterator[None]:
    """Let gradients flow through networks, but not into their parameters."""
    networks = [learner.network for learner in learners if learner is not None]
    learning = [each for network in networks for each in network.parameters() if each.requires_grad]
    training = [module for network in networks for module in network.modules() if module.training]
    for network in networks:
        network.requires_grad_(False).eval()
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True
