import csv
import dataclasses
import hashlib
import json
import math
import shutil

import numpy as np
import pytest
import torch

from nucleosynth.data.images import read_image, read_label
from nucleosynth.data.refinement import Refinement, load_refinement, refinement_files
from nucleosynth.data.synthesis import SynthesisRunSettings, synthesize_patches
from nucleosynth.engines import export_bundle
from nucleosynth.errors import InputError
from nucleosynth.networks import Discriminator, ResidualRefiner, from_uint8, to_uint8
from nucleosynth.transforms.synthesis import SynthesisSettings

CALIBRATION = {"temperature": 2.0, "log_mean": 0.5, "effective_sample_size": 0.9, "clipped": 0.1, "clip": [0.25, 4.0]}
REFINER, WIDTHS = {"width": 4, "blocks": 1, "max_change": 0.5}, [2, 3, 4, 5, 6]
SETTINGS = SynthesisRunSettings(count=5, seed=3, patch=SynthesisSettings(size=72))  # px, no multiple of 16


def networks():
    """Tiny networks, the same each time, whose effect shows: an untrained refiner hardly changes an image."""
    torch.manual_seed(0)
    refiner, discriminator = ResidualRefiner(**REFINER), Discriminator(WIDTHS)
    for network in (refiner, discriminator):
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return refiner.eval(), discriminator.eval()


def make_bundle(folder):
    """A bundle as a training leaves it."""
    parts = folder.with_name("parts")
    parts.mkdir()
    files = {"model.pt": parts / "refiner.pt", "discriminator.pt": parts / "discriminator.pt"}
    for network, path in zip(networks(), files.values(), strict=True):
        torch.save(network.state_dict(), path)
    files["calibration.json"] = parts / "calibration.json"
    files["calibration.json"].write_text(json.dumps(CALIBRATION))
    definitions = {
        "network_def": {"_target_": "nucleosynth.networks.ResidualRefiner", **REFINER},
        "discriminator_def": {"_target_": "nucleosynth.networks.Discriminator", "widths": WIDTHS},
    }
    return export_bundle("nuclei_synthesis", folder, definitions, files)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained bundle; the module's, not to be written to."""
    return make_bundle(tmp_path_factory.mktemp("training") / "nuclei_synthesis")


@pytest.fixture
def bundle(trained, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(trained, tmp_path / "nuclei_synthesis")


@pytest.fixture
def pair(rng):
    return rng.integers(0, 256, (32, 48, 3), np.uint8), rng.integers(0, 256, (64, 64, 3), np.uint8)


def batch(image):
    return from_uint8(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])


def test_refining_is_what_the_networks_do(trained, pair):
    image, reference = pair
    refined, logit = load_refinement(trained).refine(image, reference)
    refiner, discriminator = networks()
    with torch.no_grad():
        expected = to_uint8(refiner(batch(image), batch(reference)))
        # Of the patch as it is stored, rounded to 8 bits, like the real ones.
        judged = discriminator(from_uint8(expected), batch(reference))
    assert np.array_equal(refined, expected[0].permute(1, 2, 0))
    assert logit == pytest.approx(judged.item(), rel=1e-5)
    assert refined.dtype == np.uint8
    assert not np.array_equal(refined, image)


@pytest.mark.parametrize("shape", [(32, 48), (33, 47), (40, 56), (1, 1), (7, 16)])
def test_refining_keeps_any_shape(trained, rng, shape):
    image, reference = (rng.integers(0, 256, (*shape, 3), np.uint8) for _ in range(2))
    copy = image.copy()
    refined, logit = load_refinement(trained).refine(image, reference)
    assert refined.shape == image.shape
    assert refined.dtype == np.uint8
    assert refined.flags.c_contiguous
    assert math.isfinite(logit)
    assert np.array_equal(image, copy)


def test_what_is_missing_to_a_multiple_of_16_is_mirrored(trained, rng):
    image, reference = rng.integers(0, 256, (24, 40, 3), np.uint8), rng.integers(0, 256, (64, 64, 3), np.uint8)
    larger = np.concatenate([image, image[:-9:-1]])
    larger = np.concatenate([larger, larger[:, :-9:-1]], axis=1)
    assert larger.shape == (32, 48, 3)
    refinement = load_refinement(trained)
    refined, logit = refinement.refine(image, reference)
    expected, expected_logit = refinement.refine(larger, reference)
    assert np.array_equal(refined, expected[:24, :40])
    assert logit == expected_logit


def test_the_reference_matters(trained, pair, rng):
    refinement = load_refinement(trained)
    other = rng.integers(100, 156, (64, 64, 3), np.uint8)
    assert refinement.refine(*pair)[1] != refinement.refine(pair[0], other)[1]


