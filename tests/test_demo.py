import json

import pytest

from nucleosynth.demo import run_demo
from nucleosynth.errors import InputError


@pytest.mark.slow
def test_the_demo_goes_all_the_way_and_explains_itself(tmp_path):
    report = run_demo(tmp_path / "demo", seed=1)
    page = report.read_text()
    assert page.count("<img") >= 10
    assert "nucleosynth tiles" in page
    assert "nucleosynth synthesize" in page
    record = json.loads((tmp_path / "demo" / "run.json").read_text())
    assert record["tiles"] > 4
    assert record["patches"] == 24
    assert record["nuclei"] > 240
    assert (tmp_path / "demo" / "patches" / "preview.png").exists()
    # Called again it has nothing to do but the report, and that comes out the same.
    assert run_demo(tmp_path / "demo", seed=1).read_text() == page
    with pytest.raises(InputError, match="seed was 1, now 2"):
        run_demo(tmp_path / "demo", seed=2)
