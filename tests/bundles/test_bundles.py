"""The bundles that ship with the package: found, valid, runnable."""

import copy
import dataclasses
import hashlib
import inspect
import json
import pydoc
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from monai.bundle import ConfigComponent, ConfigParser, ReferenceResolver
from PIL import Image

from nucleosynth.bundles import bundle_names, bundle_path
from nucleosynth.data.images import write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.data.synthesis import SynthesisRunSettings, synthesize_patches
from nucleosynth.transforms.masks import NucleusPrior
from nucleosynth.transforms.synthesis import SynthesisSettings

# What meta_schema_20240725.json asks for.
REQUIRED = {
    "schema": str,
    "version": str,
    "changelog": dict,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
}
REQUIRED_OF_A_TENSOR = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range"}

CONFIGS = [config for name in bundle_names() for config in sorted((bundle_path(name) / "configs").glob("*.yaml"))]
# Configurations that run by themselves. All others are overlays: of inference.yaml, or, unless said so, of train.yaml.
MAIN = ("train", "inference", "slide_inference", "initial_synthesis")
OVERLAYS = [config for config in CONFIGS if config.stem not in MAIN]
LAID_OVER_INFERENCE = ("evaluate", "operator")
# Values that an overlay adds, instead of changing one that is there.
ADDED = {"evaluate": {"names", "pairs", "scored"}, "operator": {"_meta_"}}


def config_id(path):
    return f"{path.parent.parent.name}/{path.stem}"


def whole(path):
    """The configurations that one has to be read with: itself, after what it is laid over."""
    if path.stem in MAIN:
        return [path]
    return [path.with_name("inference.yaml" if path.stem in LAID_OVER_INFERENCE else "train.yaml"), path]


def load(name):
    return json.loads((bundle_path(name) / "configs" / "metadata.json").read_bytes())


def parse(*paths, **values):
    parser = ConfigParser()
    parser.read_config([str(path) for path in paths])
    parser.update(values)
    return parser


def test_bundles_are_found_by_name():
    assert "nuclei_synthesis" in bundle_names()
    assert bundle_path("nuclei_synthesis").is_dir()


def test_an_unknown_bundle_is_refused_with_the_names_of_those_there():
    with pytest.raises(KeyError, match=r"no bundle 'nuclei'; there are .*nuclei_synthesis"):
        bundle_path("nuclei")


@pytest.mark.parametrize("name", bundle_names())
def test_a_bundle_has_the_files_that_monai_asks_for(name):
    wanted = ("LICENSE", "configs/metadata.json", "configs/logging.conf", "docs/README.md", "docs/data_license.txt")
    assert [file for file in wanted if not (bundle_path(name) / file).is_file()] == []


@pytest.mark.parametrize("name", bundle_names())
def test_metadata_has_what_the_schema_requires(name):
    about = load(name)
    assert {key: type(about.get(key)) for key in REQUIRED} == REQUIRED
    assert about["version"] in about["changelog"]
    formats = [value for key, value in about.items() if key.endswith("_data_format")]
    tensors = [tensor for side in ("inputs", "outputs") for form in formats for tensor in form[side].values()]
    assert len(tensors) >= 2
    for tensor in tensors:
        assert set(tensor) >= REQUIRED_OF_A_TENSOR
        assert len(tensor["channel_def"]) == tensor["num_channels"]


@pytest.mark.parametrize("name", bundle_names())
def test_metadata_names_versions_that_exist(name):
    about = load(name)
    assert about["required_packages_version"]["nucleosynth"] == metadata.version("nucleosynth")
    assert about["monai_version"].split(".")[:2] == metadata.version("monai").split(".")[:2]


def check_names(parser):
    """Whether every component exists and takes its arguments, and every reference refers to something."""
    parser.parse()
    items = parser.ref_resolver.items
    components = [item for item in items.values() if isinstance(item, ConfigComponent)]
    assert components
    for component in components:
        target = component.resolve_module_name()
        target = pydoc.locate(target) if isinstance(target, str) else target
        assert callable(target), component.get_config()
        inspect.signature(target).bind_partial(**component.resolve_args())
    for name, item in items.items():
        references = ReferenceResolver.find_refs_in_config(config=item.get_config(), id=name)
        assert set(references) <= set(items), name


@pytest.mark.parametrize("config", CONFIGS, ids=config_id)
def test_every_target_of_a_config_exists_and_takes_its_arguments(config):
    check_names(parse(*whole(config)))


@pytest.mark.parametrize("config", CONFIGS, ids=config_id)
def test_a_config_says_how_to_run_it(config):
    text = config.read_text(encoding="utf-8")
    base = whole(config)[0]
    if config == base:
        assert f"python -m monai.bundle run --config_file configs/{config.name} " in text
    else:
        assert f"laid over {base.name}" in text.lower()
    assert "run" in parse(*whole(config)).get()


@pytest.mark.parametrize("config", OVERLAYS, ids=config_id)
@pytest.mark.parametrize("quick", [False, True], ids=["alone", "after the preset"])
def test_an_overlay_changes_what_is_there(config, quick):
    """A misspelt path would add a value that nobody reads."""
    base, overlay = whole(config)
    below = [base, base.with_name("preset_quick.yaml")] if quick and base.stem == "train" else [base]
    before, after = parse(*below), parse(*below, overlay)
    for path in yaml.safe_load(overlay.read_text(encoding="utf-8")):
        path = path.removeprefix("+")
        known = path.removesuffix("#_disabled_")  # every component may have that
        assert known in before or path in ADDED.get(config.stem, ()), path
        assert path in after
    check_names(after)


