import shutil
from pathlib import Path

import pytest
import torch

from nucleosynth.bundles import bundle_path
from nucleosynth.errors import InputError
from nucleosynth.slides.model import find_weights, load_segmenter


def test_a_bundle_and_the_output_that_holds_it_are_the_same(bundle):
    segmenters = [load_segmenter(folder) for folder in (bundle, bundle.parent)]
    assert segmenters[0].model_sha256 == segmenters[1].model_sha256
    assert segmenters[0].instances.mpp == 0.25


def test_where_weights_lie(bundle, tmp_path, monkeypatch):
    shipped = bundle_path("nuclei_segmentation") / "models"
    assert find_weights() == shipped / "model.pt"
    assert find_weights("research") == shipped / "model_research.pt"
    assert find_weights(bundle.parent) == bundle / "models" / "model.pt"
    # A folder of one's own that happens to be called so is meant, where there is one.
    shutil.copytree(bundle, tmp_path / "research")
    monkeypatch.chdir(tmp_path)
    assert find_weights("research") == Path("research", "models", "model.pt")


def test_entries_can_be_changed(bundle):
    segmenter = load_segmenter(bundle, {"segmenter#workers": 3, "mpp": 0.5, "plan#core": 64})
    assert (segmenter.workers, segmenter.instances.mpp, segmenter.plan.core) == (3, 0.5, 64)


def test_what_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no bundle that segments slides .* give an output of train"):
        load_segmenter(tmp_path)


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_model_is_refused(copy, content):
    (copy / "models" / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"model.pt: damaged, or not a file of plain tensors; it was not loaded"):
        load_segmenter(copy)


def test_a_model_of_another_network_is_refused(copy):
    torch.save({"weight": torch.zeros(1)}, copy / "models" / "model.pt")
    with pytest.raises(InputError, match=r"model.pt: weights of another network"):
        load_segmenter(copy)


class Evil:
    def __reduce__(self):
        return (open, ("evil", "w"))


def test_a_model_that_would_execute_code_does_not(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Evil()}, copy / "models" / "model.pt")
    with pytest.raises(InputError, match="it was not loaded"):
        load_segmenter(copy)
    assert not (tmp_path / "evil").exists()


def test_a_missing_model_is_said_to_be_missing(copy):
    (copy / "models" / "model.pt").unlink()
    with pytest.raises(InputError, match=r"model.pt: no such file"):
        load_segmenter(copy)


def test_a_damaged_configuration_is_refused(copy):
    (copy / "configs" / "slide_inference.yaml").write_text("network: [")
    with pytest.raises(InputError, match=r"slide_inference.yaml: cannot be used as a bundle's configuration"):
        load_segmenter(copy)
