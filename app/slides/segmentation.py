"""Nuclei of whole slides (``nucleosynth segment``): read, predict, outline, store, export; resumable at any tile."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..postprocess import InstanceSettings
from ..progress import track
from ..record import claim_output, finish_output, finished_run, run_record
from .exports import draw_overview, write_geojson
from .formats import WRITERS, add_formats, check_formats, formats_there, write_formats
from .frames import FrameReader, overview_mpp
from .normalisation import SlideStain, measure_stain
from .outlining import Outliner, outlining_pool, ready, write_part
from .plan import PlanSettings, SlideTile, plan_slide
from .prediction import PendingMaps, TilePredictor
from .reader import SlideReader, open_slide
from .settings import SegmentSettings, chosen_formats
from .sources import Source, find_sources
from .store import PartStore, locked, merge_parts
from .tissue import find_tissue

__all__ = ["PRODUCTS", "TABLE", "SlideReport", "SlideSegmenter", "segment_slides"]

TABLE, GEOJSON, OVERVIEW = "nuclei.parquet", "nuclei.geojson", "overview.png"
_PARTS = "parts"
PRODUCTS = (_PARTS, TABLE, GEOJSON, OVERVIEW, *(writer.file for writer in WRITERS.values()))
"""What a run writes into the folder of a slide, beside ``run.json``."""


@dataclass(frozen=True)
class SlideReport:
    """What became of a slide.

    Attributes:
        name: of its folder in the output.
        source: the file, or the folder of a DICOM slide.
        folder: with the results.
        nuclei: their number.
        failed: tiles that could not be read, each a box in level-0 pixels and the reason.
    """

    name: str
    source: Path
    folder: Path
    nuclei: int
    failed: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Run:
    """All that the nuclei of a slide depend on."""

    mpp: float | None
    reader: str
    whole: bool
    normalize: str
    model_sha256: str
    instances: InstanceSettings
    plan: PlanSettings
    bfloat16: bool
    compiled: bool
    turns: int


@dataclass
class _Seconds:
    """Where the time goes: of the main process, but for ``outline``, which is the workers', beside it as reading is."""

    read: float = 0.0
    normalize: float = 0.0
    predict: float = 0.0
    outline: float = 0.0
    export: float = 0.0
    total: float = field(default=0.0)


