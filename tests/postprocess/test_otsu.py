import cv2
import numpy as np

from nucleosynth.postprocess import otsu_nuclei

PINK, VIOLET = (235, 180, 205), (90, 60, 150)


def tissue(*discs, size=120):
    image = np.full((size, size, 3), PINK, np.uint8)
    for x, y, radius in discs:
        cv2.circle(image, (x, y), radius, VIOLET, -1)
    return image


def test_each_disc_is_a_nucleus():
    label = otsu_nuclei(tissue((30, 30, 10), (80, 35, 12), (60, 90, 14)), 0.25)
    assert label.dtype == np.int32
    assert set(np.unique(label)) == {0, 1, 2, 3}
    areas = np.sort(np.bincount(label.ravel())[1:])
    np.testing.assert_allclose(areas, np.pi * np.array([10, 12, 14]) ** 2, rtol=0.1)


def test_discs_that_touch_are_parted_between_them():
    label = otsu_nuclei(tissue((40, 60, 14), (65, 60, 14)), 0.25)
    assert label.max() == 2
    assert label[60, 40] != label[60, 65]
    assert abs(np.count_nonzero(label == 1) - np.count_nonzero(label == 2)) < 60


def test_specks_are_none_and_holes_are_filled():
    image = tissue((60, 60, 16), (10, 10, 1))
    cv2.circle(image, (60, 60), 4, PINK, -1)
    label = otsu_nuclei(image, 0.25)
    assert label.max() == 1
    assert label[60, 60] == 1
    assert label[10, 10] == 0


def test_sizes_are_in_micrometres():
    """At 0.5 µm/px the same disc is four times as large, and still one; a speck that counts there does not at 0.25."""
    image = tissue((60, 60, 20), (20, 20, 4))
    assert otsu_nuclei(image, 0.5).max() == 2
    assert otsu_nuclei(image, 0.1)[20, 20] == 0


def test_an_even_image_has_none():
    assert otsu_nuclei(np.full((30, 40, 3), 240, np.uint8), 0.25).max() == 0
