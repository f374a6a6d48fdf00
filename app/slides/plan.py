"""Which pieces of a slide are segmented, and which of their nuclei count (for slides of any size, without seams)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Box", "PlanSettings", "SlideTile", "TissueMap", "owned", "plan_slide"]


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

    def within(self, frame: Box) -> tuple[slice, slice]:
        """Rows and columns of the box in an array of a frame that holds it."""
        rows = slice(self.top - frame.top, self.bottom - frame.top)
        return rows, slice(self.left - frame.left, self.right - frame.left)


@dataclass(frozen=True)
class TissueMap:
    """Where a slide has tissue.

    Attributes:
        mask: bool, shape (h, w), of the whole slide, much smaller than it.
        size: width and height of the slide, in pixels at the network's scale.

    Raises:
        ValueError: the slide has no pixels, or the mask is no two-dimensional one.
    """

    mask: np.ndarray
    size: tuple[int, int]

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.mask.ndim != 2 or self.mask.size == 0:
            raise ValueError(f"mask must have shape (h, w), got {self.mask.shape}")

    def touches(self, box: Box) -> bool:
        """Whether a pixel of the mask that lies in the box, be it in part, is tissue."""
        rows, columns = self.mask.shape
        width, height = self.size
        x0, x1 = max(box.left, 0) * columns // width, -(-box.right * columns // width)
        y0, y1 = max(box.top, 0) * rows // height, -(-box.bottom * rows // height)
        return bool(self.mask[y0:y1, x0:x1].any())

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which positions lie in tissue.

        Args:
            x, y: shape (N,), in pixels at the network's scale; those beyond the slide count as on its edge.

        Returns:
            bool, shape (N,).
        """
        rows, columns = self.mask.shape
        width, height = self.size
        column = np.clip(np.floor(x * columns / width), 0, columns - 1).astype(np.intp)
        row = np.clip(np.floor(y * rows / height), 0, rows - 1).astype(np.intp)
        return self.mask[row, column]


@dataclass(frozen=True)
class PlanSettings:
    """How a slide is divided, in pixels at the network's scale.

    A network with instance normalisation answers by all of its window, so windows lie on one lattice over the whole
    slide: what it says of a pixel does not depend on the tile that the pixel is in. Neighbouring tiles look through
    the windows at their border both, so the larger the core, the less is done twice.

    Attributes:
        core: side of the squares that tiles divide the slide into.
        halo: width around a core in which nuclei are outlined as well, so that none of the core's is cut; at least the
            largest radius of a nucleus, with what touches it.
        window: side of what the network sees at a time.
        stride: from one window to the next, at most ``window``.
    """

    core: int = 2048
    halo: int = 64
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
        windows: those of the lattice that touch both the region and tissue, row by row.
        frame: what holds the region and all windows. It lies within the slide, unless that is smaller than a window.
    """

    number: int
    core: Box
    region: Box
    windows: tuple[Box, ...]
    frame: Box


def plan_slide(size: tuple[int, int], tissue: TissueMap | None, settings: PlanSettings) -> list[SlideTile]:
    """Divide a slide into tiles, and leave out those without tissue.

    Args:
        size: width and height of the slide, in pixels at the network's scale.
        tissue: None takes the whole slide for tissue.
        settings: sizes.

    Returns:
        Tiles, row by row, whose cores cover all tissue and do not overlap.

    Raises:
        ValueError: the slide has no pixels.
    """
    _check_size(size)
    width, height = size
    tiles: list[SlideTile] = []
    for top in range(0, height, settings.core):
        for left in range(0, width, settings.core):
            core = Box(left, top, min(left + settings.core, width), min(top + settings.core, height))
            if tissue is None or tissue.touches(core):
                tiles.append(_tile(len(tiles), core, size, tissue, settings))
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


def _check_size(size: tuple[int, int]) -> None:
    if min(size) < 1:
        raise ValueError(f"a slide must have pixels, got {size[0]}x{size[1]}")


def _tile(number: int, core: Box, size: tuple[int, int], tissue: TissueMap | None, settings: PlanSettings) -> SlideTile:
    width, height = size
    region = Box(
        max(core.left - settings.halo, 0),
        max(core.top - settings.halo, 0),
        min(core.right + settings.halo, width),
        min(core.bottom + settings.halo, height),
    )
    columns = _lattice(region.left, region.right, width, settings)
    rows = _lattice(region.top, region.bottom, height, settings)
    lattice = [Box(x, y, x + settings.window, y + settings.window) for y in rows for x in columns]
    windows = tuple(window for window in lattice if tissue is None or tissue.touches(window))
    frame = Box(columns[0], rows[0], columns[-1] + settings.window, rows[-1] + settings.window)
    return SlideTile(number, core, region, windows, frame)


def _lattice(start: int, stop: int, extent: int, settings: PlanSettings) -> list[int]:
    """Where the windows begin that touch [start, stop) of an axis: at multiples of the stride, the last at the end."""
    last = max(extent - settings.window, 0)
    begins = [*range(0, last, settings.stride), last]
    return [begin for begin in begins if begin < stop and begin + settings.window > start]
