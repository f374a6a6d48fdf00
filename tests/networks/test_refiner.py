import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from nucleosynth.networks import Refiner, ResidualRefiner
from nucleosynth.networks.refiner import bounded_change, clamp_to_range, enlarge


def smooth_refiner(width=32, **settings):
    return ResidualRefiner(width, smooth=True, **settings)


every = pytest.mark.parametrize("make", [Refiner, ResidualRefiner, smooth_refiner])


@pytest.mark.parametrize(("reference", "convolutions", "poolings"), [(True, 21, 2), (False, 17, 0)])
def test_the_papers_counts(executed, images, pooling, reference, convolutions, poolings):
    network = Refiner(width=4, reference=reference)
    counts = executed(network, images(1), images(1))
    assert [counts[layer] for layer in network.modules() if isinstance(layer, nn.Conv2d)] == [1] * convolutions
    assert [counts[layer] for layer in network.modules() if isinstance(layer, pooling)] == [1] * poolings


@pytest.mark.parametrize("blocks", [1, 4])
def test_the_light_one_has_as_many_blocks_as_asked_for(executed, images, blocks):
    network = ResidualRefiner(width=4, blocks=blocks)
    counts = executed(network, images(1), images(1))
    convolutions = [counts[layer] for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert convolutions == [1] * (1 + 4 + 2 * blocks + 1)


@pytest.mark.parametrize(
    ("make", "parameters"), [(Refiner, 161_955), (ResidualRefiner, 111_692), (smooth_refiner, 119_459)]
)
def test_number_of_parameters(make, parameters):
    assert sum(weights.numel() for weights in make().parameters()) == parameters


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (lambda: Refiner(4), 33),
        (lambda: ResidualRefiner(4), 44),
        (lambda: ResidualRefiner(4, blocks=2), 28),
        (lambda: smooth_refiner(4), 96),
        (lambda: smooth_refiner(4, blocks=2), 64),
    ],
)
def test_receptive_field(extent, images, make, seen):
    network, reference = make().double(), images(1).double()
    assert extent(lambda image: network(image, reference), images(1, 128, 128).double() / 2, 64, 64) == (seen, seen)


@every
def test_an_output_pixel_sees_all_of_the_reference(extent, images, make):
    network, image = make(4).double(), images(1).double() / 2
    assert extent(lambda reference: network(image, reference), images(1, 48, 80).double(), 30, 30) == (48, 80)


@every
@given(seed=st.integers(0, 1000), max_change=st.sampled_from([0.05, 0.5, 2.0]), strength=st.sampled_from([0.1, 10.0]))
@settings(max_examples=8, deadline=None)
def test_the_change_is_bounded_however_wild_the_network(make, seed, max_change, strength):
    generator = torch.Generator().manual_seed(seed)
    network = make(4, max_change=max_change)
    with torch.no_grad():
        network.last.weight.normal_(0, strength, generator=generator)
        image = (torch.rand(1, 3, 64, 64, generator=generator) * 2.4 - 1.2).clamp(-1, 1)
        refined = network(image, image.flip(3))
    assert (refined - image).abs().max() <= max_change + 1e-6
    assert refined.abs().max() <= 1
    if strength > 1:
        assert (refined - image).abs().max() > 0.9 * max_change


@every
def test_an_untrained_refiner_hardly_changes_its_input(make, images):
    image = images(2)
    with torch.no_grad():
        change = (make()(image, images(2)) - image).abs()
    grey_level = 2 / 255
    assert 0 < change.mean() < grey_level
    assert change.max() < 4 * grey_level


@every
def test_another_reference_gives_another_image(make, images):
    network, image = make(4), images(1)
    nn.init.xavier_uniform_(network.last.weight)
    with torch.no_grad():
        change = (network(image, torch.full_like(image, 0.8)) - network(image, torch.full_like(image, -0.8))).abs()
    assert change.mean() > 0.01


@pytest.mark.parametrize(
    "make", [lambda: Refiner(16), lambda: ResidualRefiner(16, blocks=1), lambda: smooth_refiner(16, blocks=1)]
)
def test_colour_is_learnt_from_the_reference(make):
    """Every reference is new, so this is learnt and not remembered; without looking at it the error would be 1."""
    network = make()
    optimiser = torch.optim.Adam(network.parameters(), lr=4e-3)
    errors = []
    for _ in range(80):
        colour = torch.rand(8, 3, 1, 1) * 0.8 - 0.4
        image, reference = 0.2 * torch.randn(2, 8, 3, 32, 32).clamp(-3, 3)
        error = (network(image, reference + colour).mean((2, 3), keepdim=True) - colour).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append((error / colour.square().mean()).item())
    assert sum(errors[-10:]) / 10 < 0.4


def test_the_clamp_stops_only_what_leads_further_out():
    values = torch.tensor([-1.5, -1.5, -1.0, 0.3, 1.0, 1.5, 1.5], requires_grad=True)
    gradient = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])
    clamped = clamp_to_range(values)
    clamped.backward(gradient)
    assert torch.equal(clamped, values.clamp(-1, 1))
    assert values.grad.tolist() == [0, -1, 1, 1, -1, 1, 0]


