"""Which settings part nuclei best? Instances from a trained network's maps, scored on synthetic patches.

    python benchmarks/instances.py MODEL TILES [--count 40] [--size 384] [--seed 12] [--json FILE]

MODEL is the output of ``nucleosynth train`` on TILES. The network sees synthetic patches of the tiles that its training
held out, whose nuclei are known exactly, so that no expert's label is needed to choose the values of
``nucleosynth.postprocess.InstanceSettings``. Each is varied alone, the others stay at their defaults.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import track

from nucleosynth.data.patches import SyntheticPatches
from nucleosynth.data.tilestore import open_tiles
from nucleosynth.metrics import score_instances
from nucleosynth.networks import DETECTION, SEGMENTATION
from nucleosynth.postprocess import InstanceSettings, label_nuclei
from nucleosynth.slides.array import maps_of
from nucleosynth.slides.model import load_segmenter
from nucleosynth.transforms.synthesis import SynthesisSettings

VALUES = {
    "detection_prominence": (0.1, 0.15, 0.2, 0.25, 0.3),
    "segmentation_threshold": (0.5, 0.55, 0.6, 0.65),
    "detection_smoothing_um": (0.3, 0.45, 0.6, 0.75, 0.9),
    "segmentation_smoothing_um": (0.0, 0.25, 0.5, 0.8),
    "min_area_um2": (1.5, 3.0, 6.0, 10.0),
    "min_probability": (0.0, 0.7, 0.75, 0.8, 0.85),
}

Maps = list[tuple[np.ndarray, np.ndarray]]
"""Of each patch the network's maps, float32, shape (2, H, W), and the true label."""


def predict(arguments: argparse.Namespace) -> tuple[Maps, float]:
    """Maps of patches from the tiles that the training of the same seed held out, and the tiles' scale."""
    segmenter = load_segmenter(arguments.model)
    tiles = open_tiles(arguments.tiles, arguments.size)
    settings = SynthesisSettings(size=arguments.size).at_scale(tiles.mpp)
    patches = SyntheticPatches(tiles.held_out, settings, seed=arguments.seed, pairs=False, labels=True)
    maps: Maps = []
    for number in track(range(arguments.count), "predicting"):
        patch = patches[number]
        image = np.ascontiguousarray(patch["image"].numpy().transpose(1, 2, 0))
        maps.append((maps_of(image, segmenter), patch["label"][0].numpy()))
    return maps, tiles.mpp


def score(maps: Maps, settings: InstanceSettings) -> dict[str, float]:
    """Means over the patches."""
    labels = [label_nuclei(each[DETECTION], each[SEGMENTATION], settings) for each, _ in maps]
    scores = [score_instances(truth, label) for label, (_, truth) in zip(labels, maps, strict=True)]
    return {
        "aji": float(np.mean([each.aji for each in scores])),
        "pq": float(np.mean([each.pq for each in scores])),
        "found/true": sum(int(label.max()) for label in labels) / sum(len(np.unique(t)) - 1 for _, t in maps),
    }


def variations(standard: InstanceSettings) -> Iterator[tuple[str, float, InstanceSettings]]:
    for name, values in VALUES.items():
        for value in values:
            yield name, value, replace(standard, **{name: value})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="output of nucleosynth train, seed 0")
    parser.add_argument("tiles", type=Path, help="the tiles that it was trained on")
    parser.add_argument("--count", type=int, default=40, help="synthetic patches")
    parser.add_argument("--size", type=int, default=384, help="their side, in pixels")
    parser.add_argument("--seed", type=int, default=12, help="of the patches")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    maps, mpp = predict(arguments)
    standard = InstanceSettings(mpp=mpp)
    rows = []
    for name, value, settings in track(list(variations(standard)), "scoring"):
        mark = "default" if value == getattr(standard, name) else ""
        rows.append({"setting": name, "value": value, **score(maps, settings), "mark": mark})
    for row in rows:
        figures = "  ".join(f"{key} {row[key]:.3f}" for key in ("aji", "pq", "found/true"))
        print(f"{row['setting']:26}{row['value']:6.2f}  {figures}  {row['mark']}".rstrip())
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
