import json
import shutil
import subprocess

import pytest

from nucleosynth.demo import DemoSettings, run_demo
from nucleosynth.errors import InputError

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# What a browser makes of the page, into its title: pictures that it shows, and whether anything is wider than the page.
SCRIPT = """<script>addEventListener("load", () => {
  const shown = [...document.images].filter(image => image.complete && image.naturalWidth > 0).length;
  document.title = `${shown} of ${document.images.length} shown, ${document.body.scrollWidth <= innerWidth}`;
})</script>"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A demo with a slide of a quarter of the area, and a training of seconds."""
    folder = tmp_path_factory.mktemp("demo")
    overlay = folder / "tiny.yaml"
    overlay.write_text(
        "phases:\n- {discriminator: 1, iterations: 10}\n- {refiner: 1, discriminator: 1, iterations: 2}\n"
        "- {task: 1, iterations: 25}\ntrain#held_out#count: 8\n"
    )
    settings = DemoSettings(seed=1, slide_size=1024, patches=6, overlays=("demo", str(overlay)))
    return folder / "out", settings, run_demo(folder / "out", settings)


@pytest.mark.slow
def test_the_demo_goes_all_the_way_and_explains_itself(demo):
    output, settings, report = demo
    page = report.read_text()
    assert page.count("<img") >= 15
    for command in ("tiles", "synthesize", "train", "segment"):
        assert f"nucleosynth {command}" in page
    assert "mlflow ui --backend-store-uri" in page
    record = json.loads((output / "run.json").read_text())
    assert record["tiles"] > 4
    assert record["patches"] == 6
    assert 0 < record["scores"]["aji"] < 1
    assert 0.3 < record["otsu_scores"]["aji"] < 1
    assert f"AJI {record['scores']['aji']:.2f}" in page
    assert (output / "nuclei" / "unseen_40x" / "nuclei.geojson").exists()
    # Called again it has nothing to do but the report, and that comes out the same.
    assert run_demo(output, settings).read_text() == page
    with pytest.raises(InputError, match="seed was 1, now 2"):
        run_demo(output, DemoSettings(seed=2))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_the_whole_report(demo, tmp_path):
    text = demo[2].read_text()
    copy = tmp_path / "report.html"
    copy.write_text(text.replace("</body>", f"{SCRIPT}</body>"))
    # A window as high as the page, since pictures are loaded when they come into view.
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=900,9000", "--dump-dom"]
    shown = subprocess.run([*command, copy.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    pictures = text.count("<img")
    assert f"<title>{pictures} of {pictures} shown, true</title>" in shown
