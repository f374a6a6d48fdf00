"""The sections of the demo's report: what each step did, in a few words and pictures."""

from __future__ import annotations

import html
import io
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure as Plot

from nucleosynth.transforms.synthesis import SynthesisSettings, analyze_tile

from ..data.images import read_image, read_label
from ..data.preview import draw_outlines
from ..data.synthesis import SynthesisReport
from ..data.tileset import load_tiles
from ..engines import TrainingReport
from ..metrics import InstanceScores
from ..report import Figure, Section
from ..slides.reader import open_slide
from ..slides.segmentation import SlideReport
from ..slides.tiles import TileReport
from ..tracking import read_curves

__all__ = [
    "INTRODUCTION",
    "NEXT_STEPS",
    "SlideResult",
    "patches_section",
    "segmentation_section",
    "slides_section",
    "tiles_section",
    "training_section",
]

INTRODUCTION = (
    "Segmenting nuclei usually takes thousands of outlines drawn by experts, for each kind of tissue. Here none is "
    "drawn: patches are synthesised from unlabelled tissue, so their outlines are known exactly, and a network learns "
    "from them. This page shows each step on small sample slides that the program has drawn itself; your own slides go "
    "the same way."
)
NEXT_STEPS = [
    (
        "Find the nuclei of your own slides, with the network that is shipped",
        "nucleosynth segment my_slides/ -o nuclei",
    ),
    ("Or train on your own tissue: sample tiles of it", "nucleosynth tiles my_slides/ -o my_tiles"),
    ("train a network, without a label, for an hour", "nucleosynth train my_tiles -o my_model --preset quick"),
    ("and use it", "nucleosynth segment my_slides/ -o my_nuclei --model my_model"),
    (
        "To keep synthetic patches with their masks, for a training of your own",
        "nucleosynth synthesize my_tiles -o my_patches -n 1000",
    ),
]
_CROP = 400


@dataclass(frozen=True, eq=False)
class SlideResult:
    """A slide beside what was found on it.

    Attributes:
        image: uint8, shape (H, W, 3), of all of it.
        truth, found: integers, shape (H, W), instance ids.
        scores, baseline: of what was found, and of Otsu's threshold with a watershed.
    """

    image: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    scores: InstanceScores
    baseline: InstanceScores


def slides_section(slides: list[Path]) -> Section:
    """The sample slides."""
    figures = []
    for path in slides:
        with open_slide(path) as slide:
            (width, height), mpp = slide.dimensions, slide.mpp
            caption = f"{path.name}: {width}×{height} px at {mpp:g} µm/px"
            figures.append(Figure(slide.thumbnail(max(width, height) * mpp / 480), caption))
    return Section(
        "1. Slides",
        "Two sample slides, artificial tissue drawn without any real pixel: one scanned at 40x, one at 20x, stained "
        "differently. With them come the true outlines, which no training ever sees.",
        figures,
    )


def tiles_section(folder: Path, report: TileReport) -> Section:
    """Tiles of them."""
    tile_set = load_tiles(folder, size=1)
    chosen = [tile_set.tiles[i] for i in np.linspace(0, len(tile_set.tiles) - 1, 4).round().astype(int)]
    refused = ", ".join(f"{count} {reason}" for reason, count in report.refused.items()) or "none"
    return Section(
        "2. Tiles",
        f"{report.kept} tiles of tissue were sampled at {tile_set.mpp:g} µm/px, the 20x slide enlarged; glass, blur, "
        f"folds and pen marks are refused (here: {refused}). <code>nucleosynth tiles</code> does this.",
        [Figure(_small(read_image(tile.path)), tile.type) for tile in chosen],
    )


def patches_section(output: Path, report: SynthesisReport) -> Section:
    """Synthetic patches with exact masks, and how one comes about."""
    with (output / "patches" / "manifest.jsonl").open(encoding="utf-8") as manifest:
        tile = json.loads(manifest.readline())["tile"]
    analysis = analyze_tile(read_image(output / "tiles" / tile))
    image = read_image(output / "patches" / "images" / "000000.png")
    label = read_label(output / "patches" / "labels" / "000000.png")
    size = SynthesisSettings().size
    return Section(
        "3. Synthetic patches",
        f"{report.patches} patches of {size}×{size} px with {report.nuclei} nuclei. The nuclei of a tile are found "
        "roughly and painted over with the tissue around them; then random nuclei, as many and as large as the tile "
        "had, are painted in with the colours of its own nuclei and the texture of another tile. Where each nucleus "
        "lies is known to the pixel. <code>nucleosynth synthesize</code> does this.",
        [
            Figure(_small(analysis.image), "a tile"),
            Figure(_small(analysis.background), "its background, nuclei taken out"),
            Figure(_small(image), "a patch synthesised on a part of it"),
            Figure(_small(draw_outlines(image, label)), "its exact outlines"),
            Figure(read_image(output / "patches" / "preview.png"), "real patches beside synthetic ones", wide=True),
        ],
    )


