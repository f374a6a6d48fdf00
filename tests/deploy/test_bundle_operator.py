"""The segmentation bundle in an application of somebody else, by the operator that MONAI Deploy has for bundles."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from nucleosynth.bundles import bundle_path
from nucleosynth.data.images import read_label, write_png
from nucleosynth.data.phantom import PhantomSettings, generate_phantom

pytestmark = [
    pytest.mark.deploy,
    pytest.mark.skipif(importlib.util.find_spec("holoscan") is None, reason="needs the extra deploy"),
]

# As in docs/bundles.md, between an operator that has an image and one that keeps what comes.
APPLICATION = """
import sys
from nucleosynth.bundles import bundle_path
from nucleosynth.data.images import read_image
from nucleosynth.deploy.command import enlarge_stack
import numpy as np
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, IOType, Operator
from monai.deploy.operators.monai_bundle_inference_operator import (
    BundleConfigNames, IOMapping, MonaiBundleInferenceOperator,
)

class Source(Operator):
    def setup(self, spec):
        spec.output("image")

    def compute(self, op_input, op_output, context):
        op_output.emit(read_image(sys.argv[1]), "image")

class Sink(Operator):
    def setup(self, spec):
        spec.input("pred")

    def compute(self, op_input, op_output, context):
        np.save(sys.argv[2], op_input.receive("pred"))

class Nuclei(Application):
    def compose(self):
        source = Source(self, CountCondition(self, 1), name="source")
        nuclei = MonaiBundleInferenceOperator(
            self, name="nuclei", app_context=AppContext({}), bundle_path=bundle_path("nuclei_segmentation"),
            bundle_config_names=BundleConfigNames(config_names=["inference", "operator"]),
            input_mapping=[IOMapping("image", np.ndarray, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", np.ndarray, IOType.IN_MEMORY)],
        )
        self.add_flow(source, nuclei, {("image", "image")})
        self.add_flow(nuclei, Sink(self, name="sink"), {("pred", "pred")})

enlarge_stack()
Nuclei([sys.executable]).run()
"""


@pytest.mark.slow
def test_it_finds_the_nuclei_that_the_bundle_finds_in_a_file(tmp_path):
    """With more of them than 8 bits could number."""
    tissue = generate_phantom(PhantomSettings(width=1280, height=1280, seed=4, tissue_share=1.0)).image
    write_png(tmp_path / "images" / "a.png", tissue)
    (tmp_path / "app.py").write_text(APPLICATION)
    command = [sys.executable, tmp_path / "app.py", tmp_path / "images" / "a.png", tmp_path / "pred.npy"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = np.load(tmp_path / "pred.npy")
    bundle = bundle_path("nuclei_segmentation")
    workflow = ConfigWorkflow(
        str(bundle / "configs" / "inference.yaml"),
        workflow_type="inference",
        bundle_root=str(bundle),
        dataset_dir=str(tmp_path / "images"),
        output_dir=str(tmp_path / "labels"),
    )
    workflow.initialize()
    workflow.run()
    expected = read_label(tmp_path / "labels" / "a.png")
    assert found.shape == (1, *expected.shape)
    assert expected.max() > 255
    assert np.mean((found[0] > 0) == (expected > 0)) > 0.9999
    assert abs(int(found.max()) - int(expected.max())) <= 2
