import numpy as np
import pytest

from nucleosynth.metrics import score_instances
from nucleosynth.postprocess import InstanceSettings
from nucleosynth.postprocess.confidence import ConfidenceSettings, confident_targets

INSTANCES = InstanceSettings(
    segmentation_threshold=0.6,
    detection_smoothing_um=0,
    segmentation_smoothing_um=0,
    min_area_um2=0.1,
    min_probability=0,
)


def disc(row, column, radius=9, size=64):
    y, x = np.mgrid[:size, :size]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def maps_of(*nuclei, background=0.05):
    """Maps with nuclei, each a mask and its probability; cores as sure as the nuclei."""
    maps = np.full((2, 64, 64), background, np.float32)
    for mask, probability in nuclei:
        maps[1][mask] = probability
        maps[0][mask] = 0.9 * probability
    return maps


def test_what_is_sure_becomes_hard_and_the_rest_stays_as_it_is():
    sure, doubtful = disc(16, 16), disc(46, 46)
    maps = maps_of((sure, 0.95), (doubtful, 0.7))
    targets = confident_targets(maps, INSTANCES)
    assert targets.dtype == np.float32
    assert (targets[1][sure] == 1).all()
    assert targets[0, 16, 16] == 1
    assert targets[0, 16, 24] == 0  # The rim is no core, whatever the network said.
    assert np.array_equal(targets[:, doubtful], maps[:, doubtful])
    assert not targets[:, ~(disc(16, 16, 11) | doubtful)].any()


def test_background_counts_where_it_is_sure():
    maps = maps_of((disc(16, 16), 0.95))
    maps[1, 40:, 40:] = 0.4
    targets = confident_targets(maps, INSTANCES)
    assert np.array_equal(targets[:, 40:, 40:], maps[:, 40:, 40:])
    assert not targets[:, 40:, :20].any()
    assert not confident_targets(maps, INSTANCES, ConfidenceSettings(background=0.5))[:, 40:, 40:].any()


def test_a_notch_is_filled():
    notched = disc(32, 32, 14) & ~disc(32, 46, 7)
    targets = confident_targets(maps_of((notched, 0.95)), INSTANCES)
    assert score_instances(disc(32, 32, 14).astype(int), targets[1].astype(int)).dice > 0.97
    assert score_instances(disc(32, 32, 14).astype(int), notched.astype(int)).dice < 0.95


def test_what_is_not_convex_at_all_is_not_sure():
    shape = np.zeros((64, 64), bool)
    shape[10:50, 10:20] = shape[40:50, 10:50] = True
    maps = maps_of((shape, 0.95))
    assert np.array_equal(confident_targets(maps, INSTANCES)[:, shape], maps[:, shape])
    assert (confident_targets(maps, INSTANCES, ConfidenceSettings(solidity=0.3))[1][shape] == 1).all()


def test_filling_takes_nothing_from_a_neighbour():
    """A crescent around a disc: its hull covers half of the disc."""
    inner = disc(32, 40, 8)
    crescent = disc(32, 30, 16) & ~disc(32, 40, 9)
    maps = maps_of((crescent, 0.95), (inner, 0.9))
    targets = confident_targets(maps, INSTANCES, ConfidenceSettings(solidity=0.5))
    assert targets[0, 32, 40] == 1
    assert (targets[1][inner] == 1).all()
    assert np.array_equal(maps, maps_of((crescent, 0.95), (inner, 0.9)))


def test_of_nothing_nothing_is_learnt():
    assert not confident_targets(np.full((2, 20, 30), 0.1, np.float32), INSTANCES).any()
    even = np.full((2, 20, 30), 0.5, np.float32)
    assert np.array_equal(confident_targets(even, INSTANCES), even)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"maps must have shape \(2, H, W\), got \(1, 8, 8\)"):
        confident_targets(np.zeros((1, 8, 8)), INSTANCES)
    for name in ("nucleus", "background", "solidity"):
        with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\], got 1.5"):
            ConfidenceSettings(**{name: 1.5})
