import cv2
import numpy as np
import pytest

from nucleosynth.transforms.stain import segment_nuclear_material


def test_the_masks_lie_one_in_the_other(tissue):
    for image in tissue:
        found = segment_nuclear_material(image)
        for mask in (found.sub, found.otsu, found.super, found.tissue):
            assert mask.dtype == bool
            assert mask.shape == image.shape[:2]
        assert 0 < found.sub.sum() < found.otsu.sum() < found.super.sum() < image.shape[0] * image.shape[1]
        assert not (found.sub & ~found.otsu).any()
        assert not (found.otsu & ~found.super).any()
        assert found.contrast > 0.22


def test_super_holds_every_nucleus_and_sub_nothing_else(discs):
    image, truth = discs(3)
    found = segment_nuclear_material(image)
    assert not (truth & ~found.super).any()
    assert not (found.sub & ~cv2.dilate(truth.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)).any()
    assert found.otsu.sum() == pytest.approx(truth.sum(), rel=0.05)
    # The rim is 3 px wide.
    reach = cv2.dilate(truth.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))) > 0
    assert not (found.super & ~reach).any()


def test_factors_and_rim_widen_and_narrow_the_masks(discs):
    image, _ = discs(3)
    narrow = segment_nuclear_material(image, sub_factor=0.5, super_factor=1.0, rim_um=0)
    wide = segment_nuclear_material(image, sub_factor=1.0, super_factor=1.3, rim_um=1.5)
    assert narrow.sub.sum() == pytest.approx(0.5 * narrow.otsu.sum(), rel=0.02)
    assert narrow.super.sum() < wide.super.sum()
    assert wide.sub.sum() > 1.9 * narrow.sub.sum()


def test_glass_is_no_tissue_and_its_share_does_not_move_the_threshold(discs):
    image, truth = discs(3)
    framed = np.full((512, 512, 3), 255, np.uint8)
    framed[128:384, 128:384] = image
    found = segment_nuclear_material(framed)
    inside = np.zeros((512, 512), bool)
    inside[128:384, 128:384] = True
    assert found.tissue[inside].all()
    # The border of the tissue is known to a µm or two.
    reach = cv2.dilate(inside.astype(np.uint8), np.ones((21, 21), np.uint8)) > 0
    assert not found.tissue[~reach].any()
    assert found.otsu.sum() == pytest.approx(truth.sum(), rel=0.08)
    assert not found.super[:120].any()


@pytest.mark.parametrize(
    ("colour", "tissue"),
    [
        ((255, 255, 255), False),
        ((190, 190, 190), False),  # glass under a dim lamp
        ((226, 160, 196), True),
        ((240, 215, 230), True),  # pale stroma
        ((40, 40, 40), True),  # a fold
        ((0, 0, 0), True),
    ],
)
def test_an_even_colour_has_no_nuclei(colour, tissue):
    image = np.empty((63, 50, 3), np.uint8)
    image[:] = colour
    found = segment_nuclear_material(image)
    assert not found.super.any()
    assert found.tissue.all() == tissue
    assert found.contrast == 0


def test_grain_alone_has_no_nuclei(discs):
    image, _ = discs(0)
    found = segment_nuclear_material(image)
    assert not (found.sub | found.otsu | found.super).any()
    assert 0 < found.contrast < 0.22


def test_a_speck_is_no_nucleus(discs):
    image, truth = discs(2)
    with_speck = image.copy()
    cv2.circle(with_speck, (128, 128), 2, (108, 74, 150), -1)
    assert segment_nuclear_material(image).super[truth].all()
    assert not segment_nuclear_material(with_speck).super[120:137, 120:137].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sub_factor": 0}, r"sub_factor must lie in \(0, 1\] and super_factor be at least 1, got 0, 1.08"),
        ({"sub_factor": 1.1}, "got 1.1, 1.08"),
        ({"super_factor": 0.9}, "got 0.92, 0.9"),
        ({"rim_um": -1}, "rim_um must not be negative, got -1"),
        ({"mpp": 0}, "mpp must be positive, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(plain, arguments, message):
    with pytest.raises(ValueError, match=message):
        segment_nuclear_material(plain, **arguments)
