"""Training examples made on the fly: the n-th one is a function of the seed and n, whichever process makes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from nucleosynth.transforms.synthesis import SynthesisSettings, draw_crop, draw_patch, paint_patch, take_crop
from nucleosynth.transforms.targets import nucleus_targets

from .keys import PatchKeys as Keys
from .labelled import LabelledPatches
from .taught import TaughtPatches
from .tilestore import TileStore

__all__ = ["SyntheticPatches"]


class SyntheticPatches(Dataset):
    """Initial synthetic patches with their references and pairs of real patches (paper, sections 4.1 and 4.2).

    An endless dataset without state: example ``n`` is always the same, so a training that was interrupted goes on with
    the next number. See :class:`~nucleosynth.data.keys.PatchKeys` for what an example holds.

    Args:
        store: the tiles. With more of them than it keeps, examples come from a window of tiles that moves on slowly.
        settings: how patches are synthesised, at the tiles' scale.
        seed: of all that is drawn.
        core: share of a nucleus' largest distance to its boundary at which its core begins.
        pairs: whether to add pairs of real patches, for a discriminator.
        labels: whether to add the instance labels, for a validation.
        labelled: real patches with targets, of experts or of a trained network, to mix in, if any.
    """

    # Examples after which one tile of the window is replaced, where not all fit into memory.
    _PER_TILE = 32

    def __init__(
        self,
        store: TileStore,
        settings: SynthesisSettings,
        seed: int = 0,
        core: float = 0.5,
        pairs: bool = True,
        labels: bool = False,
        labelled: LabelledPatches | TaughtPatches | None = None,
    ) -> None:
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.store, self.settings, self.seed = store, settings, seed
        self.core, self.pairs, self.labels, self.labelled = core, pairs, labels, labelled
        self._order = np.random.RandomState(seed).permutation(len(store))

    def __getitem__(self, number: int) -> dict[str, Any]:
        rng = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([self.seed, number])))
        example = self._synthesize(number, rng)
        if self.pairs:
            example |= self._real_pair(number, rng)
        if self.labelled is not None:
            real = self.labelled[number]
            example |= {Keys.LABELLED_IMAGE: real[Keys.IMAGE], Keys.LABELLED_TARGET: real[Keys.TARGET]}
        return {str(key): value for key, value in example.items()}

    def _draw_tile(self, number: int, rng: np.random.RandomState) -> int:
        window = min(len(self.store), self.store.capacity)
        return int(self._order[(number // self._PER_TILE + rng.randint(window)) % len(self.store)])

    def _draw_partner(self, tile: int, rng: np.random.RandomState) -> int:
        partners = self.store.partners[tile]
        return int(partners[rng.randint(len(partners))])

    def _synthesize(self, number: int, rng: np.random.RandomState) -> dict[str, Any]:
        tile = self._draw_tile(number, rng)
        source, texture = self.store.analysis(tile), self.store.analysis(self._draw_tile(number, rng))
        reference = self.store.image(self._draw_partner(tile, rng))
        patch = paint_patch(source, texture, reference, draw_patch(source, texture, reference, self.settings, rng))
        example = {
            Keys.IMAGE: _tensor(patch.image),
            Keys.TARGET: torch.from_numpy(nucleus_targets(patch.label, self.core)),
            Keys.REFERENCE: _tensor(patch.reference),
        }
        if self.labels:
            example[Keys.LABEL] = torch.from_numpy(patch.label[None].astype(np.int32))
        return example

    def _real_pair(self, number: int, rng: np.random.RandomState) -> dict[str, Any]:
        tile = self._draw_tile(number, rng)
        images = [self.store.image(each) for each in (tile, self._draw_partner(tile, rng))]
        real, reference = (take_crop(image, draw_crop(image.shape, self.settings.size, rng)) for image in images)
        return {
            Keys.REAL: _tensor(real),
            Keys.REAL_REFERENCE: _tensor(reference),
            Keys.REAL_TYPE: int(self.store.types[tile]),
        }


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
