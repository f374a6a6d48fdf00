"""Sampling unlabelled tiles of tissue from slides and images (``nucleosynth tiles``)."""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..atomic import write_atomically
from ..data.images import read_image, write_png
from ..data.quality import TileQuality, measure, refusal, tissue_mask
from ..errors import InputError
from ..progress import track
from ..record import claim_output, finish_output, release_output, run_record
from .reader import SlideReader, open_slide
from .settings import SMALLEST_TILE, TileSettings
from .sources import Source, find_sources

__all__ = ["COLUMNS", "TileReport", "sample_tiles", "slide_positions", "spread"]

COLUMNS = ("file", "type", "slide", "x", "y", "source_mpp", "tissue_share", "blur_score")
_TILES, _TABLE = "tiles", "tiles.csv"
_MASK_MPP = 8.0


@dataclass(frozen=True)
class TileReport:
    """What a run did.

    Attributes:
        kept: number of tiles written.
        types: number of tissue types among them.
        sources: number of slides and images that were read.
        refused: number of tiles refused, by reason.
    """

    kept: int
    types: int
    sources: int
    refused: dict[str, int]


@dataclass(frozen=True)
class _Place:
    """A tile before it is read: its corner in level-0 pixels and its size in pixels of the result."""

    x: int
    y: int
    width: int
    height: int


def sample_tiles(inputs: Sequence[Path], output: Path, settings: TileSettings) -> TileReport:
    """Write tiles of the inputs, their table, and the record of the run.

    A slide gives a random choice of the tiles of a grid inside its tissue, an image all tiles that cover it. Writes
    ``tiles/*.png``, then ``tiles.csv`` (columns ``COLUMNS``; ``file`` relative to ``output``, ``x`` and ``y`` in
    level-0 pixels of the source), then ``run.json``. Called again after it was interrupted, it continues.

    Args:
        inputs: slides, images, and folders of them; see :func:`nucleosynth.slides.sources.find_sources`.
        output: folder for the results; what else is in it stays.
        settings: how.

    Raises:
        InputError: an input cannot be used, ``output`` holds something else, or no tile is good enough.
        OSError: ``output`` cannot be written.
    """
    inputs = [Path(path) for path in inputs]
    sources = find_sources(inputs, settings.type_by, without=output / _TILES)
    for source in track(sources, "Checking inputs"):
        open_slide(source.path, settings.mpp, settings.reader).close()
    record = run_record("tiles", settings, [source.path for source in sources])
    claim_output(output, record, (_TILES, _TABLE))
    rows: list[dict[str, object]] = []
    refused: Counter[str] = Counter()
    for source in track(sources, "Sampling tiles"):
        rows += _sample_source(source, output, settings, refused)
    if not rows:
        release_output(output)
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
        raise InputError(f"{', '.join(map(str, inputs))}: no tile was good enough ({reasons}); is --mpp right?")
    write_atomically(output / _TABLE, _table(rows))
    report = TileReport(len(rows), len({row["type"] for row in rows}), len(sources), dict(refused.most_common()))
    finish_output(output, {**record, "kept": report.kept, "refused": report.refused})
    return report


