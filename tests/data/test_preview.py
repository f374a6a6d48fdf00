import numpy as np

from nucleosynth.data.preview import contact_sheet, draw_outlines


def test_outlines_lie_inside_the_nuclei_and_part_touching_ones():
    label = np.zeros((12, 12), np.uint16)
    label[2:8, 2:6], label[2:8, 6:10] = 1, 2
    image = np.full((12, 12, 3), 50, np.uint8)
    drawn = (draw_outlines(image, label) != image).any(axis=2)
    assert not drawn[label == 0].any()
    assert drawn[2:8, 5:7].all()
    assert not drawn[3:7, 3:5].any()
    assert drawn.sum() == 2 * (24 - 4 * 2)


def test_a_contact_sheet_shows_real_synthetic_and_labels_side_by_side():
    grey = [np.full((64, 64, 3), value, np.uint8) for value in (10, 200)]
    sheet = contact_sheet([(grey[0], grey[1], np.zeros((64, 64), np.uint16))] * 3)
    assert sheet.dtype == np.uint8
    row = sheet[sheet.shape[0] // 4]
    values, counts = np.unique(row[:, 0], return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {10: 480, 200: 960, 255: 8}
