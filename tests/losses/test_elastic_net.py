import pytest
import torch

from nucleosynth.losses import ElasticNetLoss


def test_the_value_of_a_known_difference():
    initial, refined = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    # 12 of 96 values differ by 0.5: mean absolute 1/16, mean square 1/32.
    refined[0, :, 0] = -0.5
    assert ElasticNetLoss(l1=16, l2=0)(refined, initial).item() == pytest.approx(1)
    assert ElasticNetLoss(l1=0, l2=32)(refined, initial).item() == pytest.approx(1)
    assert ElasticNetLoss(l1=16, l2=32)(refined, initial).item() == pytest.approx(2)


def test_the_setting_holds_for_every_size():
    small, large = torch.full((1, 3, 16, 16), 0.3), torch.full((4, 3, 64, 64), 0.3)
    loss = ElasticNetLoss(l1=1.2, l2=12)
    assert loss(small, -small).item() == pytest.approx(loss(large, -large).item())


def test_the_papers_setting_is_converted_as_documented():
    difference = torch.rand(1, 3, 200, 200) - 0.5
    summed = 1e-5 * difference.abs().sum() + 1e-4 * difference.square().sum()
    loss = ElasticNetLoss(l1=1.2, l2=12)(difference, torch.zeros_like(difference))
    assert loss.item() == pytest.approx(summed.item(), rel=1e-4)


def test_an_unchanged_patch_costs_nothing_and_its_gradient_is_zero():
    image = torch.rand(2, 3, 8, 8, requires_grad=True)
    loss = ElasticNetLoss(l1=1.2, l2=12)(image, image.detach())
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(image.grad, torch.zeros_like(image))


def test_the_gradient_pulls_back():
    refined = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    ElasticNetLoss(l1=12, l2=12)(refined, torch.zeros(1, 3, 2, 2)).backward()
    # d/dx of (12 |x| + 12 x^2) / 12 at 0.5.
    torch.testing.assert_close(refined.grad, torch.full((1, 3, 2, 2), 2.0))


def test_half_precision_is_computed_in_float32():
    initial = torch.zeros(1, 3, 64, 64, dtype=torch.bfloat16)
    refined = torch.full_like(initial, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        loss = ElasticNetLoss(l1=1, l2=4)(refined, initial)
    assert loss.dtype == torch.float32
    assert loss.item() == 1.5


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_a_negative_weight_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -1"):
        ElasticNetLoss(**{"l1": 1, "l2": 1, name: -1})


def test_images_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3, 8, 8\) and \(1, 3, 8, 8\)"):
        ElasticNetLoss(1, 1)(torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8))
