import sys

import numpy as np
import pydicom
import pytest
from highdicom.ann import annread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage

from nucleosynth.data.images import write_png
from nucleosynth.errors import InputError
from nucleosynth.slides.dicom_annotations import check_dicom_annotations, write_dicom_annotations
from nucleosynth.slides.reader import open_slide

TRIANGLE = np.array([(10.25, 20.5), (14.01, 20.5), (12.0, 24.75)])
SQUARE = np.array([(100, 200), (104, 200), (104, 204), (100, 204)])
STUDY, SERIES = "1.2.3.1", "1.2.3.2"


def item(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def write_level(path, side, number):
    """A level of a slide, ``side`` pixels square, of white frames of 256 x 256."""
    frames = (side // 256) ** 2
    image = item(
        SOPClassUID=VLWholeSlideMicroscopyImageStorage,
        SOPInstanceUID=f"1.2.3.3.{number}",
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=SERIES,
        FrameOfReferenceUID="1.2.3.4",
        InstanceNumber=number,
        Modality="SM",
        PatientID="P 7",
        PatientName="Doe^Jane",
        ContentDate="20240229",
        ContentTime="120000",
        ImageType=[
            "ORIGINAL" if number == 1 else "DERIVED",
            "PRIMARY",
            "VOLUME",
            "NONE" if number == 1 else "RESAMPLED",
        ],
        DimensionOrganizationType="TILED_FULL",
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        NumberOfFrames=frames,
        Rows=256,
        Columns=256,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        TotalPixelMatrixColumns=side,
        TotalPixelMatrixRows=side,
        TotalPixelMatrixFocalPlanes=1,
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0],
        OpticalPathSequence=[item(OpticalPathIdentifier="0")],
        SharedFunctionalGroupsSequence=[
            item(PixelMeasuresSequence=[item(PixelSpacing=[0.0005 * 512 / side] * 2, SliceThickness=0.005)])
        ],
        PixelData=np.full((frames, 256, 256, 3), 255, np.uint8).tobytes(),
    )
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def folder(tmp_path):
    """A DICOM slide of two levels, with another series and something else beside it."""
    folder = tmp_path / "slide"
    folder.mkdir()
    write_level(folder / "b.dcm", 512, 1)
    write_level(folder / "a.dcm", 256, 2)
    (folder / "notes.txt").write_text("of the scanner")
    return folder


def test_polygons_and_areas_come_back_as_they_went(tmp_path, folder, write_nuclei):
    source = write_nuclei(tmp_path / "nuclei.parquet", [[TRIANGLE], [SQUARE, SQUARE + 20.01]])
    with open_slide(folder) as slide:
        assert slide.dimensions == (512, 512)
        write_dicom_annotations(source, slide, tmp_path / "out.dcm")
    annotations = annread(tmp_path / "out.dcm")
    assert annotations.annotation_coordinate_type.value == "2D"
    assert annotations.PixelOriginInterpretation == "VOLUME"
    group = annotations.get_annotation_group(number=1)
    assert (group.label, group.graphic_type.value) == ("nuclei", "POLYGON")
    outlines = group.get_graphic_data("2D")
    for outline, expected in zip(outlines, (TRIANGLE, SQUARE, SQUARE + 20.01), strict=True):
        start = next(k for k in range(len(expected)) if np.allclose(np.roll(expected, -k, 0), outline, atol=1e-3))
        assert np.allclose(np.roll(expected, -start, 0), outline, atol=1e-3)
    (_, values, (unit,)) = group.get_measurements()
    assert values[:, 0].tolist() == [0, 1, 2]  # Of the fixture: areas are 0, 1, 2.
    assert unit.value == "um2"


def test_they_say_what_they_are_of_and_who_made_them(tmp_path, folder, write_nuclei):
    with open_slide(folder / "a.dcm") as slide:
        write_dicom_annotations(write_nuclei(tmp_path / "n.parquet", [[SQUARE]]), slide, tmp_path / "out.dcm")
    annotations = annread(tmp_path / "out.dcm")
    assert annotations.StudyInstanceUID == STUDY
    assert annotations.SeriesInstanceUID != SERIES
    assert (annotations.PatientID, annotations.PatientName) == ("P 7", "Doe^Jane")
    # The file that was given is the second level; level 0 is what the pixels are of.
    assert annotations.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.3.1"
    group = annotations.get_annotation_group(number=1)
    assert group.annotated_property_type.value == "84640000"
    assert group.annotated_property_category.value == "91723000"
    assert group.algorithm_identification.name == "nucleosynth"
    assert group.AnnotationGroupGenerationType == "AUTOMATIC"


def test_the_same_nuclei_make_the_same_file_and_others_another_identity(tmp_path, folder, write_nuclei):
    one, other = (write_nuclei(tmp_path / f"{n}.parquet", [[SQUARE + n]]) for n in range(2))
    with open_slide(folder) as slide:
        for name, source in (("a", one), ("b", one), ("c", other)):
            write_dicom_annotations(source, slide, tmp_path / f"{name}.dcm")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    first, last = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "c.dcm"))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[keyword].value.is_valid
        assert first[keyword].value != last[keyword].value


def test_no_nuclei_make_no_file_and_leave_no_old_one(tmp_path, folder, write_nuclei):
    (tmp_path / "out.dcm").write_bytes(b"of other nuclei")
    with open_slide(folder) as slide:
        write_dicom_annotations(write_nuclei(tmp_path / "n.parquet", []), slide, tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


def test_other_images_are_refused(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.png: no DICOM slide, so it cannot get DICOM annotations; leave out"):
        check_dicom_annotations(tmp_path / "a.png")


def test_a_slide_without_what_annotations_refer_to_is_refused(tmp_path, folder):
    image = pydicom.dcmread(folder / "b.dcm")
    del image.FrameOfReferenceUID
    image.save_as(folder / "b.dcm")
    with pytest.raises(InputError, match=r"slide: not fit for DICOM annotations \(.*FrameOfReferenceUID"):
        check_dicom_annotations(folder)


@pytest.mark.parametrize("missing", ["highdicom.ann", "pydicom"])
def test_without_the_packages_it_is_said_how_to_get_them(folder, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    package = missing.partition(".")[0]
    with pytest.raises(InputError, match=rf"--formats dicom: {package} is not installed; pip install 'nucleosynth\["):
        check_dicom_annotations(folder)


def test_a_converted_slide_without_patient_gets_annotations(tmp_path, shared_data, write_nuclei):
    folder = shared_data / "slides" / "CMU-1-Small-Region_dicom"
    check_dicom_annotations(folder)
    with open_slide(folder) as slide:
        write_dicom_annotations(write_nuclei(tmp_path / "n.parquet", [[SQUARE]]), slide, tmp_path / "out.dcm")
    annotations = annread(tmp_path / "out.dcm")
    image = pydicom.dcmread(folder / "level-0-frames-0-30.dcm", stop_before_pixels=True)
    assert annotations.ReferencedImageSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert annotations.PatientID == ""
    assert len(annotations.get_annotation_group(number=1).get_graphic_data("2D")) == 1
