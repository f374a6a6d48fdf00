import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.engines import Calibration, ImportanceWeighting

LOG3 = math.log(3)
# No real or synthetic logit is on the wrong side: the temperature is at its lower bound, a quarter.
REAL, SYNTHETIC = torch.tensor([1.0, 1.0]), torch.tensor([-LOG3 / 4, 0.0])

logits = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30).map(torch.tensor)


def test_before_the_first_calibration_all_weights_are_1():
    weights = ImportanceWeighting()(torch.tensor([-100.0, 0.0, 3.0], dtype=torch.float64))
    assert torch.equal(weights, torch.ones(3))
    assert weights.dtype == torch.float32
    assert ImportanceWeighting().calibration is None


def test_a_calibration_by_hand():
    """Odds of 1/3 and 1 have a mean of 2/3; normalised they are 1/2 and 3/2, worth (1/2 + 3/2)² / (2 x (1/4 + 9/4))."""
    weighting = ImportanceWeighting(clip=(0.1, 4.0))
    calibration = weighting.calibrate(REAL, SYNTHETIC)
    assert calibration is weighting.calibration
    assert calibration.temperature == 0.25
    assert calibration.log_mean == pytest.approx(math.log(2 / 3))
    assert calibration.effective_sample_size == pytest.approx(0.8)
    assert calibration.clipped == 0
    torch.testing.assert_close(weighting(SYNTHETIC), torch.tensor([0.5, 1.5]))
    # Other patches are normalised by the calibration's mean, not by their own.
    torch.testing.assert_close(weighting(torch.tensor([LOG3 / 4])), torch.tensor([4.0]))
    torch.testing.assert_close(weighting(torch.tensor([math.log(2) / 4])), torch.tensor([3.0]))


def test_weights_are_clipped_and_the_calibration_tells():
    weighting = ImportanceWeighting(clip=(0.6, 1.2))
    calibration = weighting.calibrate(REAL, SYNTHETIC)
    assert weighting(SYNTHETIC).tolist() == pytest.approx([0.6, 1.2])
    assert calibration.clipped == 1
    assert calibration.effective_sample_size == pytest.approx(1.8**2 / (2 * (0.6**2 + 1.2**2)))
    assert ImportanceWeighting(clip=(0.6, 4)).calibrate(REAL, SYNTHETIC).clipped == 0.5
    assert calibration.log_mean == pytest.approx(math.log(2 / 3))


def test_a_discriminator_too_sure_of_itself_is_softened():
    """Right for 3 of 4 patches, it deserves logits of log 3, and has 6: the temperature is 6 / log 3."""
    real, synthetic = torch.tensor([6.0, 6, 6, -6]), torch.tensor([-6.0, -6, -6, 6])
    weighting = ImportanceWeighting()
    assert weighting.calibrate(real, synthetic).temperature == pytest.approx(6 / LOG3, rel=1e-3)
    # Odds of 1/3 three times, and of 3: their mean is 1.
    torch.testing.assert_close(weighting(synthetic), torch.tensor([1 / 3, 1 / 3, 1 / 3, 3]), rtol=1e-3, atol=1e-3)


def test_one_not_sure_enough_is_sharpened_but_not_without_bound():
    """A discriminator that is judged location by location says less of a whole patch than it could."""
    real, synthetic = torch.tensor([0.5, 0.5, 0.5, -0.5]), torch.tensor([-0.5, -0.5, -0.5, 0.5])
    assert ImportanceWeighting().calibrate(real, synthetic).temperature == pytest.approx(0.5 / LOG3, rel=1e-3)
    assert ImportanceWeighting().calibrate(real / 10, synthetic / 10).temperature == 0.25


def test_weights_that_rest_on_one_patch_are_tempered_in_the_same_order():
    real, synthetic = torch.full((40,), 30.0), torch.linspace(-60, -20, 40)
    free = ImportanceWeighting(clip=(0, 1e6), least_sample_size=0).calibrate(real, synthetic)
    assert free.effective_sample_size == free.untempered_sample_size < 0.03
    weighting = ImportanceWeighting(clip=(0, 1e6), least_sample_size=0.3)
    tempered = weighting.calibrate(real, synthetic)
    assert tempered.untempered_sample_size == free.effective_sample_size
    assert tempered.temperature > free.temperature
    # The factor 1.1 overshoots by little.
    assert 0.3 <= tempered.effective_sample_size < 0.35
    assert (weighting(synthetic).diff() > 0).all()


def test_even_weights_are_not_tempered():
    calibration = ImportanceWeighting(least_sample_size=0.5).calibrate(REAL, SYNTHETIC)
    assert calibration == ImportanceWeighting(least_sample_size=0).calibrate(REAL, SYNTHETIC)


