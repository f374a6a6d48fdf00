"""Make the pictures of the docs from the program's own sample tissue.

    python docs/make_pictures.py

Writes docs/images/*.jpg. No real tissue is shown, since none may be shipped.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

import nucleosynth
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.data.preview import contact_sheet, draw_outlines
from nucleosynth.transforms.masks import MaskSettings, NucleusClass
from nucleosynth.transforms.stain import segment_nuclear_material
from nucleosynth.transforms.synthesis import (
    PatchDraw,
    SynthesisSettings,
    TileAnalysis,
    analyze_tile,
    draw_patch,
    paint_patch,
)

IMAGES = Path(__file__).parent / "images"
SEED = 5
SIZE = 400


def save(name: str, image: np.ndarray) -> None:
    cv2.imwrite(str(IMAGES / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])


def row(pictures: dict[str, np.ndarray], side: int = 300) -> np.ndarray:
    """Pictures side by side, each under its title."""
    cells = []
    for title, picture in pictures.items():
        cell = np.full((side + 30, side, 3), 255, np.uint8)
        cell[30:] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        cv2.putText(cell, title, (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (60, 60, 60), 1, cv2.LINE_AA)
        cells += [cell, np.full((side + 30, 6, 3), 255, np.uint8)]
    return np.hstack(cells[:-1])


def coloured(label: np.ndarray) -> np.ndarray:
    """Instance ids in colours that differ from neighbour to neighbour."""
    palette = np.random.RandomState(1).randint(80, 256, size=(int(label.max()) + 1, 3)).astype(np.uint8)
    palette[0] = 20
    return palette[label]


def analyses() -> list[TileAnalysis]:
    tiles = []
    for seed in range(SEED, SEED + 4):
        tissue = generate_phantom(PhantomSettings(width=800, height=800, seed=seed, tissue_share=1.0)).image
        tiles.append(analyze_tile(np.ascontiguousarray(tissue[200 : 200 + SIZE, 200 : 200 + SIZE])))
    return tiles


def paint(tiles: list[TileAnalysis], number: int, draw: PatchDraw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    source, other = tiles[number % len(tiles)], tiles[(number + 1) % len(tiles)]
    patch = paint_patch(source, other, source.image, draw)
    return patch.reference, patch.image, patch.label


def draw(tiles: list[TileAnalysis], number: int, settings: SynthesisSettings) -> PatchDraw:
    source, other = tiles[number % len(tiles)], tiles[(number + 1) % len(tiles)]
    return draw_patch(source, other, source.image, settings, np.random.RandomState(SEED + number))


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    tiles = analyses()
    settings = SynthesisSettings(size=SIZE)
    save("preview.jpg", contact_sheet([paint(tiles, n, draw(tiles, n, settings)) for n in range(4)]))

    tile, drawn = tiles[0], draw(tiles, 0, settings)
    material = segment_nuclear_material(tile.image)
    masks = np.zeros((SIZE, SIZE, 3), np.uint8)
    masks[material.super] = (90, 90, 160)
    masks[material.sub] = (240, 200, 90)
    _, image, label = paint(tiles, 0, drawn)
    steps = {"tile": tile.image, "super- and sub-segmentation": masks, "background, inpainted": tile.background}
    steps |= {"random nuclei, with ids": coloured(label), "the patch": image, "outlines": draw_outlines(image, label)}
    save("steps.jpg", row(steps))

    lymphocytes = NucleusClass("lymphocyte", 0.5, diameter_um=(6, 8), roundness=(0.85, 1), darkness=(0.7, 1))
    variants = {
        "jitter 0": SynthesisSettings(mask=MaskSettings(jitter=0, empty=0)),
        "jitter 0.24": SynthesisSettings(mask=MaskSettings(jitter=0.24, empty=0)),
        "max_overlap 0.5": SynthesisSettings(mask=MaskSettings(max_overlap=0.5, empty=0)),
        "half of them lymphocytes": SynthesisSettings(mask=MaskSettings(classes=(lymphocytes,), empty=0)),
        "vesicular": SynthesisSettings(vesicular=1),
        "sharp": SynthesisSettings(edge_gain=(0.4, 0.4), cleared=(0, 0), blur_spots=0),
    }
    phantom = generate_phantom(PhantomSettings(width=1100, height=420, seed=SEED + 3, tissue_share=1.0))
    found = nucleosynth.segment(phantom.image, mpp=0.25)
    save("segmented.jpg", draw_outlines(phantom.image, found.label))

    save("variants.jpg", row({name: paint(tiles, 1, draw(tiles, 1, s))[1] for name, s in variants.items()}))


if __name__ == "__main__":
    main()
