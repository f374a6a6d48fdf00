"""The demo: from sample slides to nuclei, each step by the function behind its command."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ..atomic import write_atomically
from ..data.images import read_label
from ..data.phantom import PhantomSettings, generate_phantom, write_phantom
from ..data.synthesis import SynthesisReport, SynthesisRunSettings, synthesize_patches
from ..engines import TrainingReport, TrainingSettings, train_networks
from ..metrics import score_instances
from ..postprocess.otsu import otsu_nuclei
from ..progress import track
from ..record import claim_output, finish_output, run_record
from ..report import render_report
from ..slides.evaluation import read_prediction
from ..slides.model import load_segmenter
from ..slides.reader import open_slide
from ..slides.segmentation import SlideReport, segment_slides
from ..slides.settings import SegmentSettings, TileSettings
from ..slides.tiles import TileReport, sample_tiles
from .sections import (
    INTRODUCTION,
    NEXT_STEPS,
    SlideResult,
    patches_section,
    segmentation_section,
    slides_section,
    tiles_section,
    training_section,
)

__all__ = ["DemoSettings", "run_demo"]

_REPORT = "report.html"
_FOLDERS = ("slides", "tiles", "patches", "model", "nuclei")
_UNSEEN = "unseen_40x"


@dataclass(frozen=True)
class DemoSettings:
    """What the demo makes.

    Attributes:
        seed: of the sample slides, the choice of tiles, the patches and the training.
        slides: number of sample slides, each stained by another laboratory, so to say.
        slide_size: side of each, in pixels.
        slide_mpp: their scale, µm per pixel; the second is at twice that, as a 20x scan.
        tile_size: side of a tile, in pixels.
        patches: number of patches.
        overlays: of the training, laid over its preset ``quick``.
    """

    seed: int = 0
    slides: int = 2
    slide_size: int = 2048
    slide_mpp: float = 0.25
    tile_size: int = 512
    patches: int = 24
    overlays: tuple[str, ...] = ("demo",)


@dataclass(frozen=True)
class _Steps:
    """What each step has left."""

    slides: list[Path]
    tiles: TileReport
    patches: SynthesisReport
    training: TrainingReport
    nuclei: SlideReport
    result: SlideResult


def run_demo(output: Path, settings: DemoSettings | None = None) -> Path:
    """Make sample slides, train on their tiles without a label, segment another slide, and report what happened.

    Args:
        output: folder for everything; a demo that was interrupted there is continued.
        settings: None takes the usual ones.

    Returns:
        Path of the report, ``output/report.html``.

    Raises:
        InputError: ``output`` holds something else.
        OSError: ``output`` cannot be written.
    """
    settings = settings or DemoSettings()
    record = run_record("demo", settings, [])
    claim_output(output, record, (*_FOLDERS, _REPORT))
    done = _run_steps(output, settings)
    sections = [
        slides_section(done.slides),
        tiles_section(output / "tiles", done.tiles),
        patches_section(output, done.patches),
        training_section(output / "model", done.training),
        segmentation_section(done.nuclei, done.result),
    ]
    html = render_report("nucleosynth: what happened in the demo", INTRODUCTION, sections, NEXT_STEPS)
    write_atomically(output / _REPORT, html.encode())
    results = {
        "tiles": done.tiles.kept,
        "patches": done.patches.patches,
        "nuclei": done.nuclei.nuclei,
        "scores": asdict(done.result.scores),
        "otsu_scores": asdict(done.result.baseline),
    }
    finish_output(output, {**record, **results})
    return output / _REPORT


def _run_steps(output: Path, settings: DemoSettings) -> _Steps:
    """What a user would do, one command after the other; what is done already takes no time."""
    *slides, unseen = _make_slides(output / "slides", settings)
    tiles = sample_tiles(
        slides, output / "tiles", TileSettings(size=settings.tile_size, per_slide=8, seed=settings.seed)
    )
    run = SynthesisRunSettings(count=settings.patches, seed=settings.seed)
    patches = synthesize_patches(output / "tiles", output / "patches", run)
    training = train_networks(
        output / "tiles", output / "model", TrainingSettings("quick", settings.overlays, settings.seed)
    )
    segmenter = load_segmenter(output / "model")
    (nuclei,) = segment_slides([unseen], output / "nuclei", segmenter, SegmentSettings())
    return _Steps(slides, tiles, patches, training, nuclei, _compare(unseen, nuclei))


def _make_slides(folder: Path, settings: DemoSettings) -> list[Path]:
    """Sample slides, every second one at half the scale, as 20x scans are, and at last the one to be segmented.

    Those that are there are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    factors = [1 + number % 2 for number in range(settings.slides)]
    names = [f"sample_{40 // factor}x" for factor in factors] + [_UNSEEN]
    paths = []
    for number, (name, factor) in enumerate(track(list(zip(names, [*factors, 1], strict=True)), "Drawing slides")):
        path = folder / f"{name}.tiff"
        if not path.exists() or not _labels(path).exists():
            phantom = generate_phantom(
                PhantomSettings(
                    width=settings.slide_size // factor,
                    height=settings.slide_size // factor,
                    mpp=settings.slide_mpp * factor,
                    seed=settings.seed * len(names) + number,
                )
            )
            path, _ = write_phantom(phantom, folder, name)
        paths.append(path)
    return paths


def _labels(slide: Path) -> Path:
    return slide.with_name(f"{slide.stem}_labels.png")


def _compare(slide: Path, report: SlideReport) -> SlideResult:
    """What was found on a slide, and by Otsu's threshold with a watershed, against the truth."""
    truth = read_label(_labels(slide))
    height, width = truth.shape
    with open_slide(slide) as reader:
        image, mpp = reader.read_region((0, 0), 0, (width, height)), reader.mpp
    found = read_prediction(report.folder.parent, Path(report.name), truth.shape).label
    baseline = score_instances(truth, otsu_nuclei(image, mpp))
    return SlideResult(image, truth, found, score_instances(truth, found), baseline)
