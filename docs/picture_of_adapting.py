"""The picture of docs/adapt_to_your_tissue.md: the shipped network on tissue in a strange stain, before and after.

    python docs/picture_of_adapting.py OUT      # ten minutes on two cores; OUT gets the tiles and the training

All tissue in it is the program's own. It is not run by the tests.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from make_pictures import row, save

import nucleosynth
from nucleosynth.data.images import read_image, write_png
from nucleosynth.data.phantom import Phantom, PhantomSettings, generate_phantom
from nucleosynth.data.preview import draw_outlines
from nucleosynth.engines import TrainingSettings, train_networks
from nucleosynth.metrics import score_instances
from nucleosynth.transforms.stain import scale_stains

TILES, SIDE = 12, 512
STAIN = (0.6, 1.6, 1.0)  # Little haematoxylin, much eosin.


def tissue(seed: int) -> Phantom:
    return generate_phantom(PhantomSettings(width=SIDE, height=SIDE, seed=seed, tissue_share=1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    for seed in range(TILES):
        write_png(output / "tiles" / f"{seed:02d}.png", scale_stains(tissue(seed).image, STAIN))
    train_networks(output / "tiles", output / "model", TrainingSettings("quick", ("self_train",)))
    unseen = tissue(TILES)
    image = scale_stains(unseen.image, STAIN)
    found = {}
    for name, model in (("before", None), ("after", output / "model")):
        found[name] = nucleosynth.segment(image, model, mpp=0.25).label
        scores = score_instances(unseen.labels.astype(np.int64), found[name])
        print(f"{name}: AJI {scores.aji:.3f}, PQ {scores.pq:.3f}, Dice {scores.dice:.3f}")
    taught = next((output / "model" / "taught").glob("*.png"))
    tile = read_image(output / "tiles" / taught.stem)
    pictures = {"a tile": tile, "what it saw": read_image(taught)}
    pictures |= {f"found {name}": draw_outlines(image, label) for name, label in found.items()}
    save("adapted.jpg", row(pictures, SIDE))


if __name__ == "__main__":
    main()
