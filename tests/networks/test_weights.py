import pickle

import pytest
import torch
from torch import nn

from nucleosynth.errors import InputError
from nucleosynth.networks import Discriminator, build_network, load_weights, read_tensors

CONFIG = """\
imports:
  - $import torch
width: 3
network_def:
  _target_: nucleosynth.networks.Discriminator
  widths: ["@width", 4, 5, 6, "$1 + 6"]
  reference: false
other_def:
  _target_: torch.nn.Linear
  in_features: 2
  out_features: 5
number: 7
"""


class Malicious:
    """An object that a file can hold, and that runs a command when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "inference.yaml").write_text(CONFIG)
    return tmp_path / "inference.yaml"


def test_tensors_and_plain_values_come_back(path):
    state = {
        "weight": torch.rand(3, 4),
        "image": torch.arange(10, dtype=torch.uint8),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "iteration": 7,
        "identity": "a1",
        "rate": 0.5,
        "nothing": None,
        "list": [{"deep": torch.zeros(1)}, {}],
    }
    torch.save(state, path)
    loaded = read_tensors(path)
    assert list(loaded) == list(state)
    for key in ("weight", "image", "half"):
        assert torch.equal(loaded[key], state[key])
        assert loaded[key].dtype == state[key].dtype
    assert [loaded[key] for key in ("iteration", "identity", "rate", "nothing")] == [7, "a1", 0.5, None]
    assert torch.equal(loaded["list"][0]["deep"], torch.zeros(1))


def test_what_was_read_can_be_changed_and_the_file_stays(path):
    torch.save({"weight": torch.ones(3)}, path)
    read_tensors(path)["weight"].zero_()
    assert torch.equal(read_tensors(path)["weight"], torch.ones(3))


def test_a_missing_file_is_named(path):
    with pytest.raises(InputError, match=r"model\.pt: no such file"):
        read_tensors(path)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_named(path, share):
    torch.save({"weight": torch.rand(100, 100)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"model\.pt: damaged, or not a file of plain tensors; it was not loaded"):
        read_tensors(path)


@pytest.mark.parametrize("content", [b"not a file of tensors", bytes(1000), b"PK\x03\x04" + bytes(100), b"\x80\x05"])
def test_other_files_are_named(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pt: damaged, or not a file of plain tensors"):
        read_tensors(path)


def test_a_folder_is_named(path):
    path.mkdir()
    with pytest.raises(InputError, match=r"model\.pt: damaged, or not a file of plain tensors"):
        read_tensors(path)


@pytest.mark.parametrize("kind", ["torch", "pickle", "legacy"])
def test_objects_are_refused_and_nothing_is_executed(path, tmp_path, kind):
    content = {"weight": Malicious(tmp_path / "executed")}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(InputError, match=r"model\.pt: damaged, or not a file of plain tensors"):
        read_tensors(path)
    assert not (tmp_path / "executed").exists()


def test_a_whole_pickled_network_is_refused(path):
    """It would run the code of its classes; only its tensors are wanted."""
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(InputError, match=r"model\.pt: damaged, or not a file of plain tensors"):
        load_weights(nn.Linear(2, 2), path)


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "path"])
def test_loaded_weights_are_those_that_were_saved(path, kind):
    trained, network = Discriminator((2, 3, 4, 5, 6)), Discriminator((2, 3, 4, 5, 6))
    torch.save(trained.state_dict(), path)
    assert load_weights(network, kind(path)) is network
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, trained.get_parameter(name)), name
    assert not network.training
    assert not any(module.training for module in network.modules())


def test_a_loaded_network_does_not_change_with_the_file(path):
    network = nn.Linear(2, 2)
    torch.save(network.state_dict(), path)
    loaded = load_weights(nn.Linear(2, 2), path)
    torch.save(nn.Linear(2, 2).state_dict(), path)
    assert torch.equal(loaded.weight, network.weight)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"weight": torch.zeros(2, 2)},
        {"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "more": torch.zeros(2)},
        {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)},
        {"weight": torch.zeros(2, 2), "bias": "zero"},
        {1: torch.zeros(2, 2)},
        [torch.zeros(2, 2)],
        torch.zeros(2, 2),
        None,
    ],
    ids=["empty", "missing", "unexpected", "shape", "text", "number as key", "list", "tensor", "nothing"],
)
def test_weights_of_another_network_are_named(path, state):
    torch.save(state, path)
    with pytest.raises(InputError, match=r"model\.pt: weights of another network than the configuration describes"):
        load_weights(nn.Linear(2, 2), path)


def test_a_network_is_built_as_its_configuration_says(config):
    network = build_network(config, "network_def")
    assert isinstance(network, Discriminator)
    assert network.encoder is None
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    assert shapes == {name: value.shape for name, value in Discriminator((3, 4, 5, 6, 7), False).state_dict().items()}
    assert build_network(config, "other_def").out_features == 5


def test_a_missing_configuration_or_network_is_named(config):
    with pytest.raises(InputError, match=r"train\.yaml: no such file; is this the folder of a trained bundle\?"):
        build_network(config.with_name("train.yaml"), "network_def")
    with pytest.raises(InputError, match=r"inference\.yaml: describes no refiner_def"):
        build_network(config, "refiner_def")


@pytest.mark.parametrize(
    "content",
    [
        b"network_def: [",
        b"\x00\x01",
        b"\xff\xfe\x80abc",
        b"",
        b"just words",
        b"network_def:\n  _target_: nucleosynth.networks.NoSuchNetwork\n",
        b"network_def:\n  _target_: nucleosynth.networks.Discriminator\n  width: 3\n",
        b"network_def:\n  _target_: nucleosynth.networks.Discriminator\n  widths: [0, 0, 0, 0, 0]\n",
        b"network_def: '@elsewhere'\n",
        b"network_def: $1 / 0\n",
        b"network_def: 7\n",
    ],
    ids=[
        "no YAML", "control characters", "not text", "empty", "words", "unknown class", "unknown argument",
        "wrong argument", "loose reference", "failing expression", "a number",
    ],
)  # fmt: skip
def test_a_damaged_configuration_is_named(config, content):
    config.write_bytes(content)
    with pytest.raises(InputError, match=r"inference\.yaml: [^\n]*$"):
        build_network(config, "network_def")
