import doctest
import importlib

import pytest
import torch


@pytest.mark.parametrize(
    "module", ["adversarial", "calibration", "elastic_net", "importance", "refiner", "segmentation"]
)
def test_the_examples_in_the_docstrings_are_right(module):
    results = doctest.testmod(
        importlib.import_module(f"nucleosynth.losses.{module}"),
        extraglobs={"torch": torch},
        optionflags=doctest.ELLIPSIS,
    )
    assert results.attempted > 0
    assert results.failed == 0