class SlideSegmenter:
    """A trained network, and how its maps become nuclei.

    Args:
        network: from images at ``instances.mpp``, in [-1, 1], to logits of detection and segmentation.
        model_file: of the network's weights, by whose digest runs are told apart.
        instances: how maps become nuclei.
        plan: how slides are divided; None takes the usual sizes.
        device: where the network runs.
        batch_size: windows at a time.
        bfloat16: whether to compute in bfloat16; None does where the device gains from it.
        compiled: whether to compile the network first.
        turns: in how many orientations the network looks at each place, see :class:`TilePredictor`.
        workers: how many outline nuclei beside the network, see :func:`~nucleosynth.slides.outlining.outlining_pool`;
            None takes all cores but one, at most 8.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        model_file: Path | str,
        instances: InstanceSettings,
        plan: PlanSettings | None = None,
        device: torch.device | str = "cpu",
        batch_size: int = 4,
        bfloat16: bool | None = None,
        compiled: bool = False,
        turns: int = 2,
        workers: int | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.instances, self.plan = instances, plan or PlanSettings()
        self.predictor = TilePredictor(network, device, self.plan.window, batch_size, bfloat16, compiled, turns)
        self.workers = workers or min(max((os.cpu_count() or 1) - 1, 1), 8)
        self.model_sha256 = hashlib.sha256(Path(model_file).read_bytes()).hexdigest()

    def run(self, settings: SegmentSettings) -> _Run:
        """The settings that a run on one slide is recorded with."""
        return _Run(
            **asdict(settings),
            model_sha256=self.model_sha256,
            instances=self.instances,
            plan=self.plan,
            bfloat16=self.predictor.bfloat16,
            compiled=self.predictor.compiled,
            turns=self.predictor.turns,
        )


def segment_slides(
    inputs: Sequence[Path | str],
    output: Path | str,
    segmenter: SlideSegmenter,
    settings: SegmentSettings,
    formats: Sequence[str] = (),
) -> list[SlideReport]:
    """Segment the nuclei of slides and images.

    Writes for each ``output/NAME/``: ``nuclei.parquet`` (GeoParquet, see :mod:`~nucleosynth.slides.table`),
    ``nuclei.geojson`` (for QuPath), ``overview.png``, and, when all is there, ``run.json``. Called again after it was
    interrupted, it continues with the tile that it was at; where all is done, it adds the formats that are missing.

    Args:
        inputs: slides, images, and folders of them.
        output: folder for the results.
        segmenter: the network.
        settings: how slides are read.
        formats: what else to write, names of :data:`~nucleosynth.slides.formats.WRITERS`.

    Raises:
        ValueError: there is no such format.
        InputError: an input cannot be used, or not be written in a format, or ``output`` holds something else, or
            another process is at work there. What shows itself only in the course of the work is raised when all other
            inputs are done.
        OSError: ``output`` cannot be written.
    """
    output, formats = Path(output), chosen_formats(formats)
    sources = find_sources([Path(path) for path in inputs], "image", without=output)
    for source in track(sources, "Checking inputs"):
        open_slide(source.path, settings.mpp, settings.reader).close()
        check_formats(source.path, formats)
    with outlining_pool(segmenter.workers) as pool:
        reports, refused = [], []
        for source in sources:
            try:
                reports.append(_segment_slide(source, output / source.name, segmenter, settings, formats, pool))
            except InputError as error:
                # A night's work on hundreds of slides is not given up for one of glass.
                refused.append(str(error))
    if refused:
        others = f" (the other {len(reports)} are done)" if reports else ""
        raise InputError("; ".join(refused) + others)
    return reports


def _segment_slide(
    source: Source,
    folder: Path,
    segmenter: SlideSegmenter,
    settings: SegmentSettings,
    formats: Sequence[str],
    pool: Executor,
) -> SlideReport:
    begun, seconds = time.perf_counter(), _Seconds()
    with locked(folder), open_slide(source.path, settings.mpp, settings.reader) as slide:
        record = run_record("segment", segmenter.run(settings), [source.path])
        store = PartStore(folder / _PARTS)
        done = finished_run(folder, record)
        if done is not None and not done["failed"]:
            store.discard()
            add_formats(folder / TABLE, slide, done, formats)
            return SlideReport(source.name, source.path, folder, done["nuclei"], ())
        # A process imports what it needs while tissue is looked for and the first frame is read.
        pool.submit(ready)
        size = slide.thumbnail_size(segmenter.instances.mpp)
        tissue = find_tissue(slide, size) if source.is_slide and not settings.whole else None
        tiles = plan_slide(size, tissue, segmenter.plan)
        if not tiles:
            raise InputError(f"{source.path}: no tissue found; with --whole glass is segmented as well")
        claim_output(folder, record, PRODUCTS)
        # What an earlier call was asked for as well is made again, or it would show other nuclei than the table.
        formats = chosen_formats([*formats, *formats_there(folder)])
        check_formats(source.path, formats)
        outliner = Outliner(segmenter.instances, tissue, slide.mpp)
        missing = [tile for tile in tiles if not store.has(tile.number)]
        measuring = time.perf_counter()
        stain = measure_stain(slide, settings.normalize, segmenter.instances.mpp)
        seconds.normalize = time.perf_counter() - measuring
        with FrameReader(slide, segmenter.instances.mpp, stain) as reader:
            failed = _fill(store, missing, reader, segmenter, outliner, pool, seconds, source.name)
            exporting = time.perf_counter()
            there = [tile.number for tile in tiles if tile.number not in failed]
            nuclei = merge_parts(store, there, folder / TABLE)
            _export(folder, slide, reader.overview(), formats)
        seconds.export = time.perf_counter() - exporting
        seconds.total = time.perf_counter() - begun
        places = _places(tiles, failed, segmenter.instances.mpp / slide.mpp)
        results = _results(slide, segmenter, stain, tiles, nuclei, places, seconds)
        finish_output(folder, {**record, **results, "formats": formats_there(folder)})
        if not failed:
            store.discard()
        return SlideReport(source.name, source.path, folder, nuclei, tuple(places))


def _fill(
    store: PartStore,
    tiles: Sequence[SlideTile],
    reader: FrameReader,
    segmenter: SlideSegmenter,
    outliner: Outliner,
    pool: Executor,
    seconds: _Seconds,
    name: str,
) -> dict[int, str]:
    """Make the parts of tiles: one tile is read ahead, and only so many wait for their outlines that none idles.

    Returns:
        Numbers of the tiles that could not be read, and why.
    """
    failed: dict[int, str] = {}
    outlining: deque[Future[tuple[int, float]]] = deque()
    predicting: deque[tuple[SlideTile, np.ndarray, PendingMaps]] = deque()

    def outline_next() -> None:
        tile, own, pending = predicting.popleft()
        begun = time.perf_counter()
        maps = pending.result()
        seconds.predict += time.perf_counter() - begun
        while len(outlining) > segmenter.workers:
            seconds.outline += outlining.popleft().result()[1]
        outlining.append(pool.submit(write_part, store, outliner, tile, own, maps))

    for tile, frame in track(reader.frames(tiles), name, total=len(tiles)):
        if isinstance(frame, InputError):
            failed[tile.number] = str(frame)
            continue
        begun = time.perf_counter()
        pending = segmenter.predictor.start(frame.seen, tile)
        seconds.predict += time.perf_counter() - begun
        own = np.ascontiguousarray(frame.image[tile.region.within(tile.frame)])
        predicting.append((tile, own, pending))
        # A GPU has its next tile before its last one is waited for.
        while len(predicting) > 1 or (predicting and predicting[0][2].ready()):
            outline_next()
    while predicting:
        outline_next()
    while outlining:
        seconds.outline += outlining.popleft().result()[1]
    seconds.read += reader.read
    seconds.normalize += reader.normalize
    return failed


def _export(folder: Path, slide: SlideReader, overview: np.ndarray, formats: Sequence[str]) -> None:
    write_geojson(folder / TABLE, folder / GEOJSON)
    draw_overview(folder / TABLE, overview, overview_mpp(slide) / slide.mpp, folder / OVERVIEW)
    write_formats(folder / TABLE, slide, formats)


def _places(tiles: Sequence[SlideTile], failed: dict[int, str], scale: float) -> list[dict[str, Any]]:
    """Where in level-0 pixels the tiles lie that could not be read, for the record."""
    return [
        {"box": [round(value * scale) for value in asdict(tile.core).values()], "reason": failed[tile.number]}
        for tile in tiles
        if tile.number in failed
    ]


def _results(
    slide: SlideReader,
    segmenter: SlideSegmenter,
    stain: SlideStain,
    tiles: Sequence[SlideTile],
    nuclei: int,
    failed: list[dict[str, Any]],
    seconds: _Seconds,
) -> dict[str, Any]:
    mpp = segmenter.instances.mpp
    pixels = sum(tile.core.size[0] * tile.core.size[1] for tile in tiles)
    return {
        "mpp": slide.mpp,
        "dimensions": list(slide.dimensions),
        "network_mpp": mpp,
        "device": str(segmenter.predictor.device),
        "tiles": len(tiles),
        "stain": stain.record(),
        "area_mm2": round(pixels * mpp**2 / 1e6, 4),
        "nuclei": nuclei,
        "failed": failed,
        "seconds": {name: round(value, 3) for name, value in asdict(seconds).items()},
    }
