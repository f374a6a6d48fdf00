import math

import pytest
import torch

from nucleosynth.losses import RefinerLoss


@pytest.fixture
def batch():
    """Refined patches that differ by 0.5 everywhere, initial ones, and logits of a discriminator that cannot tell."""
    return torch.full((2, 3, 4, 4), 0.5, requires_grad=True), torch.zeros(2, 3, 4, 4), torch.zeros(2)


def test_the_sum_of_equation_6(batch):
    loss = RefinerLoss(regularization=2, realism=3, hard=0.5, l1=1, l2=4)
    losses = loss(*batch, task_loss=torch.tensor(0.8))
    assert losses["regularization"].item() == pytest.approx(1.5)
    assert losses["realism"].item() == pytest.approx(math.log(2))
    assert losses["hard"].item() == pytest.approx(-0.8)
    assert losses["loss"].item() == pytest.approx(2 * 1.5 + 3 * math.log(2) - 0.5 * 0.8)


def test_the_defaults_are_the_papers_setting_for_its_patches():
    image = torch.rand(1, 3, 200, 200) - 0.5
    per_pixel = torch.rand(200, 200)
    summed = 1e-5 * image.abs().sum() + 1e-4 * image.square().sum() + math.log(2) - 1e-7 * per_pixel.sum()
    losses = RefinerLoss()(image, torch.zeros_like(image), torch.zeros(1), per_pixel.mean())
    assert losses["loss"].item() == pytest.approx(summed.item(), rel=1e-4)


def test_the_saturating_form_is_passed_on(batch):
    assert RefinerLoss(hard=0, saturating=True)(*batch)["realism"].item() == pytest.approx(-math.log(2))


def test_hard_examples_raise_the_loss_of_the_task(batch):
    refined, initial, logits = batch
    RefinerLoss(regularization=0, realism=0, hard=1)(refined, initial, logits, refined.mean())["loss"].backward()
    torch.testing.assert_close(refined.grad, torch.full_like(refined, -1 / refined.numel()))


def test_without_hard_examples_no_task_loss_is_needed_and_none_is_used(batch):
    loss = RefinerLoss(hard=0)
    without, nan = loss(*batch), loss(*batch, task_loss=torch.tensor(math.nan))
    assert without["hard"].item() == 0
    assert without["loss"] == nan["loss"]


def test_only_the_sum_carries_gradients(batch):
    losses = RefinerLoss()(*batch, task_loss=batch[0].mean())
    assert {name for name, value in losses.items() if value.requires_grad} == {"loss"}


def test_hard_examples_without_a_task_loss_are_refused(batch):
    with pytest.raises(ValueError, match=r"task_loss must be given, since hard is 0\.004"):
        RefinerLoss()(*batch)


@pytest.mark.parametrize("name", ["regularization", "realism", "hard", "l1", "l2"])
def test_a_negative_weight_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -1"):
        RefinerLoss(**{name: -1})
