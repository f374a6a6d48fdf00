"""How a training stands on patches of tiles that no network has trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from monai.metrics import compute_roc_auc
from torch.utils.data import Dataset

from nucleosynth.transforms.stain import segment_nuclear_material

from ..data.keys import PatchKeys as Keys

__all__ = ["Assessment", "HeldOutPatches", "assess", "otsu_agreement"]

_BATCH = 8
# Patches on which label drift is measured; Otsu's threshold of a patch takes a while.
_DRIFT_PATCHES = 32


class Networks(Protocol):
    """What is needed of a trainer."""

    def refine(self, image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Refined patches, uint8."""

    def discriminate(self, image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Logits, shape (B,)."""


class HeldOutPatches:
    """A fixed set of examples, made when it is first asked for.

    Args:
        dataset: of :class:`~nucleosynth.data.patches.SyntheticPatches` over tiles that are held out.
        count: number of synthetic patches, and of real pairs.
    """

    def __init__(self, dataset: Dataset, count: int = 64) -> None:
        if count < 2:
            raise ValueError(f"count must be at least 2, got {count}")
        self.dataset, self.count = dataset, count
        self._examples: dict[str, torch.Tensor] | None = None

    @property
    def examples(self) -> Mapping[str, torch.Tensor]:
        """Tensors of shape (count, ...) by :class:`~nucleosynth.data.keys.PatchKeys`."""
        if self._examples is None:
            made = [self.dataset[number] for number in range(self.count)]
            images = [key for key in made[0] if torch.is_tensor(made[0][key])]
            self._examples = {key: torch.stack([example[key] for example in made]) for key in images}
        return self._examples


@dataclass(frozen=True)
class Assessment:
    """What the networks make of held-out patches.

    Attributes:
        refined: uint8, shape (N, 3, P, P).
        real_logits: float32, shape (N,), of real pairs.
        synthetic_logits: float32, shape (N,), of refined patches.
        initial_logits: float32, shape (N,), of the same patches before refinement.
        agreement: Dice coefficient of the synthetic mask and the patch's own Otsu mask, before and after refinement;
            what it loses is label drift.
    """

    refined: torch.Tensor
    real_logits: torch.Tensor
    synthetic_logits: torch.Tensor
    initial_logits: torch.Tensor
    agreement: tuple[float, float]

    @property
    def auroc(self) -> float:
        """Area under the ROC curve of the discriminator, real against refined; 0.5 is a refiner that wins."""
        return _auroc(self.real_logits, self.synthetic_logits)

    @property
    def initial_auroc(self) -> float:
        """The same, real against initial."""
        return _auroc(self.real_logits, self.initial_logits)


def assess(networks: Networks, patches: HeldOutPatches, mpp: float) -> Assessment:
    """Refine the held-out patches and judge them.

    Args:
        networks: the trainer.
        patches: examples with real pairs.
        mpp: their scale, µm per pixel.
    """
    examples = patches.examples
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in ("refined", "real", "synthetic", "initial")}
    for start in range(0, patches.count, _BATCH):
        batch = {key: tensor[start : start + _BATCH] for key, tensor in examples.items()}
        refined = networks.refine(batch[Keys.IMAGE], batch[Keys.REFERENCE]).cpu()
        parts["refined"].append(refined)
        parts["synthetic"].append(networks.discriminate(refined, batch[Keys.REFERENCE]).cpu())
        parts["initial"].append(networks.discriminate(batch[Keys.IMAGE], batch[Keys.REFERENCE]).cpu())
        parts["real"].append(networks.discriminate(batch[Keys.REAL], batch[Keys.REAL_REFERENCE]).cpu())
    joined = {name: torch.cat(tensors) for name, tensors in parts.items()}
    masks = examples[Keys.TARGET][:_DRIFT_PATCHES, 1].numpy() > 0
    before, after = (
        otsu_agreement(images[:_DRIFT_PATCHES].permute(0, 2, 3, 1).numpy(), masks, mpp)
        for images in (examples[Keys.IMAGE], joined["refined"])
    )
    return Assessment(joined["refined"], joined["real"], joined["synthetic"], joined["initial"], (before, after))


def otsu_agreement(images: np.ndarray, masks: np.ndarray, mpp: float) -> float:
    """Dice coefficient of masks and of what Otsu's threshold takes for nuclei, over all images together.

    Args:
        images: uint8, shape (N, H, W, 3).
        masks: bool, shape (N, H, W).
        mpp: µm per pixel.
    """
    shared = total = 0
    for image, mask in zip(images, masks, strict=True):
        found = segment_nuclear_material(np.ascontiguousarray(image), mpp).otsu
        shared += int((found & mask).sum())
        total += int(found.sum()) + int(mask.sum())
    return 2 * shared / total if total else 1.0


def _auroc(real: torch.Tensor, synthetic: torch.Tensor) -> float:
    truth: Any = torch.cat([torch.ones(len(real)), torch.zeros(len(synthetic))])
    return float(compute_roc_auc(torch.cat([real, synthetic]), truth))
