"""Refined patches of earlier iterations, so that the discriminator does not forget (Shrivastava et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import torch

__all__ = ["HistoryBuffer"]


class HistoryBuffer:
    """A bounded store of examples, 8 bits a value; when it is full, new ones replace old ones at random.

    Args:
        capacity: largest number of examples; 0 keeps none. One of 256 x 256 px with image, reference and two target
            maps takes half a MiB.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"capacity must not be negative, got {capacity}")
        self.capacity = capacity
        self._kept: dict[str, torch.Tensor] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, examples: Mapping[str, torch.Tensor], generator: torch.Generator) -> None:
        """Keep examples.

        Args:
            examples: uint8 tensors of shape (B, ...), the same keys each time.
            generator: source of randomness, on the CPU.
        """
        count = min(len(next(iter(examples.values()))), self.capacity)
        if not count:
            return
        if any(tensor.dtype != torch.uint8 for tensor in examples.values()):
            raise ValueError("history keeps 8-bit examples only")
        if not self._kept:
            for key, tensor in examples.items():
                self._kept[key] = torch.zeros((self.capacity, *tensor.shape[1:]), dtype=torch.uint8)
        free = min(self.capacity - self._count, count)
        places = torch.arange(self._count, self._count + free)
        self._count += free
        if free < count:
            places = torch.cat([places, torch.randperm(self._count - free, generator=generator)[: count - free]])
        for key, tensor in examples.items():
            # Fewer places than examples are left only if the buffer is smaller than a batch.
            self._kept[key][places] = tensor[: len(places)].cpu()

    def sample(self, count: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Draw examples, none twice.

        Returns:
            uint8 tensors of shape (count, ...).

        Raises:
            ValueError: there are fewer.
        """
        if count > self._count:
            raise ValueError(f"{count} examples were asked for, there are {self._count}")
        places = torch.randperm(self._count, generator=generator)[:count]
        return {key: tensor[places] for key, tensor in self._kept.items()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """A copy of the examples without the room that is left; its keys are plain strings, as a checkpoint needs."""
        return {str(key): tensor[: self._count].clone() for key, tensor in self._kept.items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over the examples of :meth:`state_dict`.

        Raises:
            ValueError: there are more than fit.
        """
        self._kept, self._count = {}, 0
        for key, tensor in state.items():
            self._count = len(tensor)
            if self._count > self.capacity:
                raise ValueError(f"{self._count} examples do not fit into a history of {self.capacity}")
            self._kept[key] = torch.zeros((self.capacity, *tensor.shape[1:]), dtype=torch.uint8)
            self._kept[key][: self._count] = tensor
