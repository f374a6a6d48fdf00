"""``nucleosynth segment`` as its user runs it."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from nucleosynth import cli
from nucleosynth.data.images import write_png

try:
    import resource
except ImportError:  # Windows
    resource = None

FILES = ("nuclei.parquet", "nuclei.geojson", "overview.png")


def command(*arguments):
    return [sys.executable, "-m", "nucleosynth", "segment", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(slide, bundle, tmp_path_factory):
    """The slide's folder after a run that nothing interrupted."""
    output = tmp_path_factory.mktemp("whole")
    result = run(slide, "-o", output, "--model", bundle)
    assert result.returncode == 0, result.stderr
    nuclei = json.loads((output / "phantom" / "run.json").read_text())["nuclei"]
    assert result.stdout == f"{nuclei} nuclei: {output / 'phantom'}\n"
    assert result.stderr == ""
    return output / "phantom"


def test_the_folder_of_a_slide_holds_what_is_promised(whole):
    assert {path.name for path in whole.iterdir()} == {*FILES, "run.json", ".lock"}
    record = json.loads((whole / "run.json").read_text())
    assert record["command"] == "segment"
    assert record["versions"]["torch"]
    assert set(record["seconds"]) == {"read", "normalize", "predict", "outline", "export", "total"}


def test_turns_are_recorded_and_those_of_another_run_do_not_mix(whole, slide, bundle, tmp_path):
    assert json.loads((whole / "run.json").read_text())["settings"]["turns"] == 2
    output = shutil.copytree(whole, tmp_path / "phantom").parent
    refused = run(slide, "-o", output, "--model", bundle, "--turns", 1)
    assert refused.returncode == 2
    assert "turns was 2, now 1" in refused.stderr
    wrong = run(slide, "-o", output, "--model", bundle, "--turns", 3)
    assert wrong.returncode == 2
    assert wrong.stderr == "nucleosynth: error: --turns must be one of 1, 2, 4, got 3\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    ["unfinished.json", "parts/000000.parquet", "parts/000007.parquet", "nuclei.parquet", "nuclei.geojson", "run.json"],
)
def test_a_killed_run_continues_and_ends_with_the_same_bytes(whole, slide, bundle, tmp_path, moment, run_until_killed):
    folder = tmp_path / "phantom"
    arguments = ["segment", slide, "-o", tmp_path, "--model", bundle]
    run_until_killed(arguments, moment)
    assert not (folder / moment).exists()
    result = run(slide, "-o", tmp_path, "--model", bundle)
    assert result.returncode == 0, result.stderr
    assert contents(folder) == contents(whole)
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.slow
@pytest.mark.skipif(resource is None, reason="needs limits of the size of files")
@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_a_full_disk_is_one_line_and_nothing_is_lost_or_half_written(whole, slide, bundle, tmp_path, limit):
    """A limit of the size of files stands for the disk: it is full at the first part, or at an export."""
    full = subprocess.run(
        command(slide, "-o", tmp_path, "--model", bundle),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    folder = tmp_path / "phantom"
    assert full.returncode == 2, full.stderr
    assert full.stderr.startswith(f"nucleosynth: error: {folder}")
    assert full.stderr.count("\n") == 1
    assert not (folder / "run.json").exists()
    parts = {path: path.read_bytes() for path in (folder / "parts").glob("[0-9]*")}
    for name, content in contents(whole).items():
        assert not (folder / name).exists() or (folder / name).read_bytes() == content
    assert all(pq.read_schema(path) is not None for path in parts)
    assert run(slide, "-o", tmp_path, "--model", bundle).returncode == 0
    assert contents(folder) == contents(whole)


def test_a_damaged_tile_is_exit_code_3_and_the_rest_is_there(damaged, bundle, tmp_path):
    result = run(damaged, "-o", tmp_path / "out", "--model", bundle, "--reader", "openslide")
    assert result.returncode == 3
    assert result.stderr.startswith("nucleosynth: warning: ")
    record = json.loads((tmp_path / "out" / "damaged" / "run.json").read_text())
    count = len(record["failed"])
    assert f" {count} tile{'s' if count > 1 else ''} could not be read" in result.stderr
    assert record["nuclei"] > 0
    assert 0 < count < record["tiles"]


@pytest.fixture
def image(tmp_path):
    write_png(tmp_path / "image.png", np.full((40, 40, 3), 230, np.uint8))
    return tmp_path / "image.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--mpp", "0"], "--mpp must be positive, got 0.0"),
        (["--reader", "magic"], "--reader must be one of auto, cucim, openslide, got 'magic'"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
        (["--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (["--device", "abacus"], "abacus"),
        (["--model", "nowhere"], "nowhere: no bundle that segments slides"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(image, bundle, tmp_path, capsys, change, message):
    options = {"--mpp": "0.25", "--model": str(bundle), change[0]: change[1]}
    arguments = ["segment", str(image), "-o", str(tmp_path / "out")]
    assert cli.main([*arguments, *(part for option in options.items() for part in option)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_scale_is_asked_for(image, bundle, tmp_path, capsys):
    assert cli.main(["segment", str(image), "-o", str(tmp_path / "out"), "--model", str(bundle)]) == 2
    assert "image.png: carries no plausible scale; give --mpp in µm per pixel" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user who may not write everywhere")
def test_an_unwritable_output_is_one_line(image, bundle, tmp_path, capsys):
    (tmp_path / "out").mkdir(mode=0o500)
    assert cli.main(["segment", str(image), "-o", str(tmp_path / "out"), "--mpp", "1", "--model", str(bundle)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_output_that_is_a_file_is_one_line(image, bundle, tmp_path, capsys):
    (tmp_path / "out").touch()
    assert cli.main(["segment", str(image), "-o", str(tmp_path / "out"), "--mpp", "1", "--model", str(bundle)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nucleosynth: error: ")
    assert error.count("\n") == 1


def test_every_option_is_in_the_help():
    result = CliRunner().invoke(cli.app, ["segment", "--help"], env={"COLUMNS": "120"})
    for option in ("--output", "--model", "--mpp", "--reader", "--whole", "--device", "--batch-size", "--workers"):
        assert option in result.output