def training_section(folder: Path, report: TrainingReport) -> Section:
    """Refinement, weights and the task network."""
    last = sorted((folder / "diagnostics").glob("*_grid.png"))[-1]
    stem = last.name.removesuffix("_grid.png")
    numbers = json.loads((last.parent / f"{stem}.json").read_text(encoding="utf-8"))
    share = f"{numbers['effective_sample_size']:.0%}"
    scores = [
        f"{name.removeprefix('synthetic_').upper()} {value:.2f}" for name, value in sorted(report.metrics.items())
    ]
    return Section(
        "4. Refinement, weights and training",
        "Three networks learn on such patches. A refiner shades each a little towards a real reference patch of the "
        "same tissue; a discriminator tells refined from real, and its answer weighs the patch: what looks real counts "
        f"more (here the weights leave {share} of the patches in effect); and the network that finds nuclei learns on "
        "the weighted patches. This took minutes only; on synthetic patches of tiles that were held out it reaches "
        f"{' and '.join(scores)}. <code>nucleosynth train</code> does this. MLflow keeps the record of the run: "
        f"<code>{html.escape(report.tracking)}</code>",
        [
            Figure(
                _decoded(last.read_bytes()),
                "held-out patches before and after refinement, the heaviest weight first, with mask and reference",
                wide=True,
            ),
            Figure(
                _decoded((last.parent / f"{stem}_weights.png").read_bytes()),
                "how the weights are spread, and the discriminator's logits that they come from",
                wide=True,
            ),
            Figure(_curves(folder), "losses of discriminator and task network by iteration", wide=True),
        ],
    )


def _decoded(png: bytes) -> np.ndarray:
    """A plot, whose transparency is nowhere used, as uint8, shape (H, W, 3)."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _curves(folder: Path) -> np.ndarray:
    """Loss curves of a training, uint8, shape (H, W, 3)."""
    titles = {"loss/discriminator": "discriminator", "loss/task": "task network"}
    curves = read_curves(folder, list(titles))
    plot = Plot(figsize=(9, 2.8), layout="constrained")
    for axis, (name, title), colour in zip(
        plot.subplots(1, 2), titles.items(), ("tab:orange", "tab:purple"), strict=True
    ):
        axis.plot(*zip(*curves[name], strict=True), color=colour, lw=1.2)
        axis.set(title=title, xlabel="iteration", ylabel="loss")
        axis.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    plot.savefig(file, format="png", dpi=100)
    return _decoded(file.getvalue())


def segmentation_section(report: SlideReport, result: SlideResult) -> Section:
    """Nuclei of a slide that no network has seen, beside the truth."""
    top, left = _busiest(result.truth)
    window = slice(top, top + _CROP), slice(left, left + _CROP)
    image = result.image[window]
    figures = [
        Figure(_small(read_image(report.folder / "overview.png")), "the slide, and how densely nuclei lie"),
        Figure(image, "a part of it"),
        Figure(draw_outlines(image, result.found[window]), "nuclei that were found"),
        Figure(draw_outlines(image, result.truth[window]), "the true ones"),
    ]
    rows = "; ".join(
        f"{name}: AJI {each.aji:.2f}, PQ {each.pq:.2f}, Dice {each.dice:.2f}"
        for name, each in (("the network", result.scores), ("Otsu's threshold and a watershed", result.baseline))
    )
    true = np.count_nonzero(np.unique(result.truth))
    return Section(
        "5. Nuclei of a slide",
        f"A third slide, of which no tile was used: {report.nuclei} nuclei were found where {true} are. Against the "
        f"truth, {rows}. <code>nucleosynth segment</code> does this, and leaves <code>nuclei.geojson</code>, to be "
        "dragged onto the slide in QuPath, and <code>nuclei.parquet</code>, a table.",
        figures,
    )


def _busiest(label: np.ndarray) -> tuple[int, int]:
    """Top and left of the square of the grid with the most nuclear pixels."""
    rows, columns = label.shape[0] // _CROP, label.shape[1] // _CROP
    squares = (label[: rows * _CROP, : columns * _CROP] > 0).reshape(rows, _CROP, columns, _CROP).sum((1, 3))
    row, column = np.unravel_index(squares.argmax(), squares.shape)
    return int(row) * _CROP, int(column) * _CROP


def _small(image: np.ndarray) -> np.ndarray:
    """A picture for the page, at most 400 px wide or high."""
    scale = 400 / max(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
