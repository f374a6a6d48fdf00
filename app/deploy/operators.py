"""Operators of the application: one segments, and the others write what it found in further ways.

Between them flows the list of what became of each slide (:class:`~nucleosynth.slides.segmentation.SlideReport`); nuclei
stay in files, of which a slide may have millions.
"""

from __future__ import annotations

import json
from pathlib import Path

from monai.deploy.core import (
    Condition,
    ExecutionContext,
    Fragment,
    InputContext,
    Operator,
    OperatorSpec,
    OutputContext,
)

from ..record import RECORD
from ..slides.dicom import is_dicom
from ..slides.formats import add_formats, check_formats
from ..slides.model import load_segmenter
from ..slides.reader import open_slide
from ..slides.segmentation import TABLE, SlideReport, segment_slides
from ..slides.settings import SegmentSettings
from ..slides.sources import find_sources
from ..slides.store import locked
from .summary import summarize, write_summary

__all__ = ["SLIDES", "DicomAnnotationsWriterOperator", "SlideSegmentationOperator", "SummaryWriterOperator"]

SLIDES = "slides"
"""Name of all ports."""

_DICOM = ("dicom",)


class SlideSegmentationOperator(Operator):
    """Segment slides as ``nucleosynth segment`` does: the same files in the same folders, resumable at any tile.

    What the slides are written as in any case, GeoParquet, GeoJSON and an overview, is written here, tile by tile.

    Args:
        fragment: the application.
        conditions: when it runs.
        source: a slide, an image, a folder of them, or a folder that is one DICOM slide.
        output: folder for the results.
        bundle: as of :func:`~nucleosynth.slides.model.find_bundle`.
        settings: how slides are read.
        name: of the operator.
    """

    def __init__(
        self,
        fragment: Fragment,
        *conditions: Condition,
        source: Path,
        output: Path,
        bundle: str,
        settings: SegmentSettings,
        name: str,
    ) -> None:
        self.source, self.output, self.bundle, self.settings = source, output, bundle, settings
        super().__init__(fragment, *conditions, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        """It emits the reports."""
        spec.output(SLIDES)

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Segment all slides.

        Raises:
            InputError: as of :func:`~nucleosynth.slides.segmentation.segment_slides`, or a DICOM slide cannot be
                annotated, or it is no bundle.
            OSError: the output cannot be written.
        """
        segmenter = load_segmenter(self.bundle)
        for each in find_sources([self.source], "image", without=self.output):
            if is_dicom(each.path):
                check_formats(each.path, _DICOM)
        op_output.emit(segment_slides([self.source], self.output, segmenter, self.settings), SLIDES)


class DicomAnnotationsWriterOperator(Operator):
    """Write the nuclei of DICOM slides as DICOM Microscopy Bulk Simple Annotations; other slides are passed over.

    Args:
        fragment: the application.
        settings: how slides are read.
        name: of the operator.
    """

    def __init__(self, fragment: Fragment, settings: SegmentSettings, name: str) -> None:
        self.settings = settings
        super().__init__(fragment, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        """It passes the reports on."""
        spec.input(SLIDES)
        spec.output(SLIDES)

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Write beside each table of a DICOM slide, and record it there.

        Raises:
            InputError: a slide or its record is gone or damaged by now.
            OSError: a file cannot be written.
        """
        reports: list[SlideReport] = op_input.receive(SLIDES)
        for report in filter(lambda report: is_dicom(report.source), reports):
            with locked(report.folder), open_slide(report.source, self.settings.mpp, self.settings.reader) as slide:
                done = json.loads((report.folder / RECORD).read_bytes())
                add_formats(report.folder / TABLE, slide, done, _DICOM)
        op_output.emit(reports, SLIDES)


class SummaryWriterOperator(Operator):
    """Write the numbers of all slides into one file, as the last of all.

    Args:
        fragment: the application.
        output: folder of the file.
        settings: how slides are read.
        reports: gets what became of each slide.
        name: of the operator.
    """

    def __init__(
        self, fragment: Fragment, output: Path, settings: SegmentSettings, reports: list[SlideReport], name: str
    ) -> None:
        self.output, self.settings, self.reports = output, settings, reports
        super().__init__(fragment, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        """It receives the reports."""
        spec.input(SLIDES)

    def compute(self, op_input: InputContext, op_output: OutputContext, context: ExecutionContext) -> None:
        """Count, and write.

        Raises:
            InputError: a slide is gone or damaged by now.
            OSError: the file cannot be written.
        """
        self.reports += op_input.receive(SLIDES)
        write_summary([summarize(report, self.settings) for report in self.reports], self.output)
