"""The application as its user runs it, in Holoscan's own executor."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
import shapely
import tifffile
from highdicom.ann import annread

from nucleosynth import cli
from nucleosynth.bundles import bundle_path
from nucleosynth.data.images import write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.deploy.command import main

resource = pytest.importorskip("resource", reason="Holoscan is for Linux")

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = importlib.util.find_spec("holoscan") is not None
FILES = ("nuclei.parquet", "nuclei.geojson", "overview.png", "nuclei_annotations.dcm")

pytestmark = pytest.mark.deploy
needs_extra = pytest.mark.skipif(not INSTALLED, reason="needs the extra deploy")


def run(*arguments, **environment):
    """The application as its users start it: with the usual stack, and no path to CUDA's libraries."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HOLOSCAN_", "LD_LIBRARY"))}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=clean | environment)


@pytest.fixture(scope="module")
def dicom(shared_data):
    return shared_data / "slides" / "CMU-1-Small-Region_dicom"


@pytest.fixture(scope="module")
def output(dicom, tmp_path_factory):
    """What the application makes of a DICOM slide."""
    output = tmp_path_factory.mktemp("deployed")
    result = run(ROOT / "app" / "deploy", "-i", dicom, "-o", output, "-m", bundle_path("nuclei_segmentation"))
    assert result.returncode == 0, result.stderr
    nuclei = json.loads((output / dicom.name / "run.json").read_text())["nuclei"]
    assert result.stdout == f"{nuclei} nuclei: {output / dicom.name}\n"
    assert result.stderr == ""
    return output


@pytest.mark.slow
@needs_extra
def test_a_dicom_slide_gets_what_the_command_makes_of_it(output, dicom, tmp_path):
    assert cli.main(["segment", str(dicom), "-o", str(tmp_path), "--formats", "dicom"]) == 0
    for name in FILES:
        assert (output / dicom.name / name).read_bytes() == (tmp_path / dicom.name / name).read_bytes(), name
    ours, theirs = (json.loads((each / dicom.name / "run.json").read_text()) for each in (output, tmp_path))
    for name in ("settings", "inputs", "nuclei", "formats", "area_mm2"):
        assert ours[name] == theirs[name]


@pytest.mark.slow
@needs_extra
def test_its_annotations_are_the_nuclei_and_refer_to_the_slide(output, dicom):
    annotations = annread(output / dicom.name / "nuclei_annotations.dcm")
    level_0 = pydicom.dcmread(dicom / "level-0-frames-0-30.dcm", stop_before_pixels=True)
    assert annotations.StudyInstanceUID == level_0.StudyInstanceUID
    assert annotations.ReferencedImageSequence[0].ReferencedSOPInstanceUID == level_0.SOPInstanceUID
    table = pq.read_table(output / dicom.name / "nuclei.parquet")
    nuclei = shapely.from_wkb(table["geometry"].to_numpy())
    assert len(nuclei) > 1000
    (group,) = annotations.get_annotation_groups()
    drawn = shapely.polygons([shapely.linearrings(outline) for outline in group.get_graphic_data("2D")])
    assert len(drawn) == len(nuclei)
    assert shapely.hausdorff_distance(drawn, nuclei).max() < 0.01
    (_, areas, _) = group.get_measurements()
    assert np.allclose(areas[:, 0], table["area_um2"].to_numpy())


@pytest.mark.slow
@needs_extra
def test_the_summary_counts_per_mm2_of_tissue(output, dicom):
    summary = json.loads((output / "summary.json").read_text())
    (slide,) = summary["slides"]
    record = json.loads((output / dicom.name / "run.json").read_text())
    assert slide["nuclei"] == summary["nuclei"] == record["nuclei"]
    assert 0 < slide["tissue_mm2"] < record["area_mm2"]  # Tiles have glass around the tissue.
    assert slide["nuclei_per_mm2"] == pytest.approx(slide["nuclei"] / slide["tissue_mm2"], abs=0.05)
    assert set(slide["files"]) == {*FILES, "run.json"}


@pytest.mark.slow
@needs_extra
def test_images_are_taken_by_the_environment_and_a_finished_run_is_not_done_again(tmp_path, rng):
    images, output = tmp_path / "images", tmp_path / "out"
    for name in ("a", "b"):
        write_png(images / f"{name}.png", rng.integers(0, 256, (96, 96, 3), np.uint8))
    # As MONAI Deploy lays a model out, under a name that only its user knows.
    shutil.copytree(bundle_path("nuclei_segmentation"), tmp_path / "models" / "mine")
    container = {
        "HOLOSCAN_INPUT_PATH": str(images),
        "HOLOSCAN_OUTPUT_PATH": str(output),
        "HOLOSCAN_MODEL_PATH": str(tmp_path / "models"),
    }
    first = run("-m", "nucleosynth.deploy", "--mpp", "0.25", **container)
    assert first.returncode == 0, first.stderr
    records = {path: path.read_bytes() for path in output.glob("*/run.json")}
    assert len(records) == 2
    assert {path.name for path in output.glob("*/*.dcm")} == set()
    assert [each["name"] for each in json.loads((output / "summary.json").read_text())["slides"]] == ["a", "b"]
    again = run("-m", "nucleosynth.deploy", "--mpp", "0.25", **container)
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")
    assert {path: path.read_bytes() for path in output.glob("*/run.json")} == records