def test_the_handler_that_the_supervised_baseline_disables_is_the_validation():
    """It is named by its place in a list."""
    folder = bundle_path("nuclei_segmentation") / "configs"
    handlers = parse(folder / "train.yaml", folder / "supervised.yaml")["train"]["handlers"]
    assert [
        handler["_target_"] for handler in handlers if "_target_" in handler and handler.get("_disabled_") is True
    ] == ["ValidationHandler"]


def values(bundle, *names):
    return parse(*(bundle_path(bundle) / "configs" / f"{name}.yaml" for name in names)).get()


def shared_values(config, refiner):
    """What both bundles train refiner and discriminator with; ``refiner`` is the key of the refiner's network."""
    train = config["train"]
    learners = {name: copy.deepcopy(train[name]) for name in ("refiner", "discriminator")}
    for learner in learners.values():
        learner.pop("network")  # refers to a network by its name, which differs
        learner["optimizer"].pop("params")
    learners["refiner"]["loss"].pop("hard")  # needs a task network
    held_out = {**train["held_out"], "dataset": {**train["held_out"]["dataset"], "core": None}}
    parts = ("tiles", "history", "weighting", "checkpoint", "schedule", "sampler", "dataloader")
    return {
        **learners,
        **{name: {key: value for key, value in train[name].items() if key != "skip"} for name in parts},
        "held_out": held_out,
        "refiner_def": config[refiner],
        **{
            name: config[name] for name in ("discriminator_def", "synthesis", "patch_size", "batch_size", "seed", "mpp")
        },
        **{name: config[name] for name in ("accumulation", "num_workers", "bfloat16", "device")},
    }


@pytest.mark.parametrize("presets", [(), ("preset_quick",)])
def test_both_bundles_train_the_refiner_alike(presets):
    segmentation = shared_values(values("nuclei_segmentation", "train", *presets), "refiner_def")
    # A task network has to know more tissue than these tiles show; patches that are to look like them need not.
    assert segmentation["synthesis"].pop("vesicular") > 0
    # Only a task network is ever taught by another, and then no refiner is trained.
    assert segmentation["tiles"].pop("finder") == "@teacher"
    synthesis = shared_values(values("nuclei_synthesis", "train", *presets), "network_def")
    assert segmentation == synthesis


def test_inference_takes_the_networks_that_the_training_leaves():
    trained, used = (values("nuclei_segmentation", name) for name in ("train", "inference"))
    assert used["network_def"] == trained["network_def"]
    assert used["inferer"]["roi_size"] == [trained["patch_size"]] * 2
    trained, used = (values("nuclei_synthesis", name) for name in ("train", "inference"))
    for key in ("network_def", "discriminator_def"):
        assert used[key] == trained[key]
    assert used["size"] == trained["patch_size"]


@pytest.fixture
def config():
    return bundle_path("nuclei_synthesis") / "configs" / "initial_synthesis.yaml"


def as_json(settings):
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def test_the_values_of_the_synthesis_are_the_defaults_of_the_package(config):
    """The configuration shows the defaults to its readers: who changes one in the package changes it here."""
    parser = parse(config, count=7)
    assert as_json(parser.get_parsed_content("settings")) == as_json(SynthesisRunSettings(count=7))
    assert as_json(parser.get_parsed_content("prior_by_hand")) == as_json(NucleusPrior())


def test_every_setting_of_the_synthesis_is_in_the_config(config):
    """All but the scale, which comes from the tiles."""
    content = parse(config).get()
    for part in ("settings", "patch", "mask", "distractors", "prior_by_hand"):
        component = parse(config).get_parsed_content(part)
        fields = {field.name for field in dataclasses.fields(component)} - {"mpp"}
        assert fields == set(content[part]) - {"_target_", "mpp"}


def test_settings_of_the_synthesis_can_be_overridden(config):
    values = {"size": 64, "patch#blur_spots": 0, "patch#prior": "@prior_by_hand", "prior_by_hand#density": 99.0}
    patch = parse(config, **values).get_parsed_content("patch")
    assert as_json(patch) == as_json(SynthesisSettings(size=64, blur_spots=0, prior=NucleusPrior(density=99.0)))


@pytest.mark.slow
def test_the_synthesis_runs_and_writes_what_the_function_writes(config, tmp_path):
    tiles = tmp_path / "tiles"
    for seed in range(2):
        phantom = generate_phantom(PhantomSettings(width=300, height=300, seed=seed, tissue_share=1.0))
        write_png(tiles / f"{seed}.png", phantom.image)
    options = {"count": 3, "size": 256, "seed": 5, "workers": 1}
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config)]
    for name, value in {"dataset_dir": tiles, "output_dir": tmp_path / "bundle", **options}.items():
        command += [f"--{name}", str(value)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "SynthesisReport(patches=3" in result.stdout

    settings = SynthesisRunSettings(count=3, seed=5, patch=SynthesisSettings(size=256))
    synthesize_patches(tiles, tmp_path / "function", settings, workers=1)
    written = contents(tmp_path / "bundle")
    assert set(written) == {f"{kind}/00000{n}.png" for kind in ("images", "labels", "reference") for n in range(3)} | {
        "manifest.jsonl",
        "preview.png",
    }
    assert written == contents(tmp_path / "function")
    labels = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "bundle" / "labels").iterdir())]
    assert {label.shape for label in labels} == {(256, 256)}
    assert sum(label.max() for label in labels) > 0


def contents(folder: Path) -> dict[str, str]:
    """Digests of the files of a data set, but for the record of the run, which has times in it."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name != "run.json"}
