import cv2
import numpy as np
import pytest

from nucleosynth.transforms.synthesis import FoundNuclei, split_nuclei
from nucleosynth.transforms.synthesis.pieces import find_pieces


def found_discs(truth):
    """What a network finds that is right and sure of itself."""
    label = cv2.connectedComponents(truth.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)[1]
    return FoundNuclei(label, (label > 0).astype(np.float32))


def test_touching_nuclei_are_split():
    mask = np.zeros((80, 120), np.uint8)
    cv2.circle(mask, (40, 40), 15, 1, -1)
    cv2.circle(mask, (66, 40), 15, 1, -1)
    cv2.circle(mask, (105, 60), 8, 1, -1)
    pieces = split_nuclei(mask > 0, 0.25)
    assert pieces.dtype == np.int32
    assert set(np.unique(pieces)) == {0, 1, 2, 3}
    assert pieces[40, 40] != pieces[40, 66]
    assert pieces[40, 50] == pieces[40, 40]
    assert pieces[40, 56] == pieces[40, 66]


def test_a_hole_does_not_split_a_nucleus():
    mask = np.zeros((60, 60), np.uint8)
    cv2.circle(mask, (30, 30), 15, 1, -1)
    cv2.circle(mask, (30, 30), 4, 0, -1)
    pieces = split_nuclei(mask > 0, 0.25)
    assert pieces.max() == 1
    assert pieces[30, 30] == 1


def test_nothing_to_split():
    assert not split_nuclei(np.zeros((20, 30), bool), 0.25).any()


def test_the_prior_is_that_of_the_nuclei_that_were_found(discs):
    """Areas as they are, and some more nuclei than were found."""
    image, truth = discs(4, radius=13)
    pieces = find_pieces(image, 0.25, found_discs(truth))
    assert pieces.prior.area == pytest.approx(truth.sum() / 16 * 0.25**2, rel=0.01)
    assert pieces.prior.density * (256 * 0.25e-3) ** 2 == pytest.approx(16 / 0.85)
    assert pieces.nucleus.tolist() == [True] * 16


def test_what_a_network_found_is_nuclear_material(discs):
    image, truth = discs(2, radius=13)
    pale = np.full_like(image, 230)
    found = found_discs(truth)
    material = find_pieces(pale, 0.25, found).material
    np.testing.assert_array_equal(material.sub, truth)
    np.testing.assert_array_equal(material.otsu, truth)
    # With a rim of 0.75 µm.
    np.testing.assert_array_equal(
        material.super,
        cv2.dilate(truth.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))) > 0,
    )


def test_what_it_doubts_is_kept_out_of_the_background_and_lends_nothing(discs):
    image, truth = discs(2, radius=13)
    doubtful = FoundNuclei(np.zeros(truth.shape, np.int32), 0.5 * truth.astype(np.float32))
    pieces = find_pieces(np.full_like(image, 230), 0.25, doubtful)
    assert pieces.material.super[truth].all()
    assert not pieces.material.sub.any()
    assert len(pieces.nucleus) == 0
    assert pieces.prior.density == 0


def test_nuclei_of_another_tile_are_refused(discs):
    image, truth = discs(2, radius=13)
    with pytest.raises(ValueError, match=r"nuclei must have the tile's shape \(128, 256\), got \(256, 256\)"):
        find_pieces(image[:128], 0.25, found_discs(truth))
