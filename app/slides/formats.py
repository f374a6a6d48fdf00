"""What a slide's nuclei are written as on request (``--formats``), beside what every slide gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..record import RECORD, write_record
from .anndata_table import check_anndata, write_anndata
from .dicom_annotations import check_dicom_annotations, write_dicom_annotations
from .label_image import write_label_image
from .reader import SlideReader
from .settings import FORMATS, chosen_formats

__all__ = ["WRITERS", "FormatWriter", "add_formats", "check_formats", "formats_there", "write_formats"]


@dataclass(frozen=True)
class FormatWriter:
    """How a format is written.

    Attributes:
        file: its name in the folder of the slide.
        write: from ``nuclei.parquet``, of the slide, to the path of the file.
        check: of the slide's path; raises :class:`~nucleosynth.errors.InputError` if it cannot be written. None where
            nothing can be in the way.
    """

    file: str
    write: Callable[[Path, SlideReader, Path], None]
    check: Callable[[Path], None] | None = None


WRITERS = {
    "ome-tiff": FormatWriter("nuclei.ome.tiff", write_label_image),
    "dicom": FormatWriter("nuclei_annotations.dcm", write_dicom_annotations, check_dicom_annotations),
    "anndata": FormatWriter("nuclei.h5ad", write_anndata, check_anndata),
}
"""By their names, which are those of :data:`nucleosynth.slides.settings.FORMATS`."""


def check_formats(path: Path, names: Sequence[str]) -> None:
    """Find out before the work whether a slide can be written in some formats.

    Raises:
        InputError: it cannot, or a package of the extra ``formats`` is missing.
    """
    for name in names:
        check = WRITERS[name].check
        if check is not None:
            check(path)


def formats_there(folder: Path) -> tuple[str, ...]:
    """The formats that the folder of a slide has files of."""
    return tuple(name for name in FORMATS if (folder / WRITERS[name].file).exists())


def write_formats(source: Path, slide: SlideReader, names: Sequence[str]) -> None:
    """Write nuclei in some formats, each beside the table that they come from, whole or not at all.

    Args:
        source: ``nuclei.parquet``.
        slide: that the nuclei are of.
        names: of ``WRITERS``.

    Raises:
        InputError: as of :func:`check_formats`.
        OSError: a file cannot be written.
    """
    for name in names:
        WRITERS[name].write(source, slide, source.with_name(WRITERS[name].file))


def add_formats(source: Path, slide: SlideReader, done: dict[str, Any], names: Sequence[str]) -> None:
    """Write formats that a finished output lacks, and record each as soon as it is there.

    Args:
        source: ``nuclei.parquet``; the caller has locked its folder.
        slide: that the nuclei are of.
        done: what ``run.json`` beside it says.
        names: of ``WRITERS``.

    Raises:
        InputError: as of :func:`check_formats`.
        OSError: a file cannot be written.
    """
    folder = source.parent
    there = set(done.get("formats", ())) & set(formats_there(folder))
    for name in names:
        if name not in there:
            write_formats(source, slide, [name])
            there |= {name} & set(formats_there(folder))
            write_record(folder / RECORD, {**done, "formats": chosen_formats(there)})
