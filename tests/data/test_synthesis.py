import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from nucleosynth.data import synthesis
from nucleosynth.data.images import read_image, read_label
from nucleosynth.data.synthesis import SynthesisRunSettings, synthesize_patches
from nucleosynth.errors import InputError
from nucleosynth.transforms.masks import MaskSettings, NucleusPrior
from nucleosynth.transforms.synthesis import SynthesisSettings, take_crop
from nucleosynth.transforms.synthesis.crop import Crop

SETTINGS = SynthesisRunSettings(count=7, seed=3, patch=SynthesisSettings(size=128))


def files(folder):
    """Digests of all files of a data set but for its record, which holds the time."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, phantom_tiles):
    output = tmp_path_factory.mktemp("whole") / "patches"
    report = synthesize_patches(phantom_tiles, output, SETTINGS, workers=1)
    return output, report


def test_a_data_set_holds_what_it_says(whole):
    output, report = whole
    names = [f"{number:06d}.png" for number in range(7)]
    for kind in ("images", "labels", "reference"):
        assert sorted(path.name for path in (output / kind).iterdir()) == names
    lines = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    assert [line["patch"] for line in lines] == list(range(7))
    for line in lines:
        label = read_label(output / "labels" / f"{line['patch']:06d}.png")
        assert label.shape == (128, 128)
        assert label.dtype == np.uint16
        assert np.array_equal(np.unique(label), np.arange(line["nuclei"] + 1))
        assert read_image(output / "images" / f"{line['patch']:06d}.png").shape == (128, 128, 3)
    assert report.patches == 7
    assert report.nuclei == sum(line["nuclei"] for line in lines) > 0
    assert (report.tiles, report.types, report.blank) == (5, 2, ())
    assert sorted(path.name for path in output.iterdir()) == [
        "images", "labels", "manifest.jsonl", "preview.png", "reference", "run.json",
    ]  # fmt: skip


def test_the_reference_is_a_real_patch_of_another_tile_of_the_same_type(whole, phantom_tiles):
    output, _ = whole
    for line in map(json.loads, (output / "manifest.jsonl").read_text().splitlines()):
        assert line["reference_tile"].split("/")[0] == line["type"] == line["tile"].split("/")[0]
        assert line["reference_tile"] != line["tile"] != line["texture_tile"]
        expected = take_crop(read_image(phantom_tiles / line["reference_tile"]), Crop(**line["reference"]))
        assert np.array_equal(read_image(output / "reference" / f"{line['patch']:06d}.png"), expected)


def test_all_tiles_take_turns(whole):
    sources = [json.loads(line)["tile"] for line in (whole[0] / "manifest.jsonl").read_text().splitlines()]
    assert len(set(sources[:5])) == 5
    assert sources[5:] == sources[:2]


def test_the_record_names_versions_settings_and_inputs(whole):
    record = json.loads((whole[0] / "run.json").read_text())
    assert record["command"] == "synthesize"
    assert record["settings"]["count"] == 7
    assert record["settings"]["patch"]["size"] == 128
    assert len(record["inputs"]) == 5
    assert record["mpp"] == 0.25
    assert "torch" in record["versions"]


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(whole, phantom_tiles, tmp_path):
    synthesize_patches(phantom_tiles, tmp_path / "two", SETTINGS, workers=2)
    assert files(tmp_path / "two") == files(whole[0])


def test_another_seed_gives_other_patches(whole, phantom_tiles, tmp_path):
    other = SynthesisRunSettings(count=7, seed=4, patch=SETTINGS.patch)
    synthesize_patches(phantom_tiles, tmp_path / "other", other, workers=1)
    assert files(tmp_path / "other")["images/000000.png"] != files(whole[0])["images/000000.png"]


def test_more_patches_begin_with_the_same_ones(whole, phantom_tiles, tmp_path):
    fewer = SynthesisRunSettings(count=3, seed=3, patch=SETTINGS.patch)
    synthesize_patches(phantom_tiles, tmp_path / "fewer", fewer, workers=1)
    made, expected = files(tmp_path / "fewer"), files(whole[0])
    assert all(made[name] == expected[name] for name in made if name.startswith(("images", "labels", "reference")))


def test_a_finished_data_set_is_not_made_again_and_a_lost_patch_is(whole, phantom_tiles, tmp_path, monkeypatch):
    output = tmp_path / "copy"
    shutil.copytree(whole[0], output)
    (output / "labels" / "000004.png").unlink()
    made = []
    make = synthesis._make_patch
    monkeypatch.setattr(synthesis, "_make_patch", lambda plan, patch: made.append(patch) or make(plan, patch))
    synthesize_patches(phantom_tiles, output, SETTINGS, workers=1)
    assert made == [4]
    assert files(output) == files(whole[0])


def test_a_torn_line_of_the_journal_is_made_again(whole, phantom_tiles, tmp_path):
    output = tmp_path / "torn"
    shutil.copytree(whole[0], output)
    lines = (output / "manifest.jsonl").read_text().splitlines(keepends=True)
    (output / "manifest.jsonl").unlink()
    (output / ".manifest.part").write_text("".join(lines[:3]) + lines[3][:40])
    synthesize_patches(phantom_tiles, output, SETTINGS, workers=1)
    assert files(output) == files(whole[0])


@pytest.mark.slow
def test_a_killed_run_continues_to_the_same_bytes(phantom_tiles, tmp_path, run_until_killed):
    arguments = ["synthesize", phantom_tiles, "-n", "48", "--size", "128", "--workers", "2", "-o"]
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    run_until_killed([*arguments, killed], ".png", 50)  # in the second portion of a worker
    assert not (killed / "run.json").exists()
    assert len(list(killed.glob("images/[!.]*.png"))) < 48
    for output in (killed, calm):
        command = [sys.executable, "-m", "nucleosynth", *map(str, arguments), str(output)]
        assert subprocess.run(command, capture_output=True).returncode == 0
    assert files(killed) == files(calm)


def test_a_lone_tile_serves_as_texture_and_reference_of_itself(phantom_tiles, tmp_path):
    (tmp_path / "tiles").mkdir()
    shutil.copy(phantom_tiles / "skin" / "0.png", tmp_path / "tiles")
    synthesize_patches(tmp_path / "tiles", tmp_path / "out", SynthesisRunSettings(2, patch=SETTINGS.patch), workers=1)
    line = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0])
    assert line["tile"] == line["texture_tile"] == line["reference_tile"] == "0.png"


def test_nuclei_have_their_size_in_um_whatever_the_scale(phantom_tiles, tmp_path):
    """The same fixed prior on tiles said to be at 0.25 and at 0.5 µm/px: a quarter of the pixels, the same µm²."""
    prior = NucleusPrior(density=1500, area=60, area_spread=0)
    patch = SynthesisSettings(size=128, prior=prior, mask=MaskSettings(jitter=0, max_overlap=0, empty=0))
    median = {}
    for mpp in (0.25, 0.5):
        output = tmp_path / str(mpp)
        synthesize_patches(phantom_tiles, output, SynthesisRunSettings(12, mpp=mpp, patch=patch), workers=1)
        areas = []
        for path in (output / "labels").iterdir():
            label = read_label(path)
            border = np.unique(np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]]))
            areas += [(label == i).sum() * mpp**2 for i in np.setdiff1d(label, border)]
        median[mpp] = np.median(areas)
    assert median[0.25] == pytest.approx(60, rel=0.05)
    assert median[0.5] == pytest.approx(60, rel=0.08)


def test_another_runs_output_is_refused_and_left_alone(whole, phantom_tiles):
    before = files(whole[0])
    with pytest.raises(InputError, match=r"output of another run \(count was 7, now 8\)"):
        synthesize_patches(phantom_tiles, whole[0], SynthesisRunSettings(8, seed=3, patch=SETTINGS.patch), workers=1)
    assert files(whole[0]) == before


def test_bad_tiles_leave_nothing_behind(tmp_path):
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"broken\.png"):
        synthesize_patches(tmp_path / "tiles", tmp_path / "out", SETTINGS, workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "number of patches must be at least 1, got 0"),
        ({"count": 1, "seed": -1}, "seed must not be negative, got -1"),
        ({"count": 1, "mpp": 0.0}, "mpp must be positive, got 0.0"),
    ],
)
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SynthesisRunSettings(**arguments)
