"""The examples of the docstrings, and of docs/importance_weights.md, are run as they stand."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "importance_weights.md"


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


def mean_error(line, points):
    return (line(points) - points.cos()).square().mean().item()


def best_line(points):
    """The line through the cosine that least squares give."""
    solution = torch.linalg.lstsq(torch.cat([points, torch.ones_like(points)], 1), points.cos()).solution
    return lambda x: solution[0] * x + solution[1]


def test_the_loop_on_the_page_does_what_the_page_says():
    page = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(code.splitlines()) <= 20
    with torch.random.fork_rng():
        names: dict = {}
        exec(compile(code, str(PAGE), "exec"), names)
        points = torch.randn(100_000, 1) + 1
    errors = (
        mean_error(names["model"], points),
        *(mean_error(best_line(names[k]), points) for k in ("real", "synthetic")),
    )
    stated = re.search(
        r"squared error is ([\d.]+), the best possible line's ([\d.]+), .*?best ([\d.]+\d)", page, re.DOTALL
    )
    assert errors == pytest.approx([float(number) for number in stated.groups()], rel=0.03)