def test_weights_are_equation_5_calibrated_normalised_and_clipped(trained):
    """w = exp(logit / T) / mean: T is 2, the logarithm of the mean 0.5, and bounds are 1/4 and 4."""
    weight = load_refinement(trained).weight
    assert weight(1.0) == pytest.approx(1)
    assert weight(2.0) == pytest.approx(math.exp(0.5))
    assert weight(-1.0) == pytest.approx(math.exp(-1))
    assert weight(1 + 2 * math.log(4) + 0.01) == weight(1000.0) == 4
    assert weight(1 - 2 * math.log(4) - 0.01) == weight(-1000.0) == 0.25
    assert type(weight(0.0)) is float


def test_networks_are_ready_for_inference(trained):
    refinement = load_refinement(trained)
    assert not refinement.refiner.training
    assert not refinement.discriminator.training


def test_the_output_of_a_training_will_do_as_well_as_the_bundle_in_it(trained, pair):
    assert np.array_equal(load_refinement(trained.parent).refine(*pair)[0], load_refinement(trained).refine(*pair)[0])
    files = [path.relative_to(trained).as_posix() for path in refinement_files(trained.parent)]
    assert files == [
        "configs/inference.yaml", "models/model.pt", "models/discriminator.pt", "models/calibration.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["configs/inference.yaml", "models/model.pt", "models/discriminator.pt", "models/calibration.json"]
)
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(InputError, match=rf"nuclei_synthesis: has no {name.rpartition('/')[2]}, so it is no trained"):
        load_refinement(bundle)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=rf"{folder.name}: has no inference.yaml, so it is no trained bundle"):
            load_refinement(folder)


class Malicious:
    """An object that a file can hold, and that runs a command when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["model.pt", "discriminator.pt"])
def test_damaged_or_malicious_weights_are_named_and_not_executed(bundle, tmp_path, name):
    path = bundle / "models" / name
    whole = path.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], b"no network", bytes(256)):
        path.write_bytes(damage)
        with pytest.raises(InputError, match=rf"models/{name}: damaged, or not a file of plain tensors"):
            load_refinement(bundle)
    torch.save({"last.weight": Malicious(tmp_path / "executed")}, path)
    with pytest.raises(InputError, match=rf"models/{name}: damaged, or not a file of plain tensors"):
        load_refinement(bundle)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["model.pt", "discriminator.pt"])
def test_weights_of_another_network_are_named(bundle, name):
    torch.save(torch.nn.Linear(2, 2).state_dict(), bundle / "models" / name)
    with pytest.raises(InputError, match=rf"models/{name}: weights of another network"):
        load_refinement(bundle)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x80",
        b"[1, 2]",
        b"null",
        json.dumps({key: CALIBRATION[key] for key in ("temperature", "clip")}),
        json.dumps({**CALIBRATION, "clip": [4.0]}),
        json.dumps({**CALIBRATION, "clip": None}),
        json.dumps({**CALIBRATION, "temperature": "warm"}),
        json.dumps({**CALIBRATION, "clip": ["low", "high"]}),
        json.dumps({**CALIBRATION, "clip": [4.0, 0.25]}),
        json.dumps({**CALIBRATION, "temperature": 0}),
        json.dumps({**CALIBRATION, "temperature": -1.0}),
        json.dumps({**CALIBRATION, "log_mean": math.nan}),
    ],
    ids=[
        "empty", "cut off", "not text", "a list", "nothing", "no log_mean", "one bound", "no bounds", "T in words",
        "bounds in words", "bounds the wrong way round", "T of 0", "negative T", "mean not a number",
    ],
)  # fmt: skip
def test_a_damaged_calibration_is_named(bundle, content):
    path = bundle / "models" / "calibration.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=r"models/calibration\.json: missing or damaged; train again"):
        load_refinement(bundle)


@pytest.mark.parametrize(
    "content",
    [
        "network_def: [",
        "",
        "- 1\n",
        "discriminator_def:\n  _target_: nucleosynth.networks.Discriminator\n",
        "network_def:\n  _target_: nucleosynth.networks.NoSuchNetwork\n",
        "network_def:\n  _target_: nucleosynth.networks.ResidualRefiner\n  width: 0\n",
        "network_def: '@elsewhere'\n",
        "network_def: 5\n",
    ],
    ids=[
        "no YAML", "empty", "a list", "no network", "unknown network", "wrong argument", "loose reference", "a number",
    ],
)  # fmt: skip
def test_a_damaged_configuration_is_named(bundle, content):
    (bundle / "configs" / "inference.yaml").write_text(content)
    with pytest.raises(InputError, match=r"configs/inference\.yaml: "):
        load_refinement(bundle)


def test_a_refinement_cannot_be_changed(trained):
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_refinement(trained).temperature = 1.0


# What `synthesize --refiner` writes.


def digests(folder):
    """Of all files of a data set but for its record, which holds the time."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


@pytest.fixture(scope="module")
def initial(tmp_path_factory, phantom_tiles):
    output = tmp_path_factory.mktemp("initial") / "patches"
    synthesize_patches(phantom_tiles, output, SETTINGS, workers=1)
    return output


