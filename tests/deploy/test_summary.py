import json

import numpy as np
import pytest

from nucleosynth.data.images import write_png
from nucleosynth.deploy.summary import SUMMARY, SlideSummary, density, summarize, write_summary
from nucleosynth.slides.segmentation import SlideReport
from nucleosynth.slides.settings import SegmentSettings


def test_there_is_no_density_without_tissue():
    assert density(3, 0.0) is None
    assert density(3, 0.5) == 6.0
    assert density(1, 3.0) == 0.3


def test_tissue_is_measured_in_mm2_and_glass_is_none(tmp_path):
    image = np.full((1000, 1000, 3), 240, np.uint8)
    image[:500] = (190, 90, 160)
    write_png(tmp_path / "half.png", image)
    (tmp_path / "out").mkdir()
    for name in ("nuclei.parquet", ".lock"):
        (tmp_path / "out" / name).touch()
    damage = ({"box": [0, 0, 1, 1], "reason": "damaged"},)
    report = SlideReport("half", tmp_path / "half.png", tmp_path / "out", 500, damage)
    summary = summarize(report, SegmentSettings(mpp=1.0))
    assert summary.tissue_mm2 == pytest.approx(0.5, rel=0.05)
    assert summary.nuclei_per_mm2 == pytest.approx(500 / summary.tissue_mm2, abs=0.05)
    assert (summary.unreadable_tiles, summary.files) == (1, ["nuclei.parquet"])


def test_slides_are_added_up(tmp_path):
    slides = [SlideSummary(name, name, nuclei, 0.25, 4.0 * nuclei, 0, []) for name, nuclei in (("a", 10), ("b", 20))]
    write_summary(slides, tmp_path)
    content = json.loads((tmp_path / SUMMARY).read_text())
    assert (content["nuclei"], content["tissue_mm2"], content["nuclei_per_mm2"]) == (30, 0.5, 60.0)
    assert [each["name"] for each in content["slides"]] == ["a", "b"]
    write_summary([], tmp_path)
    assert json.loads((tmp_path / SUMMARY).read_text())["nuclei_per_mm2"] is None