def slide_positions(mask: np.ndarray, cells: tuple[int, int], min_tissue: float) -> np.ndarray:
    """Cells of a grid over a tissue mask that hold enough tissue.

    Args:
        mask: bool, shape (H, W).
        cells: (columns, rows) of a grid that covers the mask exactly.
        min_tissue: least share of tissue in a cell, 0 to 1.

    Returns:
        int, shape (N, 2): column and row of each, row by row.
    """
    shares = cv2.resize(mask.astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    return np.argwhere(shares >= min_tissue)[:, ::-1]


def spread(length: int, size: int) -> list[int]:
    """Where the fewest pieces of ``size`` begin that cover ``length`` evenly, overlapping where they must."""
    count = max(1, math.ceil(length / size))
    return [round(start) for start in np.linspace(0, max(length - size, 0), count)]


def _sample_source(
    source: Source, output: Path, settings: TileSettings, refused: Counter[str]
) -> list[dict[str, object]]:
    """Write the good tiles of a source; returns their rows of the table and counts the others in ``refused``."""
    rows: dict[tuple[int, int], dict[str, object]] = {}
    with open_slide(source.path, settings.mpp, settings.reader) as slide:
        places = _slide_places(slide, source, settings) if source.is_slide else _image_places(slide, settings)
        limit = settings.per_slide if source.is_slide else math.inf
        found = False
        for place in places:
            found = True
            if len(rows) >= limit:
                break
            file = Path(_TILES, f"{source.name}__{place.x}_{place.y}.png")
            quality, reason = _make_tile(slide, place, output / file, settings)
            if reason is None:
                rows[place.y, place.x] = _row(file, source, place, slide.mpp, quality)
            else:
                refused[reason] += 1
        if not found:
            refused["slides without tissue" if source.is_slide else f"images below {SMALLEST_TILE} px"] += 1
    return [rows[position] for position in sorted(rows)]


def _slide_places(slide: SlideReader, source: Source, settings: TileSettings) -> Iterator[_Place]:
    """Tiles of a grid inside the tissue, in random order; the order of one slide does not depend on the others."""
    step = settings.size * settings.target_mpp / slide.mpp
    width, height = slide.dimensions
    if width < step or height < step:
        yield from _image_places(slide, settings)
        return
    columns, rows = int(width / step), int(height / step)
    left, top = (width - columns * step) / 2, (height - rows * step) / 2
    mask_mpp = min(_MASK_MPP, settings.size * settings.target_mpp / 4)
    mask = tissue_mask(slide.thumbnail(mask_mpp), mask_mpp)
    scale = mask_mpp / slide.mpp
    inner = mask[
        round(top / scale) : max(1, round((top + rows * step) / scale)),
        round(left / scale) : max(1, round((left + columns * step) / scale)),
    ]
    cells = slide_positions(inner, (columns, rows), settings.limits.min_tissue)
    generator = np.random.default_rng([settings.seed, zlib.crc32(source.name.encode())])
    for column, row in generator.permutation(cells):
        yield _Place(round(left + column * step), round(top + row * step), settings.size, settings.size)


def _image_places(slide: SlideReader, settings: TileSettings) -> Iterator[_Place]:
    """Tiles that cover an image, row by row; a side that is shorter than a tile is taken whole."""
    factor = settings.target_mpp / slide.mpp
    width, height = (round(side / factor) for side in slide.dimensions)
    if min(width, height) < SMALLEST_TILE:
        return
    for y in spread(height, settings.size):
        for x in spread(width, settings.size):
            yield _Place(round(x * factor), round(y * factor), min(width, settings.size), min(height, settings.size))


def _make_tile(slide: SlideReader, place: _Place, path: Path, settings: TileSettings) -> tuple[TileQuality, str | None]:
    """Read, judge and write a tile, or take over the one that an interrupted run has written."""
    tile = _written_tile(path, place)
    is_new = tile is None
    if tile is None:
        tile = slide.read_at((place.x, place.y), (place.width, place.height), settings.target_mpp)
    quality = measure(tile, settings.target_mpp)
    reason = refusal(quality, settings.limits)
    if is_new and reason is None:
        write_png(path, tile)
    return quality, reason


def _written_tile(path: Path, place: _Place) -> np.ndarray | None:
    if not path.exists():
        return None
    try:
        tile = read_image(path)
    except InputError:
        return None
    return tile if tile.shape == (place.height, place.width, 3) else None


def _row(file: Path, source: Source, place: _Place, mpp: float, quality: TileQuality) -> dict[str, object]:
    values = (file.as_posix(), source.type, source.name, place.x, place.y, f"{mpp:.6g}")
    return dict(zip(COLUMNS, (*values, f"{quality.tissue_share:.4f}", f"{quality.blur_score:.4f}"), strict=True))


def _table(rows: list[dict[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
