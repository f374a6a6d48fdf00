"""Self-training: a trained network looks at real tiles, and another learns from what it finds there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from nucleosynth.transforms.synthesis import FoundNuclei

from ..data.images import read_image, write_png
from ..data.tileset import Tile
from ..errors import InputError
from ..postprocess import InstanceSettings, label_nuclei
from ..postprocess.confidence import ConfidenceSettings, confident_targets
from ..progress import track
from ..slides.array import maps_of
from ..slides.model import load_segmenter
from ..slides.segmentation import SlideSegmenter

__all__ = ["Teacher"]

_TURNS = 4  # It looks once, and all that follows learns from that.


class Teacher:
    """A trained network that looks at each tile once, in four orientations.

    What it sees is kept as a picture a tile, worth a look: detection in red and segmentation in green, of 255.

    Args:
        model: as of :func:`~nucleosynth.slides.model.find_bundle`; None is the network that is shipped.
        folder: for the pictures; what is there already is kept.
        device: where the network runs.
        core: share of a nucleus' largest distance to its boundary at which its core begins.
        confidence: what it counts as sure of; None takes the usual.
    """

    def __init__(
        self,
        model: Path | str | None,
        folder: Path | str,
        device: torch.device | str = "cpu",
        core: float = 0.5,
        confidence: ConfidenceSettings | None = None,
    ) -> None:
        self.model, self.folder, self.device = model, Path(folder), device
        self.core, self.confidence = core, confidence

    def picture(self, tile: Tile) -> Path:
        """Where the picture of a tile lies."""
        return self.folder / f"{tile.name}.png"

    def look(self, tiles: Sequence[Tile], mpp: float) -> None:
        """Look at the tiles that it has not seen yet.

        Args:
            tiles: the tiles.
            mpp: their scale, µm per pixel.

        Raises:
            InputError: the network cannot be used, or works at another scale.
            OSError: the folder cannot be written.
        """
        segmenter = self._load()
        self._instances = segmenter.instances
        if abs(self._instances.mpp / mpp - 1) > 0.01:
            raise InputError(
                f"{self.model or 'the network that is shipped'}: works at {self._instances.mpp:g} µm/px, the tiles are "
                f"at {mpp:g}; sample them at its scale (nucleosynth tiles --mpp)"
            )
        new = [tile for tile in tiles if not self.picture(tile).exists()]
        for tile in track(new, "Looking at tiles"):
            maps = maps_of(read_image(tile.path), segmenter)
            picture = np.zeros((*maps.shape[1:], 3), np.uint8)
            picture[..., :2] = np.rint(255 * maps).astype(np.uint8).transpose(1, 2, 0)
            write_png(self.picture(tile), picture)

    def nuclei(self, tile: Tile) -> FoundNuclei:
        """The nuclei of a tile that it has looked at.

        Raises:
            InputError: the picture cannot be read.
        """
        maps = self._maps(tile)
        return FoundNuclei(label_nuclei(maps[0], maps[1], self._instances), maps[1])

    def targets(self, tile: Tile) -> np.ndarray:
        """What it teaches of a tile, float32, shape (2, H, W): see :func:`~nucleosynth.postprocess.confident_targets`.

        Raises:
            InputError: the picture cannot be read.
        """
        return confident_targets(self._maps(tile), self._instances, self.confidence, self.core)

    @cached_property
    def _instances(self) -> InstanceSettings:
        return self._load().instances

    def _load(self) -> SlideSegmenter:
        return load_segmenter(self.model, {"device": self.device, "segmenter#turns": _TURNS})

    def _maps(self, tile: Tile) -> np.ndarray:
        picture = read_image(self.picture(tile))
        return np.ascontiguousarray(picture[..., :2].transpose(2, 0, 1)) / np.float32(255)
