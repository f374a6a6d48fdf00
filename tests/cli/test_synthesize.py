"""``nucleosynth synthesize`` as its users meet it: one line on what is wrong, exit code 2, nothing half-written."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from nucleosynth.cli import main
from nucleosynth.data.images import write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.engines import export_bundle
from nucleosynth.networks import Discriminator, ResidualRefiner
from nucleosynth.transforms.synthesis import SynthesisSettings

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tissue():
    return generate_phantom(PhantomSettings(width=192, height=192, tissue_share=1.0)).image


@pytest.fixture
def tiles(tmp_path, tissue):
    write_png(tmp_path / "tiles" / "good.png", tissue)
    return tmp_path / "tiles"


def refused(capsys, output, *arguments):
    """The one line of an error, after checking that it is one and that nothing was written."""
    assert main(["synthesize", *map(str, arguments), "-o", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("nucleosynth: error: ")
    assert not output.is_dir() or not any(output.iterdir())
    return line


def test_the_summary_says_what_was_made_and_where_to_look(tiles, tmp_path, capsys):
    assert main(["synthesize", str(tiles), "-o", str(tmp_path / "out"), "-n", "2", "--size", "128"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("2 patches with ")
    assert "preview.png" in captured.out
    assert captured.err == ""


def test_help_names_the_default_size():
    result = subprocess.run(
        [sys.executable, "-m", "nucleosynth", "synthesize", "--help"], capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert f"[default: ({SynthesisSettings().size})]" in result.stdout or str(SynthesisSettings().size) in result.stdout


@pytest.mark.parametrize("count", ["0", "-3"])
def test_no_patches_at_all(tiles, tmp_path, capsys, count):
    assert f"-n must be at least 1, got {count}" in refused(capsys, tmp_path / "out", tiles, "-n", count)


def test_no_workers_at_all(tiles, tmp_path, capsys):
    line = refused(capsys, tmp_path / "out", tiles, "-n", 1, "--workers", 0)
    assert "--workers must be at least 1, got 0" in line


def test_an_empty_and_a_missing_folder(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "no images in this folder" in refused(capsys, tmp_path / "out", tmp_path / "empty", "-n", 1)
    assert "no such folder" in refused(capsys, tmp_path / "out", tmp_path / "missing", "-n", 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda image: image.convert("L"), "grayscale"),
        (lambda image: image.convert("RGBA"), "RGBA"),
        (lambda image: Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 256), "16-bit"),
        (lambda image: image.resize((100, 100)), "smaller than the patch of 128 px; use --size 100"),
    ],
)
def test_an_image_that_cannot_serve(tiles, tmp_path, capsys, tissue, change, reason):
    change(Image.fromarray(tissue)).save(tiles / "odd.png")
    line = refused(capsys, tmp_path / "out", tiles, "-n", 1, "--size", 128)
    assert "odd.png" in line
    assert reason in line


def test_truncated_and_unreadable_images(tiles, tmp_path, capsys):
    content = (tiles / "good.png").read_bytes()
    for damaged in (content[:2000], b"not an image"):
        (tiles / "bad.png").write_bytes(damaged)
        assert "bad.png" in refused(capsys, tmp_path / "out", tiles, "-n", 1, "--size", 128)


def test_a_white_tile_is_left_out_with_a_warning_that_counts_it(tiles, tmp_path, capsys):
    write_png(tiles / "white.png", np.full((192, 192, 3), 255, np.uint8))
    assert main(["synthesize", str(tiles), "-o", str(tmp_path / "out"), "-n", "1", "--size", "128"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "nucleosynth: warning: 1 blank tiles left out: white.png\n"
    assert "from 1 tiles" in captured.out


def test_an_output_that_is_a_file(tiles, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert "is a file" in refused(capsys, tmp_path / "out", tiles, "-n", 1, "--size", 128)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_without_permission(tiles, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "ermission" in refused(capsys, tmp_path / "locked" / "out", tiles, "-n", 1, "--size", 128)


def test_an_output_below_a_file_cannot_be_written(tiles, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    refused(capsys, tmp_path / "file" / "out", tiles, "-n", 1, "--size", 128)


def test_the_tiles_of_the_tiles_command_are_taken_with_their_types(tiles, tmp_path, capsys):
    shutil.copy(tiles / "good.png", tiles / "other.png")
    sampled = tmp_path / "sampled"
    assert main(["tiles", str(tiles), "-o", str(sampled), "--mpp", "0.25", "--type-by", "image", "--size", "192"]) == 0
    assert main(["synthesize", str(sampled), "-o", str(tmp_path / "out"), "-n", "2", "--size", "128"]) == 0
    assert "from 2 tiles (2 tissue types)" in capsys.readouterr().out


def test_help_says_what_a_refiner_adds():
    result = subprocess.run(
        [sys.executable, "-m", "nucleosynth", "synthesize", "--help"], capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert "--refiner" in result.stdout
    assert "weights.csv" in result.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A bundle as a training leaves it, with networks that have learnt nothing."""
    definitions = {
        "network_def": {"_target_": "nucleosynth.networks.ResidualRefiner", "width": 4, "blocks": 1},
        "discriminator_def": {"_target_": "nucleosynth.networks.Discriminator", "widths": [4, 4, 4, 4, 4]},
    }
    folder = tmp_path_factory.mktemp("trained")
    torch.save(ResidualRefiner(width=4, blocks=1).state_dict(), folder / "model.pt")
    torch.save(Discriminator(widths=(4, 4, 4, 4, 4)).state_dict(), folder / "discriminator.pt")
    (folder / "calibration.json").write_text(json.dumps({"temperature": 1.0, "log_mean": 0.0, "clip": [0.1, 4.0]}))
    files = {name: folder / name for name in ("model.pt", "discriminator.pt", "calibration.json")}
    return export_bundle("nuclei_synthesis", folder / "nuclei_synthesis", definitions, files)


