"""MONAI's own tools on the shipped bundles: metadata, shapes of networks, export to TorchScript."""

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata

from nucleosynth.bundles import bundle_names, bundle_path
from nucleosynth.networks import SegmentationCNN

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI exports with what PyTorch calls deprecated

SCHEMA = Path(__file__).with_name("meta_schema.json")
NETWORKS = [(name, "network_def") for name in bundle_names()] + [("nuclei_segmentation", "network")]


def meta(name):
    return bundle_path(name) / "configs" / "metadata.json"


def config(name, file="inference.yaml"):
    return str(bundle_path(name) / "configs" / file)


@pytest.fixture
def no_network(monkeypatch):
    """Whatever tries to download fails."""

    def refuse(*args, **kwargs):
        raise AssertionError("a tool wants to download something")

    monkeypatch.setattr("monai.apps.utils._download_with_progress", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", bundle_names())
def test_metadata_is_valid(name):
    verify_metadata(meta_file=str(meta(name)), filepath=str(SCHEMA))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", bundle_names())
@pytest.mark.parametrize(
    "damage",
    [
        lambda about: about.pop("version"),
        lambda about: about.pop("network_data_format"),
        lambda about: about.update(version=1),
        lambda about: about.update(changelog={}),
        lambda about: about.update(changelog={"latest": "better"}),
        lambda about: about.update(refiner_data_format={"inputs": {}}),
        lambda about: about.update(athors="a misspelt key"),
        lambda about: about["network_data_format"]["inputs"].pop("image"),
        lambda about: about["network_data_format"]["outputs"]["pred"].pop("dtype"),
        lambda about: about["network_data_format"]["inputs"]["image"].update(spatial_shape=["import os"]),
    ],
    ids=range(10),
)
def test_damaged_metadata_is_not(name, damage, tmp_path):
    about = json.loads(meta(name).read_bytes())
    damage(about)
    (tmp_path / "metadata.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize(("name", "network"), NETWORKS)
def test_a_network_takes_and_gives_what_the_metadata_say(name, network, n):
    """Patches of the smallest size that is promised, and of sizes between the powers of two."""
    verify_net_in_out(network, str(meta(name)), config(name), device="cpu", p=1, n=n)


def test_the_papers_network_takes_and_gives_the_same():
    name = "nuclei_segmentation"
    files = [config(name, "train.yaml"), config(name, "preset_paper.yaml")]
    parser = ConfigParser()
    parser.read_config(files)
    assert isinstance(parser.get_parsed_content("network_def"), SegmentationCNN)
    verify_net_in_out("network_def", str(meta(name)), files, device="cpu", p=1, n=2)


def test_a_network_of_other_channels_is_found_out():
    name = "nuclei_segmentation"
    with pytest.raises(ValueError, match="output channel number `3` doesn't match: `2`"):
        verify_net_in_out(
            "network_def", str(meta(name)), config(name), device="cpu", n=2, **{"network_def#out_channels": 3}
        )


@pytest.mark.parametrize(
    ("name", "use_trace"),
    [("nuclei_segmentation", False), ("nuclei_segmentation", True), ("nuclei_synthesis", False)],
)
def test_a_checkpoint_becomes_torchscript_that_computes_the_same(name, use_trace, tmp_path):
    """Of two inputs, tracing knows the first only; the refiner is scripted, and takes both."""
    parser = ConfigParser()
    parser.read_config(config(name))
    network = parser.get_parsed_content("network_def").eval()
    with torch.no_grad():  # Some networks begin as the identity.
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    exported = tmp_path / "model.ts"
    ckpt_export(
        "network_def",
        filepath=str(exported),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=str(meta(name)),
        config_file=config(name),
        use_trace=use_trace,
        input_shape=[1, 3, 64, 64] if use_trace else None,
    )
    generator = torch.Generator().manual_seed(0)
    image, reference = torch.rand(2, 2, 3, 96, 64, generator=generator) * 2 - 1
    examples = [(image,)] if name == "nuclei_segmentation" else [(image,), (image, reference)]
    scripted, about, files = load_net_with_metadata(str(exported), more_extra_files=("inference.json",))
    for loaded in (torch.jit.load(str(exported)).eval(), scripted.eval()):
        for inputs in examples:
            with torch.inference_mode():
                torch.testing.assert_close(loaded(*inputs), network(*inputs), rtol=1e-5, atol=1e-5)
    wanted = json.loads(meta(name).read_bytes())
    assert {key: about[key] for key in wanted} == wanted
    assert json.loads(files["inference.json"])["network_def"] == parser.get("network_def")
