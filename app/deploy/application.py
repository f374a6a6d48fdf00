"""The application's operators, and what flows between them."""

from __future__ import annotations

import sys
from pathlib import Path

from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, RuntimeEnv

from ..slides.model import find_bundle
from ..slides.segmentation import SlideReport
from ..slides.settings import SegmentSettings
from .operators import SLIDES, DicomAnnotationsWriterOperator, SlideSegmentationOperator, SummaryWriterOperator

__all__ = ["NucleiApplication", "chosen_paths"]


class NucleiApplication(Application):
    """Nuclei of slides: segmented, written as DICOM annotations where the slides are DICOM, and counted per mm².

    Args:
        source: a slide, an image, a folder of them, or a folder that is one DICOM slide.
        output: folder for the results.
        model: as of :func:`~nucleosynth.slides.model.find_bundle`, or a folder that holds nothing but such a bundle,
            under any name, as MONAI Deploy lays models out.
        settings: how slides are read.

    Attributes:
        reports: what became of each slide, once the application has run.
    """

    def __init__(self, source: Path, output: Path, model: str, settings: SegmentSettings) -> None:
        self.source, self.output, self.settings = source, output, settings
        self.bundle = _only_model(model)
        self.reports: list[SlideReport] = []
        # Holoscan would look for options of its own among those of the process.
        super().__init__([sys.executable, "nucleosynth.deploy"])

    def compose(self) -> None:
        """Say what runs after what; called by ``run``, which raises what an operator has raised."""
        segmentation = SlideSegmentationOperator(
            self,
            CountCondition(self, 1),
            source=self.source,
            output=self.output,
            bundle=self.bundle,
            settings=self.settings,
            name="segmentation",
        )
        annotations = DicomAnnotationsWriterOperator(self, settings=self.settings, name="dicom_annotations_writer")
        summary = SummaryWriterOperator(
            self, output=self.output, settings=self.settings, reports=self.reports, name="summary_writer"
        )
        self.add_flow(segmentation, annotations, {(SLIDES, SLIDES)})
        self.add_flow(annotations, summary, {(SLIDES, SLIDES)})


def chosen_paths(source: str | None, output: str | None, model: str | None) -> tuple[str, str, str]:
    """The paths to work with: those that are given, else those of the environment, else the usual ones.

    Returns:
        Of the input, of the output and of the model, by default ``input``, ``output`` and the bundle that is shipped.
    """
    given = {"input": source, "output": output, "model": model}
    environment = RuntimeEnv({"model": ("HOLOSCAN_MODEL_PATH", str(find_bundle()))})
    context = AppContext({name: path for name, path in given.items() if path}, environment)
    return context.input_path, context.output_path, context.model_path


def _only_model(model: str) -> str:
    """The folder in a folder that holds nothing else; else what was given."""
    inside = list(Path(model).iterdir()) if Path(model).is_dir() else []
    return str(inside[0]) if len(inside) == 1 and inside[0].is_dir() else model
