"""The initial synthesis on arrays; see ``dictionary.py`` for the dictionary versions."""

from __future__ import annotations

from typing import Any

import numpy as np
from monai.config import NdarrayOrTensor
from monai.transforms import RandomizableTransform, Transform
from monai.utils.enums import TransformBackends

from ..base import check_mpp
from ..channels import to_channel_first, to_rgb
from .analysis import TileAnalysis, analyze_tile
from .patch import PatchDraw, SynthesisSettings, draw_patch, paint_patch

__all__ = ["AnalyzeTile", "RandSynthesizeNuclei"]


class AnalyzeTile(Transform):
    """Take a tile apart into background, nuclear colours, texture and priors; put it in front of a cache.

    The input is uint8 RGB, shape (3, H, W); the output a :class:`TileAnalysis`, which MONAI's cache datasets keep as it
    is, since nothing here is random.

    Args:
        mpp: µm per pixel.
        seed: of the places that the texture of the background is taken from.
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, mpp: float = 0.25, seed: int = 0) -> None:
        check_mpp(mpp)
        self.mpp, self.seed = mpp, seed

    def __call__(self, img: NdarrayOrTensor) -> TileAnalysis:
        return analyze_tile(to_rgb(img), self.mpp, self.seed)


class RandSynthesizeNuclei(RandomizableTransform):
    """Synthesise a patch with exact instance masks from real textures (paper, section 4.1).

    Called with one or two analysed tiles and an image of the same type, it returns a dictionary of

    - ``image``: uint8 RGB, shape (3, P, P), the synthetic patch;
    - ``label``: int32, shape (1, P, P), instance ids, 0 background, 1 to N the nuclei, each in one piece;
    - ``reference``: uint8 RGB, shape (3, P, P), a real patch of the same type;
    - ``category``: int64, shape (N,), the class of each nucleus, 0 for none;
    - ``parameters``: what was drawn, in numbers and lists.

    Args:
        settings: how patches are synthesised; the defaults take every prior from the tile.

    Example:
        >>> synthesize = RandSynthesizeNuclei(SynthesisSettings(size=256)).set_random_state(seed=0)
        >>> tile, other = AnalyzeTile()(image), AnalyzeTile()(another_image)
        >>> patch = synthesize(tile, texture=other)
    """

    backend = [TransformBackends.NUMPY]

    def __init__(self, settings: SynthesisSettings | None = None) -> None:
        RandomizableTransform.__init__(self, 1.0)
        self.settings = settings or SynthesisSettings()
        self._draw: PatchDraw | None = None

    def randomize(self, data: tuple[TileAnalysis, TileAnalysis, np.ndarray]) -> None:
        """Draw a patch from source, texture and reference tile, the last as an image of shape (H, W, 3)."""
        super().randomize(None)
        self._draw = draw_patch(*data, self.settings, self.R)

    def __call__(
        self,
        tile: TileAnalysis,
        texture: TileAnalysis | None = None,
        reference: NdarrayOrTensor | None = None,
        randomize: bool = True,
    ) -> dict[str, Any]:
        """Synthesise a patch.

        Args:
            tile: lends background, colours and priors.
            texture: lends the nuclear texture; best another tile. None: the same.
            reference: lends the real patch beside; a tile of the same type, uint8 RGB, shape (3, H, W). None: the same.
            randomize: draw anew; False paints the last draw again.

        Raises:
            ValueError: a tile is smaller than the patch, or the tiles differ in µm per pixel from the settings.
        """
        other = texture or tile
        for each in (tile, other):
            if not np.isclose(each.mpp, self.settings.mask.mpp, rtol=0.01):
                raise ValueError(f"a tile is at {each.mpp} µm/px, the settings are for {self.settings.mask.mpp}")
        real = tile.image if reference is None else to_rgb(reference)
        if randomize or self._draw is None:
            self.randomize((tile, other, real))
        draw = self._draw
        if draw is None:
            raise RuntimeError("randomize drew nothing")
        patch = paint_patch(tile, other, real, draw)
        return {
            "image": to_channel_first(patch.image),
            "label": to_channel_first(patch.label.astype(np.int32)),
            "reference": to_channel_first(patch.reference),
            "category": patch.category,
            "parameters": draw.parameters(),
        }
