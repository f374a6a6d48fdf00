"""What ``benchmarks/slides.py`` measures: it is imported by the processes that do it, and not by their own workers."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import torch

from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.slides.cucim_reader import cucim_is_installed
from nucleosynth.slides.exports import write_geojson
from nucleosynth.slides.model import load_segmenter
from nucleosynth.slides.outlining import Outliner
from nucleosynth.slides.plan import plan_slide
from nucleosynth.slides.reader import open_slide
from nucleosynth.slides.segmentation import segment_slides
from nucleosynth.slides.settings import SegmentSettings
from nucleosynth.slides.tissue import find_tissue

FIELD, TILE = 2048, 256
BARE_TILES = 4
BARE_BATCH = 8  # With fewer windows at a time, threads that share a batch wait longer for each other.


def write_slide(path: Path, side: int) -> Path:
    """A JPEG slide of tissue without end: a field of it, mirrored from one repetition to the next; written in bands."""
    field = generate_phantom(PhantomSettings(width=FIELD, height=FIELD, tissue_share=1.0)).image
    pair = np.concatenate([field, field[:, ::-1]], axis=1)
    block = np.concatenate([pair, pair[::-1]], axis=0)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        level, scale = side, 1
        while level >= 512:
            small = cv2.resize(block, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
            tiff.write(
                tiles(small, level),
                shape=(level, level, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=int(scale > 1),
                resolution=(40000 / scale, 40000 / scale),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
            level, scale = level // 2, scale * 2
    return path


def tiles(block: np.ndarray, side: int) -> Iterator[bytes]:
    """Tiles of an image that repeats a block, row by row, as JPEG."""
    encoded: dict[tuple[int, int], bytes] = {}
    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            place = top % len(block), left % block.shape[1]
            if place not in encoded:
                rows, columns = (
                    (start + np.arange(TILE)) % length for start, length in zip(place, block.shape[:2], strict=True)
                )
                _, code = cv2.imencode(".jpg", block[np.ix_(rows, columns)][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
                encoded[place] = code.tobytes()
            yield encoded[place]


def whole_run(path: str, output: str, model: str, turns: int) -> dict[str, Any]:
    """Segment a slide, then send the bare network over some of the same tiles again."""
    segmenter = load_segmenter(model, {"segmenter#turns": turns})
    begun = time.perf_counter()
    (report,) = segment_slides([path], output, segmenter, SegmentSettings())
    elapsed = time.perf_counter() - begun
    record = json.loads((report.folder / "run.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # A single outliner is a thread: what children there were then did something else.
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 if segmenter.workers > 1 else 0
    plain, streamed = bare_forward(path, segmenter)
    return {
        "slide": Path(path).name,
        "nuclei": report.nuclei,
        "mm2": record["area_mm2"],
        "seconds": elapsed,
        "mm2_per_s": record["area_mm2"] / elapsed,
        "whole_to_bare": elapsed / plain,
        "whole_to_streamed": elapsed / streamed,
        "stages": record["seconds"],
        "peak_mb": peak,
        "worker_mb": worker,
    }


def bare_forward(path: str, segmenter: Any) -> tuple[float, float]:
    """Seconds of the network alone for all windows of a slide, from some that are there already.

    Returns:
        One batch after the other, each by all threads; and as the predictor does it, several at a time.
    """
    with open_slide(path) as slide:
        size = slide.thumbnail_size(segmenter.instances.mpp)
        plan = plan_slide(size, find_tissue(slide, size), segmenter.plan)
        predictor, scale = segmenter.predictor, segmenter.instances.mpp / slide.mpp
        plain, streamed, done = 0.0, 0.0, 0
        for tile in plan[:: max(1, len(plan) // BARE_TILES)][:BARE_TILES]:
            frame = slide.read_at((tile.frame.left * scale, tile.frame.top * scale), tile.frame.size, 0.25)
            crops = [torch.from_numpy(np.ascontiguousarray(frame[each.within(tile.frame)])) for each in tile.windows]
            large, small = (batches(crops, size) for size in (BARE_BATCH, predictor.batch_size))
            begun = time.perf_counter()
            for batch in large:
                predictor.logits(batch)
            between = time.perf_counter()
            for _ in predictor.stream(small):
                pass
            plain, streamed = plain + between - begun, streamed + time.perf_counter() - between
            done += len(crops)
        windows = sum(len(tile.windows) for tile in plan)
        return plain / done * windows, streamed / done * windows


def batches(crops: list[torch.Tensor], size: int) -> list[torch.Tensor]:
    """Crops, so many at a time."""
    return [torch.stack(crops[begin : begin + size]) for begin in range(0, len(crops), size)]


def after_the_network(path: str, output: str, model: str) -> dict[str, float]:
    """Nuclei a minute and core of all that follows the network, and of the export."""
    segmenter = load_segmenter(model)
    cv2.setNumThreads(1)
    with open_slide(path) as slide:
        size = slide.thumbnail_size(0.25)
        tile = plan_slide(size, None, segmenter.plan)[0]
        image = slide.read_at((0, 0), tile.frame.size, 0.25)
        maps = segmenter.predictor(image, tile)
        torch.set_num_threads(1)
        own = np.ascontiguousarray(image[tile.region.within(tile.frame)])
        begun = time.perf_counter()
        table = Outliner(segmenter.instances, None, slide.mpp)(tile, own, maps)
        outlining = time.perf_counter() - begun
    source = next(Path(output).glob("*/nuclei.parquet"))
    begun = time.perf_counter()
    write_geojson(source, Path(output) / "again.geojson")
    exporting = time.perf_counter() - begun
    nuclei = json.loads((source.parent / "run.json").read_text())["nuclei"]
    return {"outline": 60 * len(table) / outlining, "geojson": 60 * nuclei / exporting}


def readers(path: str, frames: int = 12) -> dict[str, float]:
    """Seconds of each reader for the same frames, in turns."""
    seconds = {name: 0.0 for name in ("openslide", "cucim") if name == "openslide" or cucim_is_installed()}
    for turn in range(frames):
        for name in seconds:
            with open_slide(path, reader=name) as slide:
                begun = time.perf_counter()
                slide.read_at((turn * 1000, turn * 1000), (3072, 3072), slide.mpp)
                seconds[name] += time.perf_counter() - begun
    return seconds
