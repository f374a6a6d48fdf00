import pytest
import yaml

from nucleosynth.data.images import write_label, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom

# Laid over train.yaml and preset_quick.yaml of both bundles: a few seconds, mostly of starting.
TINY = {
    "patch_size": 64,
    "batch_size": 2,
    "num_workers": 0,
    "discriminator_def#widths": [4, 4, 4, 4, 4],
    "train#checkpoint#every": 3,
    "train#history#capacity": 4,
    "train#held_out#count": 4,
    "train#handlers#0#every": 10,
}
TINY_OVERLAYS = {
    "nuclei_segmentation": {
        **TINY,
        "phases": [
            {"discriminator": 1, "iterations": 2},
            {"refiner": 1, "discriminator": 1, "task": 1, "iterations": 3},
            {"task": 1, "iterations": 3},
        ],
        "refiner_def#width": 4,
        "network_def#channels": [4, 8, 8, 8, 8],
        "validate#dataset#indices": "$range(2)",
    },
    "nuclei_synthesis": {
        **TINY,
        "phases": [{"discriminator": 1, "iterations": 2}, {"refiner": 1, "discriminator": 1, "iterations": 4}],
        "network_def#width": 4,
    },
}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Six phantom tiles of two types."""
    folder = tmp_path_factory.mktemp("tiles")
    for number in range(6):
        settings = PhantomSettings(width=96, height=96, seed=number, tissue_share=1.0)
        write_png(folder / f"type{number % 2}" / f"{number}.png", generate_phantom(settings).image)
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two phantom images and their labels, as ``images/`` and ``labels/``."""
    folder = tmp_path_factory.mktemp("labelled")
    for number in range(2):
        phantom = generate_phantom(PhantomSettings(width=120, height=100, seed=20 + number, tissue_share=1.0))
        write_png(folder / "images" / f"{number}.png", phantom.image)
        write_label(folder / "labels" / f"{number}.png", phantom.labels)
    return folder


@pytest.fixture(scope="module")
def overlays(tmp_path_factory):
    """Paths of the overlays that make a training tiny, by bundle."""
    folder = tmp_path_factory.mktemp("overlays")
    for name, content in TINY_OVERLAYS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return {name: str(folder / f"{name}.yaml") for name in TINY_OVERLAYS}


@pytest.fixture(scope="module")
def phantom_images(tmp_path_factory):
    """A folder with one image, ``a.png``."""
    folder = tmp_path_factory.mktemp("images")
    write_png(
        folder / "a.png", generate_phantom(PhantomSettings(width=300, height=280, seed=1, tissue_share=1.0)).image
    )
    return folder
