"""The shipped weights in other formats, and in the hands of MONAI's own loaders: all compute the same."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, load, onnx_export
from monai.data import load_net_with_metadata

from nucleosynth.bundles import bundle_path
from nucleosynth.data.images import read_label

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI exports with what PyTorch calls deprecated

SEGMENTATION = bundle_path("nuclei_segmentation")
CONFIG, META = (SEGMENTATION / "configs" / name for name in ("inference.yaml", "metadata.json"))
WEIGHTS = SEGMENTATION / "models" / "model.pt"
SHAPES = [(1, 3, 256, 256), (3, 3, 96, 64)]
AXES = {0: "batch", 2: "height", 3: "width"}


@pytest.fixture(scope="module")
def network():
    parser = ConfigParser()
    parser.read_config(str(CONFIG))
    return load("nuclei_segmentation", model=parser.get_parsed_content("network_def"), bundle_dir=SEGMENTATION.parent)


def examples():
    """Smooth images in the network's range, of other shapes than the one that is exported with, too."""
    generator = torch.Generator().manual_seed(0)
    for shape in SHAPES:
        coarse = torch.rand((*shape[:2], 8, 8), generator=generator) * 2 - 1
        yield torch.nn.functional.interpolate(coarse, shape[2:], mode="bilinear")


def check(function, network):
    for image in examples():
        with torch.inference_mode():
            wanted = network(image)
            torch.testing.assert_close(torch.as_tensor(function(image)), wanted, rtol=0, atol=1e-4)
        assert wanted.std() > 0.5  # a network that says the same of everything would agree with any other


def test_monais_loader_takes_the_weights_whole(network):
    shipped = torch.load(WEIGHTS, weights_only=True)
    loaded = network.eval().state_dict()
    assert shipped.keys() == loaded.keys()
    assert all(torch.equal(shipped[name].float(), loaded[name].cpu()) for name in shipped)


def test_torchscript_agrees(network, tmp_path):
    exported = str(tmp_path / "model.ts")
    ckpt_export("network_def", filepath=exported, ckpt_file=str(WEIGHTS), meta_file=str(META), config_file=str(CONFIG))
    scripted, about, _ = load_net_with_metadata(exported)
    assert about["version"] == json.loads(META.read_bytes())["version"]
    check(scripted.eval(), network.eval())


def test_a_program_of_torch_export_agrees(network, tmp_path):
    batch, automatic = torch.export.Dim("batch"), torch.export.Dim.AUTO
    program = torch.export.export(
        network.eval(),
        (next(examples()).expand(2, -1, -1, -1),),
        dynamic_shapes=({0: batch, 2: automatic, 3: automatic},),
    )
    torch.export.save(program, tmp_path / "model.pt2")
    check(torch.export.load(tmp_path / "model.pt2").module(), network)


def test_onnx_agrees(network, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    exported = str(tmp_path / "model.onnx")
    onnx_export(
        "network_def",
        filepath=exported,
        ckpt_file=str(WEIGHTS),
        meta_file=str(META),
        config_file=str(CONFIG),
        use_trace=True,
        input_shape=[2, 3, 256, 256],
        converter_kwargs={"input_names": ["image"], "output_names": ["pred"], "dynamic_axes": {"image": AXES}},
    )
    session = runtime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    check(lambda image: session.run(["pred"], {"image": image.numpy()})[0], network.eval())


def test_monais_workflow_segments_images(phantom_images, tmp_path):
    workflow = ConfigWorkflow(
        str(CONFIG),
        meta_file=str(META),
        workflow_type="inference",
        bundle_root=str(SEGMENTATION),
        dataset_dir=str(phantom_images),
        output_dir=str(tmp_path),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()
    assert len(np.unique(read_label(tmp_path / "a.png"))) > 5


def test_an_unpacked_zip_runs_with_nothing_but_the_package(phantom_images, tmp_path):
    """As who downloads the bundle and installs the wheel has it: its own files are used, not the package's."""
    shutil.make_archive(str(tmp_path / "bundle"), "zip", SEGMENTATION.parent, SEGMENTATION.name)
    shutil.unpack_archive(tmp_path / "bundle.zip", tmp_path)
    root = tmp_path / SEGMENTATION.name
    settings = root / "configs" / "inference.yaml"
    command = [sys.executable, "-I", "-m", "monai.bundle", "run", "--bundle_root", str(root)]
    command += ["--dataset_dir", str(phantom_images), "--output_dir", str(tmp_path / "out")]
    subprocess.run([*command, "--config_file", str(settings)], cwd=tmp_path, check=True, capture_output=True)
    assert len(np.unique(read_label(tmp_path / "out" / "a.png"))) > 5
    (root / "models" / "model.pt").unlink()
    failed = subprocess.run([*command, "--config_file", str(settings)], cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode != 0
    assert f"{root / 'models' / 'model.pt'}" in failed.stderr
