"""A set of unlabelled tiles: the output of ``nucleosynth tiles``, or any folder of images."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..progress import track
from ..record import RECORD
from .images import find_images, read_image
from .quality import tissue_share

__all__ = ["Tile", "TileSet", "load_tiles"]

DEFAULT_MPP = 0.25
_TABLE, _TILES = "tiles.csv", "tiles"
# Share of tissue under which a tile is glass: nothing can be learnt from it.
_LEAST_TISSUE = 0.01


@dataclass(frozen=True)
class Tile:
    """An unlabelled tile.

    Attributes:
        path: the image file.
        name: its path within the set, with forward slashes.
        type: tissue type; tiles of one type show the same kind of tissue, from one slide or folder.
    """

    path: Path
    name: str
    type: str


@dataclass(frozen=True)
class TileSet:
    """Tiles that were all read once and found usable.

    Attributes:
        tiles: at least one, by name.
        mpp: their scale, µm per pixel.
        blank: names of the tiles left out because they show hardly any tissue.
    """

    tiles: tuple[Tile, ...]
    mpp: float
    blank: tuple[str, ...]


def load_tiles(folder: Path, size: int, mpp: float | None = None, threads: int = 1) -> TileSet:
    """Find the tiles of a folder and check every one.

    In the output of ``nucleosynth tiles``, and in the folder ``tiles`` in it, the table says which tiles there are, of
    which type and scale. In any other folder every image is a tile, its type the folder it lies in.

    Args:
        folder: where the tiles are.
        size: side of the patches they are for, in pixels; no tile may be smaller.
        mpp: scale of the tiles, µm per pixel; None takes it from the run that made them, else 0.25.
        threads: number of tiles that are read at a time.

    Raises:
        InputError: there is no tile, one cannot be read or is too small, or none shows tissue.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if folder.name == _TILES and (folder.parent / _TABLE).exists():
        folder = folder.parent  # Without the table all would silently be of one type.
    found = _from_table(folder) if (folder / _TABLE).exists() else _from_images(folder)
    scale = mpp or _recorded_mpp(folder) or DEFAULT_MPP

    def check(tile: Tile) -> bool:
        return _shows_tissue(tile, size, scale)

    with ThreadPoolExecutor(threads) as pool:
        shown = list(track(pool.map(check, found), "Checking tiles", total=len(found)))
    kept = tuple(tile for tile, tissue in zip(found, shown, strict=True) if tissue)
    if not kept:
        raise InputError(f"{folder}: all {len(found)} tiles are blank; nothing can be synthesised from glass")
    blank = tuple(tile.name for tile, tissue in zip(found, shown, strict=True) if not tissue)
    return TileSet(kept, scale, blank)


def _shows_tissue(tile: Tile, size: int, mpp: float) -> bool:
    pixels = read_image(tile.path)
    height, width = pixels.shape[:2]
    if min(height, width) < size:
        raise InputError(
            f"{tile.path}: {width}x{height} px, smaller than the patch of {size} px; "
            f"use --size {min(height, width)} or leave it out"
        )
    return tissue_share(pixels, mpp) >= _LEAST_TISSUE


def _from_images(folder: Path) -> Sequence[Tile]:
    tiles = []
    for path in find_images(folder):
        inner = path.relative_to(folder)
        tiles.append(Tile(path, inner.as_posix(), inner.parent.as_posix() if inner.parent.parts else folder.name))
    return tiles


def _from_table(folder: Path) -> Sequence[Tile]:
    table = folder / _TABLE
    if not (folder / RECORD).exists():
        raise InputError(f"{folder}: nucleosynth tiles did not finish here; run it again")
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = [(row["file"], row["type"]) for row in csv.DictReader(file)]
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(f"{table}: not a table of tiles (columns file and type); make it again") from error
    if not rows:
        raise InputError(f"{table}: holds no tiles; make it again")
    return [Tile(folder / name, name, kind) for name, kind in sorted(rows)]


def _recorded_mpp(folder: Path) -> float | None:
    try:
        return float(json.loads((folder / RECORD).read_bytes())["settings"]["target_mpp"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