@pytest.mark.parametrize("least", [-0.1, 1.0, math.nan])
def test_a_least_sample_size_that_is_no_share_is_refused(least):
    with pytest.raises(ValueError, match=r"least_sample_size must lie in \[0, 1\)"):
        ImportanceWeighting(least_sample_size=least)


def test_of_a_discriminator_that_knows_nothing_all_weights_are_alike():
    weighting = ImportanceWeighting()
    calibration = weighting.calibrate(torch.zeros(4), torch.zeros(6))
    assert calibration == Calibration(1.0, 0.0, 1.0, 0.0, 1.0)
    assert weighting(torch.zeros(3)).tolist() == [1, 1, 1]


@settings(deadline=None, derandomize=True)
@given(logits, logits)
def test_the_mean_over_the_calibration_set_is_1_but_for_what_is_clipped(real, synthetic):
    wide, narrow = (ImportanceWeighting(clip, least_sample_size=0) for clip in ((0, 1e6), (0.25, 2)))
    wide.calibrate(real, synthetic)
    calibration = narrow.calibrate(real, synthetic)
    free = wide(synthetic)
    assert free.mean().item() == pytest.approx(1, rel=1e-3)
    assert 0.25 <= calibration.temperature <= 20
    weights = narrow(synthetic)
    assert weights.min() >= 0.25
    assert weights.max() <= 2
    torch.testing.assert_close(weights, free.clamp(0.25, 2))
    assert 1 / len(synthetic) - 1e-6 <= calibration.effective_sample_size <= 1 + 1e-6
    assert calibration.effective_sample_size >= wide.calibration.effective_sample_size - 1e-6


@settings(deadline=None, derandomize=True)
@given(logits, logits, st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=8).map(torch.tensor))
def test_later_weights_are_within_bounds_and_in_the_order_of_the_logits(real, synthetic, later):
    weighting = ImportanceWeighting(clip=(0.1, 4))
    weighting.calibrate(real, synthetic)
    weights = weighting(later.sort().values)
    assert weights.dtype == torch.float32
    assert weights.shape == later.shape
    assert (weights.diff() >= 0).all()
    assert weights.min().item() >= 0.1 - 1e-7
    assert weights.max().item() <= 4


def test_weights_are_constants():
    """Else the task's loss could be lowered by declaring hard examples unreal."""
    weighting, later = ImportanceWeighting(), torch.tensor([0.5, 1.0], requires_grad=True)
    assert not weighting(later).requires_grad
    weighting.calibrate(REAL, SYNTHETIC)
    assert not weighting(later).requires_grad
    weighting.calibrate(REAL.requires_grad_(), SYNTHETIC)
    REAL.requires_grad_(False)


def test_a_new_calibration_replaces_the_old_one():
    weighting = ImportanceWeighting()
    first = weighting.calibrate(REAL, SYNTHETIC)
    second = weighting.calibrate(REAL, SYNTHETIC - 1)
    assert second.log_mean == pytest.approx(first.log_mean - 4)
    assert weighting.calibration is second
    torch.testing.assert_close(weighting(SYNTHETIC - 1), torch.tensor([0.5, 1.5]))


def test_its_state_survives_a_file_of_plain_values(tmp_path):
    weighting, restored = ImportanceWeighting(), ImportanceWeighting()
    calibration = weighting.calibrate(REAL, SYNTHETIC)
    torch.save(weighting.state_dict(), tmp_path / "weighting.pt")
    restored.load_state_dict(torch.load(tmp_path / "weighting.pt", weights_only=True))
    assert restored.calibration == calibration
    assert torch.equal(restored(SYNTHETIC), weighting(SYNTHETIC))
    assert all(type(value) is float for value in weighting.state_dict().values())


def test_its_state_before_the_first_calibration():
    weighting = ImportanceWeighting()
    assert weighting.state_dict() == {}
    weighting.calibrate(REAL, SYNTHETIC)
    weighting.load_state_dict({})
    assert weighting.calibration is None


def test_changing_a_state_does_not_change_the_weighting():
    weighting = ImportanceWeighting()
    weighting.calibrate(REAL, SYNTHETIC)
    weighting.state_dict()["temperature"] = 5.0
    assert weighting.calibration.temperature == 0.25


def test_logits_that_are_not_finite_cannot_calibrate():
    with pytest.raises(ValueError, match="synthetic_logits must be finite, got nan"):
        ImportanceWeighting().calibrate(REAL, torch.tensor([0.0, math.nan]))


@pytest.mark.parametrize("clip", [(1, 2), (0.5, 1), (-0.1, 2), (2, 0.5), (math.nan, 2), (0.1, math.inf)])
def test_bounds_that_are_not_around_1_are_refused(clip):
    with pytest.raises(ValueError, match="clip must be two bounds around 1, got"):
        ImportanceWeighting(clip=clip)
