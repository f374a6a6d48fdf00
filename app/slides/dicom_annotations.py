"""A slide's nuclei as DICOM Microscopy Bulk Simple Annotations, which image archives keep beside a DICOM slide."""

from __future__ import annotations

import hashlib
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openslide

from .. import __version__
from ..atomic import replace_atomically
from ..errors import InputError
from .dicom import dicom_slide
from .exports import read_parts
from .extras import optional_module
from .reader import SlideReader
from .table import outline_vertices

__all__ = ["check_dicom_annotations", "write_dicom_annotations"]

_FORMAT = "dicom"
_SERIES_NUMBER = 1000  # Scanners and converters count from 1.
# What the standard wants in every file, if only empty, and converters for research leave out.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


def check_dicom_annotations(path: Path) -> None:
    """Find out before the work whether :func:`write_dicom_annotations` can write.

    Args:
        path: of the slide, as it is opened.

    Raises:
        InputError: it is no DICOM slide, or lacks what annotations must refer to; or highdicom is not installed.
    """
    corner = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    _annotations(path, [corner], np.ones(1, np.float32))


def write_dicom_annotations(source: Path, slide: SlideReader, path: Path) -> None:
    """Write nuclei as polygons in pixels of the slide's level 0, with their areas; all are in memory at once.

    The file belongs to the slide's study, in a series of its own, and refers to its largest image. Its identifiers
    come from those of that image and from the nuclei, and its dates from that image: the same nuclei make the same
    file. Where there are none no file is written, because the standard knows no empty one.

    Args:
        source: ``nuclei.parquet``.
        slide: that the nuclei are of.
        path: of the file.

    Raises:
        InputError: as of :func:`check_dicom_annotations`.
        OSError: the file cannot be written.
    """
    outlines: list[np.ndarray] = []
    areas = [np.empty(0, np.float32)]
    for part in read_parts(source):
        vertices, offsets = outline_vertices(part)
        # The standard closes polygons itself; as float32, coordinates are exact to 1/100 of a pixel.
        ends = zip(offsets[:-1].tolist(), (offsets[1:] - 1).tolist(), strict=True)
        single = vertices.astype(np.float32)
        outlines += [single[begin:end] for begin, end in ends]
        areas.append(part["area_um2"].to_numpy())
    if not outlines:
        path.unlink(missing_ok=True)
        return
    annotations = _annotations(slide.path, outlines, np.concatenate(areas))
    with replace_atomically(path) as partial:
        annotations.save_as(partial)


def _annotations(path: Path, outlines: Sequence[np.ndarray], areas: np.ndarray) -> Any:
    """The file of some nuclei; outlines are float32, shape (V, 2), not closed, areas are in µm²."""
    ann = optional_module("highdicom.ann", _FORMAT)
    image = _largest_image(path)
    digest = hashlib.sha256(areas.tobytes())
    for outline in outlines:
        digest.update(outline.tobytes())
    try:
        content = f"{image.SOPInstanceUID} {digest.hexdigest()} {__version__}"
        # Annotations count pixels as displayed areas do: (0, 0) is the upper left corner of the first.
        annotations = ann.MicroscopyBulkSimpleAnnotations(
            source_images=[image],
            annotation_coordinate_type=ann.AnnotationCoordinateTypeValues.SCOORD,
            annotation_groups=[_group(ann, outlines, areas, _identifier(f"group {content}"))],
            series_instance_uid=_identifier(f"series {content}"),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=_identifier(f"instance {content}"),
            instance_number=1,
            manufacturer="nucleosynth",
            manufacturer_model_name="nucleosynth",
            software_versions=__version__,
            device_serial_number="none",
            content_label="NUCLEI",
            content_description="Outlines of nuclei",
            series_description="Nuclei",
            content_date=image.get("ContentDate"),
            content_time=image.get("ContentTime"),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not fit for DICOM annotations ({error}); leave out --formats {_FORMAT}") from error
    _drop_times(annotations)
    return annotations


def _group(ann: Any, outlines: Sequence[np.ndarray], areas: np.ndarray, identifier: str) -> Any:
    """All nuclei as one group, in the terms of SNOMED CT."""
    code, content = optional_module("pydicom.sr.coding", _FORMAT).Code, optional_module("highdicom.content", _FORMAT)
    area = ann.Measurements(
        name=code("42798000", "SCT", "Area"), values=areas, unit=code("um2", "UCUM", "square micrometer")
    )
    algorithm = content.AlgorithmIdentificationSequence(
        name="nucleosynth", family=code("123109", "DCM", "Artificial Intelligence"), version=__version__
    )
    return ann.AnnotationGroup(
        number=1,
        uid=identifier,
        label="nuclei",
        annotated_property_category=code("91723000", "SCT", "Anatomical structure"),
        annotated_property_type=code("84640000", "SCT", "Nucleus"),
        graphic_type=ann.GraphicTypeValues.POLYGON,
        graphic_data=outlines,
        algorithm_type=ann.AnnotationGroupGenerationTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        measurements=[area],
    )


def _drop_times(annotations: Any) -> None:
    """Take out when the file was made, which nothing requires, so that a repeated run makes the same."""
    for item in (annotations, *annotations.ContributingEquipmentSequence):
        for keyword in ("InstanceCreationDate", "InstanceCreationTime", "ContributionDateTime"):
            if keyword in item:
                delattr(item, keyword)


def _identifier(name: str) -> str:
    """A UID derived from a name, as the standard makes them of UUIDs."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'nucleosynth {name}').int}"


def _largest_image(path: Path) -> Any:
    """What a DICOM slide says of its level 0: the dataset, without pixels.

    Raises:
        InputError: it is no DICOM slide, or pydicom is not installed.
    """
    dcmread = optional_module("pydicom", _FORMAT).dcmread
    invalid = optional_module("pydicom.errors", _FORMAT).InvalidDicomError
    file = dicom_slide(path) if path.is_dir() else path
    if file is None or openslide.OpenSlide.detect_format(file) != "dicom":
        raise InputError(f"{path}: no DICOM slide, so it cannot get DICOM annotations; leave out --formats {_FORMAT}")
    with warnings.catch_warnings():
        # Identifiers that break the rules are common, and cited as they are.
        warnings.simplefilter("ignore", UserWarning)
        series = dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID
        largest = max(_images_of(file.parent, series, dcmread, invalid), default=(0, str(file)))[1]
        image = dcmread(largest, stop_before_pixels=True)
        for keyword in _MAY_BE_EMPTY:
            if keyword not in image:
                setattr(image, keyword, "")
    return image


def _images_of(folder: Path, series: str, dcmread: Any, invalid: type[Exception]) -> Iterator[tuple[int, str]]:
    """Width and name of each image of the slide's own pyramid, which lies in one folder."""
    tags = ["SeriesInstanceUID", "ImageType", "TotalPixelMatrixColumns"]
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        try:
            image = dcmread(file, stop_before_pixels=True, specific_tags=tags)
        except (invalid, OSError):
            continue
        if image.get("SeriesInstanceUID") == series and "VOLUME" in image.get("ImageType", ()):
            yield int(image.TotalPixelMatrixColumns), str(file)
