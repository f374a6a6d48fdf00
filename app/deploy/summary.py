"""How many nuclei slides have, in all and per mm² of tissue: a small file for whatever reads no tables."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import __version__
from ..atomic import write_atomically
from ..slides.reader import open_slide
from ..slides.segmentation import SlideReport
from ..slides.settings import SegmentSettings
from ..slides.tissue import outline_tissue

__all__ = ["SUMMARY", "SlideSummary", "density", "summarize", "write_summary"]

SUMMARY = "summary.json"


@dataclass(frozen=True)
class SlideSummary:
    """Numbers of a slide.

    Attributes:
        name: of its folder in the output.
        source: the file, or the folder of a DICOM slide.
        nuclei: their number.
        tissue_mm2: area of its tissue, seen from afar (8 µm/px).
        nuclei_per_mm2: of tissue; None where there is none.
        unreadable_tiles: parts that could not be read, and whose nuclei are missing.
        files: what is in its folder.
    """

    name: str
    source: str
    nuclei: int
    tissue_mm2: float
    nuclei_per_mm2: float | None
    unreadable_tiles: int
    files: list[str]


def density(nuclei: int, tissue_mm2: float) -> float | None:
    """Nuclei per mm², to one digit after the point; None where there is no tissue."""
    return round(nuclei / tissue_mm2, 1) if tissue_mm2 > 0 else None


def summarize(report: SlideReport, settings: SegmentSettings) -> SlideSummary:
    """Numbers of a slide that has been segmented.

    Args:
        report: what became of it.
        settings: how it was read.

    Raises:
        InputError: it cannot be read.
    """
    with open_slide(report.source, settings.mpp, settings.reader) as slide:
        width, height = slide.dimensions
        share = float(outline_tissue(slide).mask.mean())
        tissue = round(share * width * height * slide.mpp**2 / 1e6, 4)
    files = sorted(path.name for path in report.folder.iterdir() if not path.name.startswith("."))
    per_mm2 = density(report.nuclei, tissue)
    source = os.fspath(report.source)
    return SlideSummary(report.name, source, report.nuclei, tissue, per_mm2, len(report.failed), files)


def write_summary(slides: Sequence[SlideSummary], folder: Path) -> None:
    """Write ``summary.json``: each slide, and all together, in plain JSON.

    Raises:
        OSError: it cannot be written.
    """
    nuclei, tissue = sum(each.nuclei for each in slides), round(sum(each.tissue_mm2 for each in slides), 4)
    content = {
        "nucleosynth": __version__,
        "nuclei": nuclei,
        "tissue_mm2": tissue,
        "nuclei_per_mm2": density(nuclei, tissue),
        "slides": [asdict(each) for each in slides],
    }
    write_atomically(folder / SUMMARY, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