@every
def test_a_refiner_that_brightened_the_glass_can_be_told_to_darken_it(make):
    network, glass = make(4), torch.ones(1, 3, 32, 32)
    nn.init.constant_(network.last.bias, 1.0)
    optimiser = torch.optim.Adam([network.last.bias], lr=0.05)
    errors = []
    for _ in range(60):
        error = (network(glass) - 0.8).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert errors[0] == pytest.approx(0.04)
    assert errors[-1] < 0.004


def test_a_change_is_computed_at_the_precision_of_the_image():
    image, delta = torch.rand(1, 3, 8, 8), torch.randn(1, 3, 8, 8)
    changed = bounded_change(image, delta.bfloat16(), 0.5)
    assert changed.dtype == torch.float32
    assert torch.equal(changed, bounded_change(image, delta.bfloat16().float(), 0.5))


@every
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        make(width=0)
    for change in (0.0, -1.0, 2.5):
        with pytest.raises(ValueError, match=rf"max_change must lie in \(0, 2\], got {change}"):
            make(max_change=change)


def test_no_blocks_are_refused():
    with pytest.raises(ValueError, match="blocks must be at least 1, got 0"):
        ResidualRefiner(blocks=0)


def test_the_light_refiner_leaves_no_lattice(images):
    """Whatever its last layer does: the change has nothing that repeats every other pixel."""
    network = ResidualRefiner(4, blocks=1)
    torch.manual_seed(0)
    with torch.no_grad():
        network.last.weight.normal_(0, 0.01)
        network.last.bias.normal_(0, 0.3)
        image = images(1, 64, 64) * 0.2
        change = network(image) - image
    inner = change[0, :, 2:-2, 2:-2]
    signs = torch.ones_like(inner[0])
    signs[:, 1::2] *= -1
    for lattice in (signs, signs.T, signs * signs.T):
        assert (inner * lattice).mean().abs() < 1e-3 * inner.abs().mean()


@pytest.mark.parametrize(("smooth", "least", "most"), [(True, 0, 0.01), (False, 0.05, 1)])
def test_a_smooth_refiner_changes_nothing_fine(images, smooth, least, most):
    """Share of the change, of a rough image and by random layers, in periods of less than 4 pixels."""
    network, image = ResidualRefiner(4, blocks=1, smooth=smooth), images(4, 128, 128) * 0.2
    with torch.no_grad():
        network.last.weight.normal_(0, 0.1)
        change = network(image) - image
    power = torch.fft.fft2(change - change.mean((2, 3), keepdim=True)).abs().square()
    fine = torch.fft.fftfreq(128).abs() > 0.25
    share = power[..., fine[:, None] | fine].sum() / power.sum()
    assert least <= share < most


def test_a_smooth_change_has_no_lattice_of_its_grid(images):
    """The mean change of each of the 4 x 4 places of the grid is the same."""
    network, image = smooth_refiner(4, blocks=1), images(8, 128, 128) * 0.2
    with torch.no_grad():
        network.last.weight.normal_(0, 0.1)
        network.last.bias.normal_(0, 0.3)
        change = (network(image) - image)[..., 8:-8, 8:-8]
    places = change.unflatten(2, (-1, 4)).unflatten(4, (-1, 4)).mean((0, 2, 4))
    assert places.std((1, 2)).max() < 0.01 * change.std()


def test_a_node_becomes_a_cubic_b_spline():
    """By hand: 2/3 - d² + d³/2 up to one node away, (2 - d)³/6 up to two; d in steps of a quarter from an eighth."""
    nodes = torch.zeros(1, 1, 7, 7)
    nodes[..., 3, 3] = 1
    row = enlarge(nodes, 4)[0, 0].sum(0) / 4
    near = [2 / 3 - d**2 + d**3 / 2 for d in (0.125, 0.375, 0.625, 0.875)]
    far = [(2 - d) ** 3 / 6 for d in (1.125, 1.375, 1.625, 1.875)]
    torch.testing.assert_close(row[14:22], torch.tensor(near + far))
    torch.testing.assert_close(row[6:14], torch.tensor((near + far)[::-1]))
    assert not row[:6].any()
    assert not row[22:].any()


@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_keeps_what_is_even_or_rises_evenly(factor):
    even = torch.full((1, 2, 3, 5), 0.7)
    torch.testing.assert_close(enlarge(even, factor), torch.full((1, 2, 3 * factor, 5 * factor), 0.7))
    slope = torch.arange(9.0).expand(1, 1, 9, 9)
    expected = (torch.arange(9.0 * factor) + 0.5) / factor - 0.5
    inner = slice(2 * factor, -2 * factor)
    torch.testing.assert_close(enlarge(slope, factor)[0, 0, 0, inner], expected[inner])
