"""Batches of training examples, made in other processes and handed over in one piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["PackedBatch", "PackedLoader", "pack", "training_loader"]


@dataclass(frozen=True)
class PackedBatch:
    """A batch as one tensor.

    Attributes:
        content: uint8, one-dimensional, the bytes of all tensors of the batch.
        layout: name, dtype and shape of each, in the order of their bytes.
    """

    content: torch.Tensor
    layout: tuple[tuple[str, torch.dtype, tuple[int, ...]], ...]

    def pin_memory(self) -> PackedBatch:
        """The batch where a GPU can fetch it by itself (called by the data loader)."""
        return replace(self, content=self.content.pin_memory())

    def unpack(self) -> dict[str, torch.Tensor]:
        """The tensors by name; they share the memory of ``content``."""
        batch, start = {}, 0
        for name, dtype, shape in self.layout:
            stop = start + dtype.itemsize * torch.Size(shape).numel()
            batch[name] = self.content[start:stop].view(dtype).view(shape)
            start = stop
        return batch


def pack(examples: Sequence[Mapping[str, Any]]) -> PackedBatch:
    """Stack examples, and pack the stacks (``collate_fn`` of a data loader).

    Args:
        examples: tensors, arrays or numbers by name; the same names, shapes and dtypes in all.
    """
    batch = {name: torch.stack([torch.as_tensor(each[name]) for each in examples]) for name in examples[0]}
    # The largest items first: so each tensor begins at a multiple of its items' size.
    ordered = sorted(batch.items(), key=lambda item: -item[1].dtype.itemsize)
    content = torch.cat([tensor.view(-1).view(torch.uint8) for _, tensor in ordered])
    return PackedBatch(content, tuple((name, tensor.dtype, tuple(tensor.shape)) for name, tensor in ordered))


class PackedLoader(DataLoader):
    """A data loader of dictionaries of tensors, each of which comes from its process in one piece.

    For every tensor that another process hands over, that process has to answer a request of this one, and it is busy
    with the next batch. Six tensors a batch had a discriminator wait for a tenth of its time, though the batch was
    there.

    Args:
        dataset: of examples by number, dictionaries of tensors and numbers.
        **settings: those of the data loader, but for ``collate_fn``.
    """

    def __init__(self, dataset: Dataset, **settings: Any) -> None:
        super().__init__(dataset, collate_fn=pack, **settings)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:  # type: ignore[override]
        return (packed.unpack() for packed in super().__iter__())


def training_loader(
    dataset: Dataset, batch_sampler: Sampler[list[int]], num_workers: int = 0, pin_memory: bool = False
) -> PackedLoader:
    """A data loader whose processes inherit the analysed tiles instead of each getting a copy.

    Where the system can fork, they do, and share the tiles' memory. A process that is forked while OpenCV has threads
    of its own waits for them for ever, so OpenCV is told to use none from now on, in this process and its children;
    tiles and patches are what runs in parallel here.

    Args:
        dataset: of examples by number.
        batch_sampler: which examples belong together.
        num_workers: number of processes; 0 makes examples in this one.
        pin_memory: whether to put batches where a GPU can fetch them by itself.
    """
    cv2.setNumThreads(1)
    return PackedLoader(dataset, batch_sampler=batch_sampler, num_workers=num_workers, pin_memory=pin_memory)
