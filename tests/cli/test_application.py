import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from nucleosynth import __version__, cli
from nucleosynth.data.images import write_png
from nucleosynth.errors import InputError


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "nucleosynth", *map(str, arguments)], capture_output=True, text=True)


def test_help_comes_at_once_and_names_the_commands():
    start = time.perf_counter()
    result = run("--help")
    elapsed = time.perf_counter() - start
    assert result.returncode == 0
    assert "tiles" in result.stdout
    assert elapsed < 3  # About 0.3 s on an idle machine.


def test_help_loads_no_heavy_library():
    code = "import sys, nucleosynth.cli; print([m for m in ('torch', 'monai', 'cv2', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(("before", "after"), [(None, "true"), ("false", "false")])
def test_mlflow_reports_to_nobody_unless_it_is_allowed_to(monkeypatch, before, after):
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    if before is not None:
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", before)
    code = "import os, nucleosynth.cli as c; c.main(['--version']); print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.split()[-1] == after


def test_version():
    assert run("--version").stdout.strip() == f"nucleosynth {__version__}"


def test_every_option_of_tiles_is_in_its_help():
    result = CliRunner().invoke(cli.app, ["tiles", "--help"], env={"COLUMNS": "120"})
    for option in ("--output", "--mpp", "--target-mpp", "--size", "--per-slide", "--type-by", "--reader", "--seed"):
        assert option in result.output


def test_a_wrong_input_is_one_line_and_exit_code_2(tmp_path):
    result = run("tiles", tmp_path / "nowhere.svs", "-o", tmp_path / "out")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"nucleosynth: error: {tmp_path / 'nowhere.svs'}: no such file or folder\n"


def test_a_wrong_option_is_one_line_and_exit_code_2(tmp_path):
    result = run("tiles", tmp_path, "-o", tmp_path / "out", "--per-slide", "0")
    assert result.returncode == 2
    assert result.stderr == "nucleosynth: error: per-slide must be at least 1, got 0\n"


@pytest.mark.parametrize("arguments", [["tiles"], ["nonsense"], ["tiles", "a", "-o", "b", "--size", "large"]])
def test_wrong_usage_is_exit_code_2_without_a_traceback(arguments):
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.fixture
def image(tmp_path):
    rng = np.random.default_rng(0)
    grain = rng.normal(size=(128, 128, 1)) * 25
    write_png(tmp_path / "in" / "a.png", np.clip(np.array([200, 120, 190]) + grain, 0, 255).astype(np.uint8))
    return tmp_path / "in" / "a.png"


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, image):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        result = run("tiles", image, "-o", output, "--mpp", "0.25")
        assert result.returncode == 2
        assert result.stderr.startswith(f"nucleosynth: error: {tmp_path / 'file'}")
        assert result.stderr.count("\n") == 1


def test_the_summary_says_what_to_do_next(tmp_path, image):
    result = run("tiles", image, "-o", tmp_path / "my tiles", "--mpp", "0.25", "--size", "128")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.startswith("1 tiles (1 tissue types) from 1 slides and images\n")
    assert f"Next: nucleosynth synthesize '{tmp_path / 'my tiles'}' -o " in result.stdout


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("a.svs: bad\nthing"), 2, "nucleosynth: error: a.svs: bad thing\n"),
        (
            OSError(28, "No space left on device", "out/a.png"),
            2,
            "nucleosynth: error: out/a.png: No space left on device\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_the_frame_turns_errors_into_exit_codes(monkeypatch, capsys, image, error, code, message):
    def fail(*args):
        raise error

    monkeypatch.setattr("nucleosynth.slides.tiles.sample_tiles", fail)
    assert cli.main(["tiles", str(image), "-o", "out"]) == code
    assert capsys.readouterr().err == message


def test_an_interrupt_ends_with_130_and_without_a_traceback(tmp_path, image):
    for index in range(200):
        shutil.copy(image, image.with_name(f"{index}.png"))
    command = [
        sys.executable,
        "-m",
        "nucleosynth",
        "tiles",
        str(image.parent),
        "-o",
        str(tmp_path / "out"),
        "--mpp",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "out" / "unfinished.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert (output, errors) == ("", "")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whose permissions are checked")
def test_a_folder_without_permission_is_one_line(tmp_path, image):
    (tmp_path / "locked").mkdir(mode=0o500)
    result = run("tiles", image, "-o", tmp_path / "locked" / "out", "--mpp", "0.25")
    assert result.returncode == 2
    assert "Permission denied" in result.stderr
