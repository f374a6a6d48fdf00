"""Analysed tiles in memory, as many as there is room for."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from nucleosynth.transforms.synthesis import FoundNuclei, TileAnalysis, analyze_tile

from ..progress import track
from .images import read_image
from .tileset import Tile, load_tiles

__all__ = ["NucleusFinder", "OpenedTiles", "TileStore", "open_tiles", "split_tiles"]


class NucleusFinder(Protocol):
    """What knows the nuclei of tiles, such as :class:`nucleosynth.engines.Teacher`."""

    def look(self, tiles: Sequence[Tile], mpp: float) -> None:
        """Get to know tiles of that scale, in µm per pixel, before their nuclei are asked for."""

    def nuclei(self, tile: Tile) -> FoundNuclei:
        """Nuclei of a tile."""


class TileStore:
    """Tiles by number, each analysed once while it stays in memory.

    Args:
        tiles: the tiles.
        mpp: their scale, µm per pixel.
        capacity: number of analyses that are kept; one of a 512 px tile takes some 4 MB.
        finder: knows their nuclei; None takes what Otsu's threshold finds.
    """

    def __init__(
        self, tiles: Sequence[Tile], mpp: float, capacity: int = 512, finder: NucleusFinder | None = None
    ) -> None:
        if not tiles:
            raise ValueError("there must be at least one tile")
        if capacity < 2:
            raise ValueError(f"capacity must be at least 2, got {capacity}")
        self.tiles, self.mpp, self.capacity, self.finder = tuple(tiles), mpp, capacity, finder
        self._kept: OrderedDict[int, TileAnalysis] = OrderedDict()

    def __len__(self) -> int:
        return len(self.tiles)

    @cached_property
    def types(self) -> np.ndarray:
        """Number of each tile's tissue type, int64, shape (n,)."""
        return np.unique([tile.type for tile in self.tiles], return_inverse=True)[1].astype(np.int64)

    @cached_property
    def partners(self) -> list[np.ndarray]:
        """For each tile, the numbers of the other tiles of its type; of one that is alone, its own."""
        same = {kind: np.flatnonzero(self.types == kind) for kind in np.unique(self.types)}
        others = [same[kind][same[kind] != number] for number, kind in enumerate(self.types)]
        return [each if len(each) else np.array([number]) for number, each in enumerate(others)]

    def prepare(self, threads: int) -> TileStore:
        """Analyse all tiles now, if there is room for all, so that worker processes inherit them; returns itself.

        Without room, each process analyses a tile when it meets it.
        """
        if len(self) <= self.capacity:
            with ThreadPoolExecutor(threads) as pool:
                analyses = pool.map(self._analyze, range(len(self)))
                for number, analysis in enumerate(track(analyses, "Analysing tiles", total=len(self))):
                    self._kept[number] = analysis
        return self

    def analysis(self, number: int) -> TileAnalysis:
        """The analysis of a tile, worked out if it is not in memory."""
        if number not in self._kept:
            self._kept[number] = self._analyze(number)
            if len(self._kept) > self.capacity:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]

    def image(self, number: int) -> np.ndarray:
        """The tile itself, uint8, shape (H, W, 3)."""
        kept = self._kept.get(number)
        return read_image(self.tiles[number].path) if kept is None else kept.image

    def _analyze(self, number: int) -> TileAnalysis:
        tile = self.tiles[number]
        found = None if self.finder is None else self.finder.nuclei(tile)
        return analyze_tile(read_image(tile.path), self.mpp, found=found)


def split_tiles(tiles: Sequence[Tile], share: float, most: int, seed: int) -> tuple[tuple[Tile, ...], tuple[Tile, ...]]:
    """Hold some tiles out, of all types alike.

    Args:
        tiles: all of them.
        share: of the tiles that are held out; never more than half of them.
        most: largest number that is held out.
        seed: of the choice.

    Returns:
        Tiles to train with, and those held out. With fewer than four tiles nothing can be spared: both are all tiles.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie in (0, 1), got {share}")
    if len(tiles) < 4:
        return tuple(tiles), tuple(tiles)
    # Spread evenly over the tiles in order of their types.
    order = np.random.RandomState(seed).permutation(len(tiles))
    order = order[np.argsort([tiles[number].type for number in order], kind="stable")]
    count = min(max(round(share * len(tiles)), 2), most, len(tiles) // 2)
    chosen = set(order[np.linspace(0, len(tiles) - 1, count).round().astype(int)].tolist())
    kept = tuple(tile for number, tile in enumerate(tiles) if number not in chosen)
    return kept, tuple(tiles[number] for number in sorted(chosen))


@dataclass(frozen=True)
class OpenedTiles:
    """A set of tiles, ready for a training.

    Attributes:
        train: the tiles to train with.
        held_out: tiles that no network trains on; the same as ``train`` where there are fewer than four.
        mpp: their scale, µm per pixel.
        blank: names of the tiles that were left out, because they show hardly any tissue.
    """

    train: TileStore
    held_out: TileStore
    mpp: float
    blank: tuple[str, ...]


def open_tiles(
    folder: Path | str,
    size: int,
    mpp: float | None = None,
    held_out: float = 0.1,
    most: int = 32,
    capacity: int = 512,
    seed: int = 0,
    threads: int | None = None,
    finder: NucleusFinder | None = None,
) -> OpenedTiles:
    """Check the tiles of a folder, hold some out, and analyse those to train with.

    Args:
        folder: of tiles, see :func:`~nucleosynth.data.tileset.load_tiles`.
        size: side of the patches they are for, in pixels.
        mpp: scale of the tiles, µm per pixel; None takes it from the run that made them, else 0.25.
        held_out: share of the tiles that is held out.
        most: largest number of tiles that is held out.
        capacity: number of tiles whose analysis is kept in memory.
        seed: of the choice of tiles that are held out.
        threads: number of tiles that are worked on at a time; None takes one a core.
        finder: looks for their nuclei first; None takes what Otsu's threshold finds.

    Raises:
        InputError: the tiles cannot be used.
    """
    threads = threads or os.cpu_count() or 1
    tiles = load_tiles(Path(folder), size, mpp, threads)
    train, spared = split_tiles(tiles.tiles, held_out, most, seed)
    if finder is not None:
        finder.look(tiles.tiles, tiles.mpp)
    store = TileStore(train, tiles.mpp, capacity, finder).prepare(threads)
    return OpenedTiles(store, TileStore(spared, tiles.mpp, max(most, 4), finder), tiles.mpp, tiles.blank)
