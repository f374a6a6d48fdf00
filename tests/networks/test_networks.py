"""What all networks promise: the sizes they take, precision, export, and that a batch does not mix."""

import io

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from monai.networks.nets import UNet
from monai.networks.utils import convert_to_torchscript
from torch import nn

from nucleosynth import networks
from nucleosynth.networks import Discriminator, Refiner, ResidualRefiner, SegmentationCNN

NARROW = (4, 6, 8, 6, 4)
PAIRED = {
    "refiner": lambda: Refiner(width=6),
    "refiner without reference": lambda: Refiner(width=6, reference=False),
    "light refiner": lambda: ResidualRefiner(width=6, blocks=2),
    "light refiner without reference": lambda: ResidualRefiner(width=6, blocks=2, reference=False),
    "smooth refiner": lambda: ResidualRefiner(width=6, blocks=2, smooth=True),
    "discriminator": lambda: Discriminator(NARROW),
    "discriminator without reference": lambda: Discriminator(NARROW, reference=False),
}
OURS = {**PAIRED, "segmentation CNN": SegmentationCNN}
ALL = {
    **OURS,
    "normalised discriminator": lambda: Discriminator(NARROW, batch_norm=True),
    # The configuration of the segmentation bundle; MONAI's own code.
    "U-Net": lambda: UNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=2,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
        norm="instance",
    ),
}
ours = pytest.mark.parametrize("make", OURS.values(), ids=OURS)
everyone = pytest.mark.parametrize("make", ALL.values(), ids=ALL)
paired = pytest.mark.parametrize("make", PAIRED.values(), ids=PAIRED)
referring = pytest.mark.parametrize("make", [PAIRED[name] for name in PAIRED if "without" not in name])
sixteens = st.integers(4, 8).map(lambda number: 16 * number)


def expected_shape(network, count, height, width):
    if isinstance(network, Discriminator):
        return (count,)
    return (count, 3 if isinstance(network, (Refiner, ResidualRefiner)) else 2, height, width)


def awaken(network):
    """Start all weights anew, so that a refiner's last layer is no smaller than the others."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
    return network.eval()


def test_all_that_is_exported_exists():
    assert all(hasattr(networks, name) for name in networks.__all__)


@everyone
@given(count=st.integers(1, 2), height=sixteens, width=sixteens)
@settings(max_examples=6, deadline=None)
def test_any_multiple_of_16_is_taken(make, count, height, width):
    network = make()
    with torch.no_grad():
        assert network(torch.zeros(count, 3, height, width)).shape == expected_shape(network, count, height, width)


@paired
@given(size=st.tuples(sixteens, sixteens), other=st.tuples(sixteens, sixteens))
@settings(max_examples=6, deadline=None)
def test_the_reference_may_have_another_size(make, size, other):
    network = make()
    with torch.no_grad():
        output = network(torch.zeros(1, 3, *size), torch.zeros(1, 3, *other))
    assert output.shape == expected_shape(network, 1, *size)


@everyone
def test_an_image_is_judged_apart_from_its_batch(make, images):
    network, batch = awaken(make()), images(3)
    # In training mode as well, but for the batch normalisation that was asked for.
    network.train(not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()))
    with torch.no_grad():
        whole = network(batch)
        alone = torch.cat([network(image[None]) for image in batch])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-4)


@paired
def test_a_pair_is_judged_apart_from_its_batch(make, images):
    network, batch, references = awaken(make()), images(3), images(3, 64, 96)
    with torch.no_grad():
        whole = network(batch, references)
        alone = torch.cat([network(*(each[None] for each in pair)) for pair in zip(batch, references, strict=True)])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-4)


@everyone
def test_bfloat16_and_channels_last_give_nearly_the_same(make, images):
    network, batch = awaken(make()), images(8)  # the largest of so many logits is not near 0 by chance
    with torch.no_grad():
        exact = network(batch)
        network, batch = (each.to(memory_format=torch.channels_last) for each in (network, batch))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(batch)
    assert (exact - rough.float()).abs().max() < 0.05 * exact.abs().max()


@everyone
def test_every_parameter_learns_from_the_first_step_on_in_bfloat16(make, images):
    network = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(images(2))
    output.float().square().sum().backward()
    silent = [name for name, weights in network.named_parameters() if weights.grad is None or not weights.grad.any()]
    # A constant that is added before an instance normalisation is taken away again.
    assert [name for name in silent if not (isinstance(network, UNet) and name.endswith("bias"))] == []
    assert all(weights.grad is None or weights.grad.isfinite().all() for weights in network.parameters())


@everyone
def test_a_state_dict_goes_through_a_file_without_running_code(make, images):
    torch.manual_seed(1)
    first, second, batch = awaken(make()), awaken(make()), images(1)
    with torch.no_grad():
        assert not torch.equal(first(batch), second(batch))
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(first(batch), second(batch))


@everyone
def test_a_script_is_made_from_one_input_as_bundles_are_exported(make, images):
    network, batch = awaken(make()), images(2, 64, 80)
    script = convert_to_torchscript(network, verify=True, inputs=[batch], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(script(batch), network(batch), atol=1e-5, rtol=1e-4)


@paired
def test_a_script_takes_the_reference_too(make, images):
    network, batch, references = awaken(make()), images(2), images(2)
    with torch.no_grad():
        output = torch.jit.script(network)(batch, references)
        torch.testing.assert_close(output, network(batch, references), atol=1e-5, rtol=1e-4)


@ours
def test_an_exported_program_takes_other_sizes(make, images):
    network, batch = awaken(make()), images(2, 64, 96)
    count, height, width = (torch.export.Dim(name, min=2, max=64) for name in ("count", "height", "width"))
    sizes = {0: count, 2: 16 * height, 3: 16 * width}
    program = torch.export.export(network, (batch,), dynamic_shapes=(sizes,)).module()
    other = images(3, 80, 64)
    with torch.no_grad():
        torch.testing.assert_close(program(other), network(other), atol=1e-5, rtol=1e-4)


@ours
def test_there_is_no_normalisation_and_one_slope(make):
    modules = list(make().modules())
    assert [module for module in modules if "Norm" in type(module).__name__] == []
    assert {module.negative_slope for module in modules if isinstance(module, nn.LeakyReLU)} == {0.2}


@referring
def test_the_image_stands_in_for_a_missing_reference(make, images):
    network, batch = awaken(make()), images(2)
    with torch.no_grad():
        assert torch.equal(network(batch), network(batch, batch))
        assert not torch.allclose(network(batch), network(batch, torch.full_like(batch, 0.9)), atol=1e-5, rtol=1e-3)


@ours
@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 64, 72), (1, 3, 60, 64), (1, 3, 0, 64)])
def test_an_image_of_another_shape_is_refused(make, shape):
    message = (
        rf"image must have shape \(B, 3, H, W\) with H and W multiples of 16, got \[{', '.join(map(str, shape))}\]"
    )
    with pytest.raises(ValueError, match=message):
        make()(torch.zeros(shape))


@referring
def test_a_reference_of_another_shape_is_refused(make, images):
    with pytest.raises(ValueError, match=r"reference must have shape .*, got \[2, 3, 64, 65\]"):
        make()(images(2), images(2, 64, 65))
    with pytest.raises(ValueError, match="reference must hold one patch an image, got 1 for 2"):
        make()(images(2), images(1))


@pytest.mark.parametrize("make", [PAIRED[name] for name in PAIRED if "without" in name])
def test_without_a_branch_the_reference_is_ignored(make, images):
    network, batch = awaken(make()), images(2)
    with torch.no_grad():
        assert torch.equal(network(batch, images(2)), network(batch))
