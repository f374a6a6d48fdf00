"""Several processes that train one model (``torchrun``); with one process all of this does nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["average_buffers", "average_gradients", "gather_states", "rank", "share_parameters", "world_size"]


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Average gradients over the processes, in one message.

    Done by hand, since ``DistributedDataParallel`` hooks into the backward pass of its own network, and here gradients
    flow through networks that take no step.
    """
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def average_buffers(network: torch.nn.Module) -> None:
    """Average running statistics over the processes, so that all of them judge alike."""
    if world_size() == 1:
        return
    for buffer in network.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= world_size()


def share_parameters(network: torch.nn.Module) -> None:
    """Give all processes the parameters and buffers of the first one."""
    if world_size() > 1:
        for tensor in network.state_dict().values():
            dist.broadcast(tensor, src=0)


def gather_states(state: Any) -> list[Any]:
    """What each process holds, by rank; all of them get the whole list."""
    if world_size() == 1:
        return [state]
    states: list[Any] = [None] * world_size()
    dist.all_gather_object(states, state)
    return states
