"""How fast are nuclei of slides found, in how much memory, and what does it cost beside the network?

    python benchmarks/slides.py --model MODEL [SLIDE ...] [--side 20480] [--json FILE]

Makes phantom slides of SIDE x SIDE pixels and of a quarter of that area, at 0.25 µm/px (a field of phantom tissue,
repeated), and segments them and the given slides, each in a process of its own, as ``nucleosynth segment`` does. In the
same process, right afterwards, the bare network goes over windows of the same tiles again, which are there already: the
ratio of the two does not depend on the machine. Then cuCIM against OpenSlide on the same frames, and what follows the
network alone.
"""

from __future__ import annotations

from nucleosynth.threads import let_threads_sleep

let_threads_sleep()  # As the command line does, before torch is there.

import argparse  # noqa: E402
import json  # noqa: E402
import multiprocessing  # noqa: E402
import resource  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from concurrent.futures import ProcessPoolExecutor  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import tifffile  # noqa: E402
import torch  # noqa: E402

from nucleosynth.data.phantom import PhantomSettings, generate_phantom  # noqa: E402
from nucleosynth.slides.cucim_reader import cucim_is_installed  # noqa: E402
from nucleosynth.slides.exports import write_geojson  # noqa: E402
from nucleosynth.slides.model import load_segmenter  # noqa: E402
from nucleosynth.slides.outlining import Outliner  # noqa: E402
from nucleosynth.slides.plan import plan_slide  # noqa: E402
from nucleosynth.slides.reader import open_slide  # noqa: E402
from nucleosynth.slides.segmentation import segment_slides  # noqa: E402
from nucleosynth.slides.settings import SegmentSettings  # noqa: E402
from nucleosynth.slides.tissue import find_tissue  # noqa: E402

FIELD, TILE = 2048, 256
BARE_TILES = 4


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


def in_process(function: Any, *arguments: Any) -> Any:
    """What a function returns in a fresh process: its peak memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def whole_run(path: str, output: str, model: str) -> dict[str, Any]:
    """Segment a slide, then send the bare network over some of the same tiles again."""
    segmenter = load_segmenter(model)
    begun = time.perf_counter()
    (report,) = segment_slides([path], output, segmenter, SegmentSettings())
    elapsed = time.perf_counter() - begun
    record = json.loads((report.folder / "run.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    bare, windows, all_windows = bare_forward(path, segmenter)
    return {
        "slide": Path(path).name,
        "nuclei": report.nuclei,
        "mm2": record["area_mm2"],
        "seconds": elapsed,
        "mm2_per_s": record["area_mm2"] / elapsed,
        "whole_to_bare": elapsed / (bare / windows * all_windows),
        "stages": record["seconds"],
        "peak_mb": peak,
        "worker_mb": worker,
    }


def bare_forward(path: str, segmenter: Any) -> tuple[float, int, int]:
    """Seconds of the network alone on windows that are there already; their number, and that of all windows."""
    with open_slide(path) as slide:
        size = slide.thumbnail_size(segmenter.instances.mpp)
        plan = plan_slide(size, find_tissue(slide, size), segmenter.plan)
        predictor, window, seconds, done = segmenter.predictor, segmenter.plan.window, 0.0, 0
        scale = segmenter.instances.mpp / slide.mpp
        for tile in plan[:: max(1, len(plan) // BARE_TILES)][:BARE_TILES]:
            frame = slide.read_at((tile.frame.left * scale, tile.frame.top * scale), tile.frame.size, 0.25)
            crops = [
                torch.from_numpy(frame[each.within(tile.frame)].transpose(2, 0, 1).copy()) for each in tile.windows
            ]
            batches = [
                torch.stack(crops[i : i + predictor.batch_size]) for i in range(0, len(crops), predictor.batch_size)
            ]
            assert crops[0].shape == (3, window, window)
            begun = time.perf_counter()
            with torch.inference_mode():
                for batch in batches:
                    predictor.logits(batch)
            seconds += time.perf_counter() - begun
            done += len(crops)
        return seconds, done, sum(len(tile.windows) for tile in plan)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", nargs="*")
    parser.add_argument("--model", required=True)
    parser.add_argument("--side", type=int, default=20480)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        phantoms = [
            write_slide(folder / f"phantom_{side}.tiff", side) for side in (arguments.side // 2, arguments.side)
        ]
        rows = []
        for number, path in enumerate([*map(str, phantoms), *arguments.slides]):
            rows.append(in_process(whole_run, path, str(folder / str(number)), arguments.model))
            print(json.dumps(rows[-1]), flush=True)
        rates = in_process(after_the_network, str(phantoms[0]), str(folder / "0"), arguments.model)
        reading = in_process(readers, str(phantoms[0]))
    print("\n|slide|nuclei|mm²|mm²/s|whole / bare network|read, predict, outline, export [s]|peak, worker [MB]|")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        stages = ", ".join(f"{row['stages'][name]:.1f}" for name in ("read", "predict", "outline", "export"))
        print(
            f"| {row['slide']} | {row['nuclei']} | {row['mm2']:.2f} | {row['mm2_per_s']:.3f} | "
            f"{row['whole_to_bare']:.2f} | {stages} | {row['peak_mb']:.0f}, {row['worker_mb']:.0f} |"
        )
    print(f"\nnuclei a minute and core: outlined {rates['outline']:.0f}, written as GeoJSON {rates['geojson']:.0f}")
    print("reading: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in reading.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "rates": rates, "reading": reading}, indent=1) + "\n")


if __name__ == "__main__":
    main()
