import math

import pytest

from nucleosynth.transforms.masks import NucleusClass, NucleusPrior, NucleusShape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"density": -1}, "density must not be negative or infinite, got -1"),
        ({"density": math.inf}, "density must not be negative or infinite, got inf"),
        ({"density": math.nan}, "density must not be negative or infinite, got nan"),
        ({"density_spread": -0.1}, "density_spread must not be negative or infinite, got -0.1"),
        ({"area": 0}, "area must be positive, got 0"),
        ({"area": math.nan}, "area must be positive, got nan"),
        ({"area_spread": -1}, "area_spread must not be negative or infinite, got -1"),
        ({"elongation": 0.9}, "elongation must be at least 1, got 0.9"),
        ({"elongation_spread": math.inf}, "elongation_spread must not be negative or infinite, got inf"),
    ],
)
def test_priors_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NucleusPrior(**arguments)


def test_a_prior_without_nuclei_is_one():
    assert NucleusPrior(density=0).density == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vertices": (2, 5)}, r"vertices must be a range that starts at 3 or above, got \(2, 5\)"),
        ({"vertices": (8, 5)}, r"vertices must be a range that starts at 3 or above, got \(8, 5\)"),
        ({"irregularity": (0.5, 1.1)}, r"irregularity must be a range within \[0, 1\], got \(0.5, 1.1\)"),
        ({"irregularity": (0.5, 0.1)}, r"irregularity must be a range within \[0, 1\]"),
        ({"spikiness": (-0.1, 0.1)}, r"spikiness must be a range of non-negative values, got \(-0.1, 0.1\)"),
        ({"spikiness": (0.2, 0.1)}, "spikiness must be a range of non-negative values"),
        ({"smooth": 1.5}, r"smooth must lie in \[0, 1\], got 1.5"),
    ],
)
def test_shapes_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NucleusShape(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0}, r"share must lie in \(0, 1\], got 0"),
        ({"share": 1.2}, r"share must lie in \(0, 1\], got 1.2"),
        ({"diameter_um": (0, 5)}, r"diameter_um must be a range of positive values, got \(0, 5\)"),
        ({"diameter_um": (8, 6)}, r"diameter_um must be a range of positive values, got \(8, 6\)"),
        ({"roundness": (0, 1)}, r"roundness must be a range within \(0, 1\], got \(0, 1\)"),
        ({"roundness": (0.5, 1.5)}, r"roundness must be a range within \(0, 1\]"),
        ({"darkness": (-0.1, 1)}, r"darkness must be a range within \[0, 1\], got \(-0.1, 1\)"),
        ({"darkness": (0.9, 0.1)}, r"darkness must be a range within \[0, 1\]"),
    ],
)
def test_classes_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NucleusClass(**({"name": "lymphocyte", "share": 0.3, "diameter_um": (6, 8)} | arguments))
