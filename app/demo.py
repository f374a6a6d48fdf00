"""The demo: the whole way from slides to patches on sample tissue that the program makes itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from nucleosynth.transforms.synthesis import SynthesisSettings, analyze_tile

from .atomic import write_atomically
from .data.images import read_image, read_label
from .data.phantom import PhantomSettings, generate_phantom, write_phantom
from .data.preview import draw_outlines
from .data.synthesis import SynthesisReport, SynthesisRunSettings, synthesize_patches
from .data.tileset import load_tiles
from .progress import track
from .record import claim_output, finish_output, run_record
from .report import Figure, Section, render_report
from .slides.reader import open_slide
from .slides.settings import TileSettings
from .slides.tiles import TileReport, sample_tiles

__all__ = ["DemoSettings", "run_demo"]

_REPORT = "report.html"
_FOLDERS = ("slides", "tiles", "patches")


@dataclass(frozen=True)
class DemoSettings:
    """What the demo makes.

    Attributes:
        seed: of the sample slides, the choice of tiles and the patches.
        slides: number of sample slides, each stained by another laboratory, so to say.
        slide_size: side of each, in pixels.
        slide_mpp: their scale, µm per pixel; the second is at twice that, as a 20x scan.
        tile_size: side of a tile, in pixels.
        patches: number of patches.
    """

    seed: int = 0
    slides: int = 2
    slide_size: int = 2048
    slide_mpp: float = 0.25
    tile_size: int = 512
    patches: int = 24


def run_demo(output: Path, seed: int = 0) -> Path:
    """Make sample slides, sample tiles of them, synthesise patches, and write a report that explains it.

    Args:
        output: folder for everything; a demo that was interrupted there is continued.
        seed: of everything.

    Returns:
        Path of the report, ``output/report.html``.

    Raises:
        InputError: ``output`` holds something else.
        OSError: ``output`` cannot be written.
    """
    settings = DemoSettings(seed=seed)
    record = run_record("demo", settings, [])
    claim_output(output, record, (*_FOLDERS, _REPORT))
    slides = _make_slides(output / "slides", settings)
    tiles = sample_tiles(slides, output / "tiles", TileSettings(size=settings.tile_size, per_slide=8, seed=seed))
    run = SynthesisRunSettings(count=settings.patches, seed=seed)
    patches = synthesize_patches(output / "tiles", output / "patches", run)
    sections = [_slides_section(slides), _tiles_section(output, tiles), _synthesis_section(output, patches)]
    html = render_report("nucleosynth: what happened in the demo", _INTRODUCTION, sections, _next_steps())
    write_atomically(output / _REPORT, html.encode())
    finish_output(output, {**record, "tiles": tiles.kept, "patches": patches.patches, "nuclei": patches.nuclei})
    return output / _REPORT


_INTRODUCTION = (
    "Segmenting nuclei usually takes thousands of outlines drawn by experts, for each kind of tissue. Here none is "
    "drawn: patches are synthesised from unlabelled tissue, so their outlines are known exactly. This page shows each "
    "step on small sample slides that the program has drawn itself; your own slides go the same way."
)


def _make_slides(folder: Path, settings: DemoSettings) -> list[Path]:
    """Sample slides; every second one at half the scale, as 20x scans are. Those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in track(range(settings.slides), "Drawing slides"):
        factor = 1 + number % 2
        name = f"sample_{40 // factor}x"
        path = folder / f"{name}.tiff"
        if not path.exists() or not (folder / f"{name}_labels.png").exists():
            phantom = generate_phantom(
                PhantomSettings(
                    width=settings.slide_size // factor,
                    height=settings.slide_size // factor,
                    mpp=settings.slide_mpp * factor,
                    seed=settings.seed * settings.slides + number,
                )
            )
            path, _ = write_phantom(phantom, folder, name)
        paths.append(path)
    return paths


def _slides_section(slides: list[Path]) -> Section:
    figures = []
    for path in slides:
        with open_slide(path) as slide:
            (width, height), mpp = slide.dimensions, slide.mpp
            caption = f"{path.name}: {width}×{height} px at {mpp:g} µm/px"
            figures.append(Figure(slide.thumbnail(max(width, height) * mpp / 480), caption))
    return Section(
        "1. Slides",
        "Two sample slides, artificial tissue drawn without any real pixel: one scanned at 40x, one at 20x, stained "
        "differently. With them come the true outlines, which nothing below ever sees.",
        figures,
    )


def _tiles_section(output: Path, report: TileReport) -> Section:
    tile_set = load_tiles(output / "tiles", size=1)
    chosen = [tile_set.tiles[i] for i in np.linspace(0, len(tile_set.tiles) - 1, 4).round().astype(int)]
    refused = ", ".join(f"{count} {reason}" for reason, count in report.refused.items()) or "none"
    return Section(
        "2. Tiles",
        f"{report.kept} tiles of tissue were sampled at {tile_set.mpp:g} µm/px, the 20x slide enlarged; glass, blur, "
        f"folds and pen marks are refused (here: {refused}). <code>nucleosynth tiles</code> does this.",
        [Figure(_small(read_image(tile.path)), tile.type) for tile in chosen],
    )


def _synthesis_section(output: Path, report: SynthesisReport) -> Section:
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


def _small(image: np.ndarray) -> np.ndarray:
    """A picture for the page, at most 400 px wide or high."""
    scale = 400 / max(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _next_steps() -> list[tuple[str, str]]:
    return [
        ("Sample tiles of your own slides", "nucleosynth tiles my_slides/ -o my_tiles"),
        ("Synthesise patches with exact masks from them", "nucleosynth synthesize my_tiles -o my_patches -n 1000"),
        ("Look at what came out", "my_patches/preview.png"),
        ("Train a segmentation network, without a label", "nucleosynth train my_tiles -o my_model --preset quick"),
        ("Find the nuclei of whole slides", "nucleosynth segment my_slides/ -o my_nuclei --model my_model"),
    ]
