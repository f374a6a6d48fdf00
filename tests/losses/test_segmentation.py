import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.losses import SegmentationLoss, weighted_mean

LOG2 = math.log(2)


def sure(target):
    """Logits that are right about every pixel."""
    return (target * 2 - 1) * 100


@pytest.fixture
def target(rng):
    return torch.from_numpy(rng.random((3, 2, 16, 16)) > 0.7).float()


def test_cross_entropy_of_an_undecided_network():
    loss = SegmentationLoss(dice=0)(torch.zeros(2, 2, 8, 8), torch.ones(2, 2, 8, 8))
    torch.testing.assert_close(loss, torch.tensor([LOG2, LOG2]))


def test_cross_entropy_is_a_mean_over_both_channels():
    logits, target = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    logits[:, 0] = -100  # sure and right about the detection, undecided about the segmentation
    assert SegmentationLoss(dice=0)(logits, target).item() == pytest.approx(LOG2 / 2)


def test_dice_of_a_known_overlap():
    logits, target = torch.full((1, 2, 4, 4), -100.0), torch.zeros(1, 2, 4, 4)
    target[:, 1, :2], logits[:, 1, 1:3] = 1, 100  # two rows each, one of them common
    loss = SegmentationLoss(dice=1)(logits, target) - SegmentationLoss(dice=0)(logits, target)
    assert loss.item() == pytest.approx(1 - (2 * 4 + 1) / (8 + 8 + 1), rel=1e-4)


def test_dice_ignores_the_detection_channel(target):
    dice = SegmentationLoss(dice=1)
    entropy = SegmentationLoss(dice=0)
    logits = sure(target)
    logits[:, 0] *= -1
    torch.testing.assert_close(dice(logits, target), entropy(logits, target))


def test_a_right_network_costs_nothing(target):
    torch.testing.assert_close(SegmentationLoss(border=3)(sure(target), target), torch.zeros(3))


def test_an_empty_mask_is_safe():
    logits = torch.full((1, 2, 8, 8), -100.0, requires_grad=True)
    loss = SegmentationLoss()(logits, torch.zeros(1, 2, 8, 8))
    loss.sum().backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad.isfinite().all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(0.05, 0.95))
def test_a_soft_target_is_reached_and_not_overshot(value):
    logit = math.log(value / (1 - value))
    target = torch.full((1, 2, 8, 8), value)
    at, above, below = (SegmentationLoss()(torch.full((1, 2, 8, 8), logit + d), target) for d in (0, 0.2, -0.2))
    assert at < above
    assert at < below


def test_each_example_has_its_own_loss(target):
    logits = torch.randn(3, 2, 16, 16)
    together = SegmentationLoss(border=2)(logits, target)
    alone = torch.cat([SegmentationLoss(border=2)(logits[i : i + 1], target[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_the_border_counts_by_its_weight():
    logits, target = torch.full((1, 2, 10, 10), -100.0), torch.zeros(1, 2, 10, 10)
    logits[:, :, 0] = 0  # undecided in the outermost row, 10 of 100 pixels, 36 of them in a frame of 1
    for border, expected in ((0, 10 / 100), (1, 10 * 0.5 / (64 + 36 * 0.5))):
        loss = SegmentationLoss(dice=0, border=border, border_weight=0.5)(logits, target)
        assert loss.item() == pytest.approx(LOG2 * expected)


def test_a_border_of_no_weight_is_as_good_as_cut_off(target):
    logits = torch.randn(3, 2, 16, 16)
    framed = SegmentationLoss(border=4, border_weight=0)(logits, target)
    torch.testing.assert_close(framed, SegmentationLoss()(logits[..., 4:-4, 4:-4], target[..., 4:-4, 4:-4]))


def test_the_loss_does_not_depend_on_the_size_of_the_patch():
    small, large = (torch.zeros(1, 2, side, side) for side in (32, 128))
    loss = SegmentationLoss()
    assert loss(small, small + 0.5).item() == pytest.approx(loss(large, large + 0.5).item(), rel=1e-3)


@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_gradients_are_finite_at_extreme_logits(target, logit):
    logits = torch.full((3, 2, 16, 16), logit, requires_grad=True)
    loss = SegmentationLoss()(logits, target)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


def test_half_precision_is_computed_in_float32(target):
    logits = torch.randn(3, 2, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = SegmentationLoss()(logits, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, SegmentationLoss()(logits.float(), target))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dice": -1}, "dice must not be negative, got -1"),
        ({"border": -2}, "border must not be negative, got -2"),
        ({"border_weight": 1.5}, r"border_weight must lie in \[0, 1\], got 1.5"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SegmentationLoss(**settings)


def test_wrong_shapes_are_refused(target):
    with pytest.raises(ValueError, match=r"logits must have shape \(B, 2, H, W\), got \(3, 1, 16, 16\)"):
        SegmentationLoss()(torch.zeros(3, 1, 16, 16), target)
    with pytest.raises(ValueError, match=r"target must have the logits' shape \(1, 2, 16, 16\), got \(3, 2, 16, 16\)"):
        SegmentationLoss()(torch.zeros(1, 2, 16, 16), target)
    with pytest.raises(ValueError, match="border must leave pixels inside patches of 16x16 px, got 8"):
        SegmentationLoss(border=8)(sure(target), target)


def test_weighted_mean_of_known_losses():
    losses = torch.tensor([1.0, 2.0, 6.0])
    assert weighted_mean(losses).item() == pytest.approx(3)
    assert weighted_mean(losses, torch.tensor([2.0, 0.5, 0.0])).item() == pytest.approx(1)


def test_the_weights_scale_the_gradient_of_each_example():
    losses = torch.ones(2, requires_grad=True)
    weighted_mean(losses, torch.tensor([3.0, 0.5])).backward()
    torch.testing.assert_close(losses.grad, torch.tensor([1.5, 0.25]))


@pytest.mark.parametrize("shape", [(3, 1), (2,), ()])
def test_weights_that_would_broadcast_are_refused(shape):
    with pytest.raises(ValueError, match=r"weights must have the losses' shape \(3,\), got \("):
        weighted_mean(torch.ones(3), torch.ones(shape))


def test_a_mean_over_nothing_is_refused():
    with pytest.raises(ValueError, match=r"losses must have shape \(B,\), one for each example, got \(0,\)"):
        weighted_mean(torch.ones(0))