@pytest.fixture(scope="module")
def refined(tmp_path_factory, phantom_tiles, trained):
    output = tmp_path_factory.mktemp("refined") / "patches"
    synthesize_patches(phantom_tiles, output, SETTINGS, workers=1, refiner=trained)
    return output


def rows(folder):
    with (folder / "weights.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def manifest(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_only_images_differ_from_those_without_a_refiner(initial, refined):
    before, after = digests(initial), digests(refined)
    assert set(after) - set(before) == {"weights.csv"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"images/{number:06d}.png" for number in range(5)} | {"manifest.jsonl", "preview.png"}
    for plain, line in zip(manifest(initial), manifest(refined), strict=True):
        assert {key: line[key] for key in plain} == plain
        assert set(line) - set(plain) == {"logit", "weight"}
    assert sum(read_label(path).max() for path in (refined / "labels").iterdir()) > 5


def test_images_are_the_initial_ones_refined_towards_their_references(initial, refined, trained):
    refinement = load_refinement(trained)
    for name, line in zip(sorted(path.name for path in (refined / "images").iterdir()), manifest(refined), strict=True):
        reference = read_image(refined / "reference" / name)
        image, logit = refinement.refine(read_image(initial / "images" / name), reference)
        assert np.array_equal(image, read_image(refined / "images" / name))
        assert logit == pytest.approx(line["logit"], rel=1e-5)


def test_the_table_of_weights_matches_the_manifest(refined, trained):
    lines = manifest(refined)
    assert [row["file"] for row in rows(refined)] == [f"{number:06d}.png" for number in range(5)]
    for row, line in zip(rows(refined), lines, strict=True):
        assert list(row) == ["file", "weight", "logit"]
        assert float(row["logit"]) == pytest.approx(line["logit"], rel=1e-5)
        assert float(row["weight"]) == pytest.approx(line["weight"], rel=1e-5)
        assert line["weight"] == load_refinement(trained).weight(line["logit"])
    assert len({line["logit"] for line in lines}) == 5


@pytest.mark.slow
def test_two_workers_write_the_same_bytes_as_one(refined, phantom_tiles, trained, tmp_path):
    synthesize_patches(phantom_tiles, tmp_path / "two", SETTINGS, workers=2, refiner=trained)
    assert digests(tmp_path / "two") == digests(refined)


def test_the_record_names_the_refiners_files(refined, trained):
    inputs = {entry["path"]: entry["sha256"] for entry in json.loads((refined / "run.json").read_text())["inputs"]}
    assert len(inputs) == 5 + 4
    for path in refinement_files(trained):
        assert inputs[str(path.resolve())] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_with_another_refiner_it_is_another_run(refined, phantom_tiles, bundle):
    with pytest.raises(InputError, match=r"output of another run \(the inputs were others\)"):
        synthesize_patches(phantom_tiles, refined, SETTINGS, workers=1, refiner=bundle)
    with pytest.raises(InputError, match=r"output of another run \(the inputs were others\)"):
        synthesize_patches(phantom_tiles, refined, SETTINGS, workers=1)


def test_a_bundle_that_was_trained_anew_is_read_anew(refined, phantom_tiles, bundle, tmp_path):
    """In one process, as in a notebook: the weights are those of the files that the record names."""
    few = SynthesisRunSettings(count=1, seed=3, patch=SETTINGS.patch)
    synthesize_patches(phantom_tiles, tmp_path / "before", few, workers=1, refiner=bundle)
    calibration = {**CALIBRATION, "log_mean": -20.0}
    (bundle / "models" / "calibration.json").write_text(json.dumps(calibration))
    synthesize_patches(phantom_tiles, tmp_path / "after", few, workers=1, refiner=bundle)
    assert rows(tmp_path / "before")[0] == rows(refined)[0]
    assert float(rows(tmp_path / "after")[0]["weight"]) == 4


def test_a_bad_refiner_is_refused_before_anything_is_written(phantom_tiles, bundle, tmp_path):
    (bundle / "models" / "model.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"model\.pt: damaged"):
        synthesize_patches(phantom_tiles, tmp_path / "out", SETTINGS, workers=1, refiner=bundle)
    assert not (tmp_path / "out").exists()


def test_logits_of_a_refinement_made_by_hand():
    """A discriminator that looks at brightness: what it says is what comes out."""

    class Brightness(torch.nn.Module):
        def forward(self, image, reference):
            return image.mean(dim=(1, 2, 3)) - reference.mean(dim=(1, 2, 3))

    class Keep(torch.nn.Module):
        def forward(self, image, reference):
            return image

    white, black = np.full((20, 20, 3), 255, np.uint8), np.zeros((20, 20, 3), np.uint8)
    refinement = Refinement(Keep(), Brightness(), temperature=1.0, log_mean=0.0, clip=(0.01, 100.0))
    image, logit = refinement.refine(white, black)
    assert np.array_equal(image, white)
    assert logit == pytest.approx(2)
    assert refinement.weight(logit) == pytest.approx(math.e**2)
