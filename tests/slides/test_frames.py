import numpy as np
import pytest

from nucleosynth.errors import InputError
from nucleosynth.slides.frames import FrameReader, overview_mpp
from nucleosynth.slides.normalisation import measure_stain
from nucleosynth.slides.plan import PlanSettings, plan_slide
from nucleosynth.slides.reader import open_slide

PLAN = PlanSettings(core=512)


def frames_of(slide, tiles, normalize="none"):
    with FrameReader(slide, 0.25, measure_stain(slide, normalize, 0.25)) as reader:
        return list(reader.frames(tiles)), reader.overview()


def test_frames_are_the_slide_s_pixels_in_the_order_of_the_tiles(slide, phantom):
    with open_slide(slide) as opened:
        tiles = plan_slide(opened.thumbnail_size(0.25), None, PLAN)
        frames, overview = frames_of(opened, tiles)
        expected = opened.read_at((0, 0), opened.dimensions, 0.25)
        small = opened.thumbnail(overview_mpp(opened))
    assert [tile.number for tile, _ in frames] == [tile.number for tile in tiles] == list(range(6))
    for tile, frame in frames:
        box = tile.frame
        np.testing.assert_array_equal(frame.image, expected[box.top : box.bottom, box.left : box.right])
        np.testing.assert_array_equal(frame.seen, frame.image)
    np.testing.assert_array_equal(overview, small)


def test_the_network_sees_normalised_pixels_and_measurements_the_slide_s_own(slide):
    with open_slide(slide) as opened:
        tiles = plan_slide(opened.thumbnail_size(0.25), None, PLAN)[:1]
        stain = measure_stain(opened, "reinhard", 0.25)
        (((_, frame),), _) = frames_of(opened, tiles, "reinhard")
    np.testing.assert_array_equal(frame.seen, stain(frame.image))
    assert (frame.seen != frame.image).any()


def test_where_no_tile_is_missing_there_is_an_overview_all_the_same(slide):
    with open_slide(slide) as opened:
        frames, overview = frames_of(opened, [])
        assert frames == []
        assert overview.shape[:2] == opened.thumbnail_size(overview_mpp(opened))[::-1]


def test_a_frame_that_cannot_be_read_is_its_reason_and_the_others_follow(damaged):
    with open_slide(damaged, reader="openslide") as opened:
        tiles = plan_slide(opened.thumbnail_size(0.25), None, PlanSettings(core=300))
        frames, overview = frames_of(opened, tiles)
    failed = [frame for _, frame in frames if isinstance(frame, InputError)]
    assert 0 < len(failed) < len(frames) == len(tiles)
    assert all("damaged slide" in str(reason) for reason in failed)
    assert (overview == 255).all(axis=2).any()


@pytest.mark.parametrize(("width", "expected"), [(1000, 0.25), (4096, 0.5), (20480, 2.5)])
def test_an_overview_has_2048_pixels_and_never_more_than_the_slide(width, expected):
    class Slide:
        mpp, dimensions = 0.25, (width, width // 2)

    assert overview_mpp(Slide) == expected
