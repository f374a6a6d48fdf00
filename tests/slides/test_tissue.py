import numpy as np
import pytest

from nucleosynth.data.images import write_png
from nucleosynth.slides.reader import SlideReader, open_slide
from nucleosynth.slides.tissue import find_tissue


@pytest.fixture
def opened(slide):
    with open_slide(slide) as reader:
        yield reader


def test_tissue_is_found_with_a_margin(tmp_path):
    """Tissue ends at x = 500; the margin of 16 µm is 64 px, and a pixel of the mask 14."""
    image = np.full((900, 1100, 3), 243, np.uint8)
    image[:, :500] = (205, 150, 190)
    write_png(tmp_path / "half.png", image)
    with open_slide(tmp_path / "half.png", 0.25) as reader:
        tissue = find_tissue(reader, (1100, 900))
    y = np.full(1100, 450)
    inside = tissue.contains(np.arange(1100), y)
    assert inside[:530].all()
    assert not inside[620:].any()
    assert tissue.size == (1100, 900)


def test_nuclei_lie_in_tissue(opened, phantom):
    y, x = np.nonzero(phantom.labels)
    assert find_tissue(opened, opened.dimensions).contains(x, y).mean() > 0.999


def test_what_cannot_be_read_counts_as_tissue(opened, monkeypatch):
    def thumbnail(self, mpp, unreadable):
        unreadable[:, -10:] = True
        return np.full((*unreadable.shape, 3), 240, np.uint8)

    monkeypatch.setattr(SlideReader, "thumbnail", thumbnail)
    mask = find_tissue(opened, opened.dimensions).mask
    assert mask[:, -10:].all()
    assert not mask[:, :-10].any()
