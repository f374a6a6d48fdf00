"""What does a synthetic patch cost? Time of a patch and of tile analysis, throughput with all cores, memory.

    python benchmarks/synthesis.py TILES [--mpp 0.25] [--tiles 40] [--patches 200] [--json FILE]

TILES is a folder of images; sub-folders are measured one by one. One core means one: the process is bound to it. Two
things are timed beside it in the same run for scale: Telea's inpainting of the same tiles, which the authors' code does
for every patch, and a patch that is not told what its tile's analysis found (analysis and patch together).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from nucleosynth.data.images import find_images, read_image
from nucleosynth.data.synthesis import SynthesisRunSettings, synthesize_patches
from nucleosynth.transforms.stain import segment_nuclear_material
from nucleosynth.transforms.synthesis import SynthesisSettings, TileAnalysis, analyze_tile, draw_patch, paint_patch

SEED = 0
# The authors' code on one core of a small cloud machine (another one than this): median of 12 patches of 400x400.
AUTHORS_SECONDS = 28.7


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def one_core(tiles: list[np.ndarray], patches: int, mpp: float) -> dict[str, float]:
    """Median costs on one core, in seconds; the things that are compared take turns."""
    analyses: list[TileAnalysis] = []
    analysis, telea = [], []
    for tile in tiles:
        megapixels = tile.shape[0] * tile.shape[1] / 1e6
        analysis.append(seconds(lambda tile=tile: analyses.append(analyze_tile(tile, mpp))) / megapixels)
        hole = segment_nuclear_material(tile, mpp).super.astype(np.uint8)
        telea.append(seconds(lambda tile=tile, hole=hole: cv2.inpaint(tile, hole, 3, cv2.INPAINT_TELEA)) / megapixels)
    settings, rng = SynthesisSettings(), np.random.RandomState(SEED)
    times, nuclei = [], []
    for number in range(patches):
        source, texture = analyses[number % len(analyses)], analyses[(number + 1) % len(analyses)]
        start = time.perf_counter()
        draw = draw_patch(source, texture, texture.image, settings, rng)
        paint_patch(source, texture, texture.image, draw)
        times.append(time.perf_counter() - start)
        nuclei.append(len(draw.mask.category))
    size = settings.size**2 / 1e6
    return {
        "patch [ms]": 1e3 * median(times),
        "patch, 95th percentile [ms]": 1e3 * float(np.quantile(times, 0.95)),
        "nuclei a patch": float(np.mean(nuclei)),
        "tile analysis [ms/megapixel]": 1e3 * median(analysis),
        "Telea inpainting alone [ms/megapixel]": 1e3 * median(telea),
        "uncached patch / patch": (median(times) + median(analysis) * size) / median(times),
        "authors' 28.7 s / patch": AUTHORS_SECONDS / median(times),
    }


def throughput(folder: Path, patches: int, mpp: float, workers: int) -> float:
    """Patches per second of the whole command, with reading, analysis and writing."""
    with tempfile.TemporaryDirectory() as output:
        run = SynthesisRunSettings(count=patches, seed=SEED, mpp=mpp)
        return patches / seconds(lambda: synthesize_patches(folder, Path(output), run, workers))


def measure(folder: Path, tiles: int, patches: int, mpp: float) -> dict[str, float]:
    files = find_images(folder)
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, tiles).round().astype(int))]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    cv2.setNumThreads(1)
    try:
        row = one_core([read_image(file) for file in chosen], patches, mpp)
    finally:
        os.sched_setaffinity(0, cores)
    row["peak memory, one process [MB]"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for workers in sorted({1, len(cores)}):
        row[f"command, {workers} processes [patches/s]"] = throughput(folder, 2 * patches, mpp, workers)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mpp", type=float, default=0.25)
    parser.add_argument("--tiles", type=int, default=40, help="tiles of each folder for the one-core figures")
    parser.add_argument("--patches", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    folders = sorted(p for p in arguments.folder.iterdir() if p.is_dir()) or [arguments.folder]
    rows = {f.name: measure(f, arguments.tiles, arguments.patches, arguments.mpp) for f in folders}
    print("| |" + "|".join(rows) + "|\n|---|" + "---|" * len(rows))
    for key in next(iter(rows.values())):
        print(f"| {key} | " + " | ".join(f"{row[key]:.4g}" for row in rows.values()) + " |")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
