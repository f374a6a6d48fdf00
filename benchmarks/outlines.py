"""Do outlines lie on real nuclei where they lie on synthetic ones? Without a label, from the slope of their edges.

    python benchmarks/outlines.py MODEL TILES [--count 40] [--size 384] [--seed 12]

MODEL is the output of ``nucleosynth train``, TILES a folder of unlabelled tiles. Optical density falls from inside a
nucleus to outside. Averaged over all outlines, the middle of that slope has a distance from the outline: on synthetic
patches from the true one, on patches and on real tiles from that of the network, at each threshold of the segmentation
map. The threshold is right at which the network's distance on real tiles is that of the truth on synthetic patches.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track

from nucleosynth.data.patches import SyntheticPatches
from nucleosynth.data.tilestore import open_tiles
from nucleosynth.postprocess import InstanceSettings, label_nuclei
from nucleosynth.slides.array import maps_of
from nucleosynth.slides.model import load_segmenter
from nucleosynth.transforms.stain import rgb_to_od
from nucleosynth.transforms.synthesis import SynthesisSettings

THRESHOLDS = (0.4, 0.5, 0.6, 0.7)
REACH, STEP = 10.0, 0.5  # px


def middle_of_slope(labelled: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Distance of the middle of the edges' slope from the outlines, in pixels; negative is inside.

    Args:
        labelled: pairs of an image, uint8, shape (H, W, 3), and a label image.
    """
    bins = 2 * round(REACH / STEP) + 1
    count, total = np.zeros(bins), np.zeros(bins)
    for image, label in labelled:
        inside = (label > 0).astype(np.uint8)
        within, without = (cv2.distanceTransform(mask, cv2.DIST_L2, 5) for mask in (inside, 1 - inside))
        # From the edge between pixels, which is half a pixel from their centres.
        distance = np.where(inside > 0, 0.5 - within, without - 0.5)
        place = np.round(distance / STEP).astype(int) + bins // 2
        near = (place >= 0) & (place < bins)
        count += np.bincount(place[near], minlength=bins)
        total += np.bincount(place[near], rgb_to_od(image).mean(2)[near], minlength=bins)
    profile = np.convolve(total / np.maximum(count, 1), [0.25, 0.5, 0.25], "same")
    distance = (np.arange(bins) - bins // 2) * STEP
    slope = np.clip(profile[:-2] - profile[2:], 0, None) * (np.abs(distance[1:-1]) < REACH / 2)
    return float((slope * distance[1:-1]).sum() / slope.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--seed", type=int, default=12)
    arguments = parser.parse_args()
    segmenter = load_segmenter(arguments.model)
    tiles = open_tiles(arguments.tiles, arguments.size)
    settings = SynthesisSettings(size=arguments.size).at_scale(tiles.mpp)
    patches = SyntheticPatches(tiles.held_out, settings, seed=arguments.seed, pairs=False, labels=True)
    examples = [patches[number] for number in range(arguments.count)]
    synthetic = [example["image"].numpy().transpose(1, 2, 0) for example in examples]
    chosen = np.random.RandomState(arguments.seed).permutation(len(tiles.train))[: arguments.count]
    real = [tiles.train.image(int(number)) for number in chosen]
    with torch.inference_mode():
        maps = [[maps_of(image, segmenter) for image in track(images)] for images in (synthetic, real)]
    truth = [example["label"][0].numpy() for example in examples]
    print(f"truth, synthetic: {middle_of_slope(zip(synthetic, truth, strict=True)):.2f} px")
    print("| threshold | network, synthetic [px] | network, real [px] |\n|---|---|---|")
    for threshold in THRESHOLDS:
        instances = InstanceSettings(segmentation_threshold=threshold, mpp=tiles.mpp)
        labels = [[label_nuclei(*each, instances) for each in found] for found in maps]
        both = (middle_of_slope(zip(*pair, strict=True)) for pair in zip((synthetic, real), labels, strict=True))
        print(f"| {threshold} | " + " | ".join(f"{each:.2f}" for each in both) + " |")


if __name__ == "__main__":
    main()
