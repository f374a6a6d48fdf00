import numpy as np
import pytest

from nucleosynth.transforms.stain import (
    MACENKO_TARGET,
    REINHARD_TARGET,
    STAIN_TARGETS,
    NormalizeStain,
    apply_macenko,
    apply_reinhard,
    fit_macenko,
    fit_reinhard,
    fit_stain,
    normalize_stain,
)

METHODS = [("reinhard", fit_reinhard, apply_reinhard), ("macenko", fit_macenko, apply_macenko)]


@pytest.mark.parametrize(("method", "fit", "apply"), METHODS)
def test_a_method_by_its_name_is_the_method(tissue, method, fit, apply):
    pixels = tissue[0].reshape(-1, 3)
    source = fit_stain(pixels, method)
    assert source == fit(pixels)
    np.testing.assert_array_equal(
        normalize_stain(tissue[0], source, STAIN_TARGETS[method]), apply(tissue[0], source, STAIN_TARGETS[method])
    )


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method must be one of reinhard, macenko, got 'vahadane'"):
        fit_stain(np.zeros((1, 3), np.uint8), "vahadane")


def test_statistics_of_two_methods_do_not_mix(tissue):
    message = "source and target must be of one method, got MacenkoStatistics and ReinhardStatistics"
    with pytest.raises(ValueError, match=message):
        normalize_stain(tissue[0], MACENKO_TARGET, REINHARD_TARGET)
    with pytest.raises(ValueError, match=message):
        NormalizeStain(MACENKO_TARGET, REINHARD_TARGET)