@pytest.mark.slow
@needs_extra
def test_parts_that_cannot_be_read_are_counted_and_end_with_3(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HOLOSCAN_LOG_LEVEL", "OFF")
    phantom = generate_phantom(PhantomSettings(width=600, height=600, seed=3))
    slide = tmp_path / "damaged.tiff"
    with tifffile.TiffWriter(slide) as tiff:
        kind = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}
        tiff.write(phantom.image, resolution=(40000, 40000), resolutionunit="CENTIMETER", **kind)
    with tifffile.TiffFile(slide) as tiff:
        offset, length = tiff.pages[0].dataoffsets[4], tiff.pages[0].databytecounts[4]
    content = bytearray(slide.read_bytes())
    content[offset : offset + length] = bytes(length)
    slide.write_bytes(content)
    assert main(["-i", str(slide), "-o", str(tmp_path / "out")]) == 3
    assert "1 tile could not be read" in capfd.readouterr().err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["slides"][0]["unreadable_tiles"] == 1


def empty(folder):
    folder.mkdir()


def no_dicom(folder):
    folder.mkdir()
    (folder / "report.dcm").write_text("not DICOM")


def cut_slide(path):
    path.with_suffix(".svs").write_bytes(b"II*\0" + bytes(1000))


@needs_extra
@pytest.mark.parametrize("make", [empty, no_dicom, cut_slide])
def test_a_wrong_input_is_the_line_of_the_command(tmp_path, capfd, monkeypatch, make):
    monkeypatch.setenv("HOLOSCAN_LOG_LEVEL", "OFF")
    make(tmp_path / "input")
    (path,) = tmp_path.iterdir()
    assert cli.main(["segment", str(path), "-o", str(tmp_path / "out")]) == 2
    expected = capfd.readouterr()
    assert str(path) in expected.err
    assert main(["-i", str(path), "-o", str(tmp_path / "out")]) == 2
    assert capfd.readouterr() == expected
    assert not (tmp_path / "out").exists()


@needs_extra
def test_a_missing_model_is_the_line_of_the_command(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HOLOSCAN_LOG_LEVEL", "OFF")
    write_png(tmp_path / "a.png", np.zeros((64, 64, 3), np.uint8))
    common = [str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "--mpp", "0.25", "--model", str(tmp_path / "none")]
    assert cli.main(["segment", *common]) == 2
    expected = capfd.readouterr()
    assert str(tmp_path / "none") in expected.err
    assert main(["-i", *common]) == 2
    assert capfd.readouterr() == expected


@needs_extra
def test_a_dicom_slide_that_cannot_be_annotated_is_refused_before_the_work(dicom, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HOLOSCAN_LOG_LEVEL", "OFF")
    slide = tmp_path / "slide"
    slide.mkdir()
    for path in dicom.glob("level-[0-9]-*.dcm"):
        image = pydicom.dcmread(path)
        del image.StudyInstanceUID
        image.save_as(slide / path.name)
    assert main(["-i", str(slide), "-o", str(tmp_path / "out")]) == 2
    assert "not fit for DICOM annotations" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@needs_extra
def test_the_process_gets_the_stack_that_holoscan_wants_and_cuda_from_its_wheel(tmp_path):
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if hard != resource.RLIM_INFINITY and hard < 2**25:
        pytest.skip("needs a limit of the stack that can be raised")
    script = tmp_path / "script.py"
    script.write_text(
        "import resource, sys\n"
        "from nucleosynth.deploy.command import enlarge_stack\n"
        "enlarge_stack()\n"
        "import monai\n"
        "print(resource.getrlimit(resource.RLIMIT_STACK)[0], *sys.argv[1:])\n"
        "print({line.split()[-1] for line in open('/proc/self/maps') if 'libcudart' in line})\n"
    )
    command = f"ulimit -S -s 8192; exec {sys.executable} {script} a 'b c'"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first == f"{2**25} a b c"
    (wheels,) = importlib.util.find_spec("nvidia").submodule_search_locations
    assert wheels in second
    assert second.count("libcudart") == 1


@pytest.mark.skipif(INSTALLED, reason="the extra deploy is installed")
def test_without_the_extra_one_line_says_what_to_install(capfd):
    assert main(["-i", "input"]) == 2
    assert "pip install 'nucleosynth[deploy]'" in capfd.readouterr().err


def test_help_names_the_variables_of_the_container(capsys):
    assert main(["--help"]) == 0
    assert "HOLOSCAN_MODEL_PATH" in capsys.readouterr().out