@pytest.fixture
def bundle(trained, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(trained, tmp_path / "run" / "nuclei_synthesis")


@pytest.mark.parametrize("inner", ["", "nuclei_synthesis"])
def test_a_refiner_adds_weights(tiles, tmp_path, capsys, bundle, inner):
    """The output of a training serves as well as the bundle in it."""
    output = tmp_path / "out"
    arguments = ["synthesize", str(tiles), "-o", str(output), "-n", "2", "--size", "120", "--workers", "1"]
    assert main([*arguments, "--refiner", str(bundle.parent / inner)]) == 0
    assert capsys.readouterr().err == ""
    header, *rows = (output / "weights.csv").read_text().splitlines()
    assert header == "file,weight,logit"
    assert [row.split(",")[0] for row in rows] == ["000000.png", "000001.png"]
    assert all(0.1 <= float(row.split(",")[1]) <= 4 for row in rows)
    assert Image.open(output / "images" / "000000.png").size == (120, 120)


def test_a_refiner_that_is_none(tiles, tmp_path, capsys):
    for folder, reason in ((tmp_path / "nowhere", "nowhere"), (tiles, "so it is no trained bundle")):
        line = refused(capsys, tmp_path / "out", tiles, "-n", 1, "--size", 128, "--refiner", folder)
        assert reason in line
        assert str(folder) in line


@pytest.mark.parametrize("name", ["model.pt", "discriminator.pt", "calibration.json"])
@pytest.mark.parametrize("content", [b"", b"nonsense", None], ids=["empty", "nonsense", "missing"])
def test_a_damaged_refiner(tiles, tmp_path, capsys, bundle, name, content):
    path = bundle / "models" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert name in refused(capsys, tmp_path / "out", tiles, "-n", 1, "--size", 128, "--refiner", bundle)


def test_a_model_that_would_run_code_is_not_loaded(tiles, tmp_path, capsys, bundle):
    torch.save({"network": _Trap(tmp_path / "sprung")}, bundle / "models" / "model.pt")
    assert "model.pt" in refused(capsys, tmp_path / "out", tiles, "-n", 1, "--size", 128, "--refiner", bundle)
    assert not (tmp_path / "sprung").exists()


def test_a_model_of_another_network(tiles, tmp_path, capsys, bundle):
    shutil.copy(bundle / "models" / "discriminator.pt", bundle / "models" / "model.pt")
    line = refused(capsys, tmp_path / "out", tiles, "-n", 1, "--size", 128, "--refiner", bundle)
    assert "model.pt: weights of another network" in line


@pytest.mark.parametrize("content", [b"a: [1, 2", b"imports: []", b"network_def: {_target_: nothing.Here}"])
def test_a_damaged_configuration_of_a_refiner(tiles, tmp_path, capsys, bundle, content):
    (bundle / "configs" / "inference.yaml").write_bytes(content)
    line = refused(capsys, tmp_path / "out", tiles, "-n", 1, "--size", 128, "--refiner", bundle)
    assert "inference.yaml" in line


class _Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")
