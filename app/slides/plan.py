"""Which pieces of a slide are segmented, and which of their nuclei count (for slides of any size, without seams)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Box", "PlanSettings", "SlideTile", "owned", "plan_slide"]


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels, [left, right) x [top, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        return self.right - self.left, self.bottom - self.top


@dataclass(frozen=True)
class PlanSettings:
    """How a slide is divided, in pixels at the network's scale.

    A network with instance normalisation answers by all of its window, so windows lie on one lattice over the whole
    slide: what it says of a pixel does not depend on the tile that the pixel is in.

    Attributes:
        core: side of the squares that tiles divide the slide into.
        halo: width around a core in which nuclei are outlined as well, so that none of the core's is cut; at least the
            largest radius of a nucleus, with what touches it.
        window: side of what the network sees at a time.
        stride: from one window to the next, at most ``window``.
    """

    core: int = 2048
    halo: int = 128
    window: int = 256
    stride: int = 192

    def __post_init__(self) -> None:
        for name in ("core", "window", "stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.halo < 0:
            raise ValueError(f"halo must not be negative, got {self.halo}")
        if self.stride > self.window:
            raise ValueError(f"stride must be at most the window of {self.window} px, got {self.stride}")


@dataclass(frozen=True)
class SlideTile:
    """A piece of the slide, in pixels at the network's scale.

    Attributes:
        number: place in the plan, row by row, that of tiles without tissue left out.
        core: the nuclei whose centroid lies in it are the tile's own.
        region: core and halo, within the slide: where nuclei are outlined.
        windows: all windows of the lattice that touch the region, whole; it may reach beyond the slide.
    """

    number: int
    core: Box
    region: Box
    windows: Box


def plan_slide(size: tuple[int, int], tissue: np.ndarray | None, settings: PlanSettings) -> list[SlideTile]:
    """Divide a slide into tiles, and leave out those without tissue.

    Args:
        size: width and height of the slide, in pixels at the network's scale.
        tissue: bool, shape (h, w), a mask of the whole slide at any scale; None takes the whole slide for tissue.
        settings: sizes.

    Returns:
        Tiles, row by row, whose cores cover all tissue and do not overlap.

    Raises:
        ValueError: the slide has no pixels, or the mask is no two-dimensional one.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"a slide must have pixels, got {width}x{height}")
    if tissue is not None and (tissue.ndim != 2 or tissue.size == 0):
        raise ValueError(f"tissue must have shape (h, w), got {tissue.shape}")
    tiles: list[SlideTile] = []
    for top in range(0, height, settings.core):
        for left in range(0, width, settings.core):
            core = Box(left, top, min(left + settings.core, width), min(top + settings.core, height))
            if tissue is None or _holds_tissue(core, size, tissue):
                tiles.append(_tile(len(tiles), core, size, settings))
    return tiles


def owned(x: np.ndarray, y: np.ndarray, core: Box) -> np.ndarray:
    """Which centroids lie in a core; of all cores, exactly one holds a centroid within the slide.

    Args:
        x, y: shape (N,), in pixels at the network's scale, from the slide's upper left corner.
        core: of a tile.

    Returns:
        bool, shape (N,).
    """
    return (x >= core.left) & (x < core.right) & (y >= core.top) & (y < core.bottom)


def _holds_tissue(core: Box, size: tuple[int, int], tissue: np.ndarray) -> bool:
    """Whether a pixel of the mask that lies in the core, be it in part, is tissue."""
    rows, columns = tissue.shape
    width, height = size
    x0, x1 = core.left * columns // width, -(-core.right * columns // width)
    y0, y1 = core.top * rows // height, -(-core.bottom * rows // height)
    return bool(tissue[y0:y1, x0:x1].any())


def _tile(number: int, core: Box, size: tuple[int, int], settings: PlanSettings) -> SlideTile:
    width, height = size
    region = Box(
        max(core.left - settings.halo, 0),
        max(core.top - settings.halo, 0),
        min(core.right + settings.halo, width),
        min(core.bottom + settings.halo, height),
    )
    left, right = _lattice(region.left, region.right, settings)
    top, bottom = _lattice(region.top, region.bottom, settings)
    return SlideTile(number, core, region, Box(left, top, right, bottom))


def _lattice(start: int, stop: int, settings: PlanSettings) -> tuple[int, int]:
    """From the first to the last window on multiples of the stride that touches [start, stop)."""
    first = -(-(start - settings.window + 1) // settings.stride) * settings.stride
    last = (stop - 1) // settings.stride * settings.stride
    return first, last + settings.window
