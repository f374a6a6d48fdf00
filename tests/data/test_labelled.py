import cv2
import numpy as np
import pytest
import torch

from nucleosynth.data.images import write_label, write_png
from nucleosynth.data.labelled import LabelledPatches, find_labelled
from nucleosynth.errors import InputError
from nucleosynth.transforms.targets import nucleus_targets

STEP = 40  # grey levels from one nucleus to the next, so that the image tells which nucleus a pixel belongs to


def write_pair(folder, name, label, image=None):
    """A label image and an image whose grey level is that of the nucleus; returns the label."""
    grey = (label * STEP).astype(np.uint8) if image is None else image
    write_png(folder / "images" / f"{name}.png", cv2.merge([grey] * 3))
    write_label(folder / "labels" / f"{name}.png", label)
    return label


@pytest.fixture
def shapes():
    """Nuclei of shapes that look different in each of the eight orientations."""
    label = np.zeros((160, 200), np.int32)
    for number, (row, column) in enumerate(((20, 20), (30, 110), (90, 50), (85, 140)), 1):
        label[row : row + 50, column : column + 16] = number
        label[row : row + 14, column : column + 44] = number
    return label


def test_images_and_labels_are_found_by_name(shapes, tmp_path):
    write_pair(tmp_path, "b", shapes)
    write_pair(tmp_path, "a", shapes)
    write_pair(tmp_path, "lung/c", shapes)
    (tmp_path / "images" / "b.png").rename(tmp_path / "images" / "b.TIF")
    assert find_labelled(tmp_path) == [
        (tmp_path / "images" / "a.png", tmp_path / "labels" / "a.png"),
        (tmp_path / "images" / "b.TIF", tmp_path / "labels" / "b.png"),
        (tmp_path / "images" / "lung" / "c.png", tmp_path / "labels" / "lung" / "c.png"),
    ]


def test_an_example_holds_image_and_target(shapes, tmp_path):
    write_pair(tmp_path, "a", shapes)
    example = LabelledPatches(tmp_path, 64)[0]
    assert set(example) == {"image", "target"}
    assert (example["image"].dtype, example["image"].shape) == (torch.uint8, (3, 64, 64))
    assert (example["target"].dtype, example["target"].shape) == (torch.uint8, (2, 64, 64))
    assert all(type(key) is str and value.is_contiguous() for key, value in example.items())


@pytest.mark.parametrize("core", [0.5, 0.9])
def test_labels_turn_and_mirror_with_the_image(shapes, tmp_path, core):
    write_pair(tmp_path, "a", shapes)
    patches = LabelledPatches(tmp_path, 64, core=core, scale=(1, 1))
    for number in range(30):
        example = patches[number]
        label = example["image"][0].numpy() // STEP
        assert np.array_equal(example["image"][0] % STEP, np.zeros((64, 64)))
        assert np.array_equal(example["target"], nucleus_targets(label, core))


def test_all_eight_orientations_come_up(tmp_path):
    label = np.zeros((48, 48), np.int32)
    label[3:20, 5:40], label[20:30, 30:44] = 1, 2
    write_pair(tmp_path, "a", label)
    patches = LabelledPatches(tmp_path, 48, scale=(1, 1))
    seen = {patches[number]["image"].numpy().tobytes() for number in range(80)}
    expected = [np.rot90(label, turns) for turns in range(4)]
    expected += [turned[:, ::-1] for turned in expected]
    assert seen == {np.stack([turned * STEP] * 3).astype(np.uint8).tobytes() for turned in expected}


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.0, 1.05, 1.3, 2.0])
def test_labels_lie_where_the_nuclei_are_when_both_are_scaled(tmp_path, factor):
    """On average to a tenth of a pixel: a shift by less than one would be learnt as a shift of all outlines."""
    side = round(64 / factor) + 8
    label = np.zeros((side, side), np.int32)
    label[14 : side - 18, 13:22], label[14:20, 13 : side - 11] = 3, 3
    write_pair(tmp_path, "a", label)
    patches = LabelledPatches(tmp_path, 64, scale=(factor, factor))
    shifts, wrong = [], []
    for number in range(40):
        example = patches[number]
        truth, inside = example["image"][0].numpy() > 1.5 * STEP, example["target"][1].numpy() > 0
        shifts.append([np.mean(a) - np.mean(b) for a, b in zip(np.nonzero(inside), np.nonzero(truth), strict=True)])
        wrong.append((truth != inside).sum() / truth.sum())
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.1
    assert np.mean(wrong) < 0.08


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_scale_is_a_magnification(tmp_path, factor):
    label = np.zeros((200, 200), np.int32)
    for number, (row, column) in enumerate(np.ndindex(9, 9), 1):
        label[10 + 20 * row : 20 + 20 * row, 10 + 20 * column : 20 + 20 * column] = number
    write_pair(tmp_path, "a", label, image=np.full((200, 200), 200, np.uint8))
    patches = LabelledPatches(tmp_path, 80, scale=(factor, factor))
    areas = []
    for number in range(10):
        inside = patches[number]["target"][1].numpy()
        _, _, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
        left, top, width, height, area = stats[1:].T
        areas += area[(left > 0) & (top > 0) & (left + width < 80) & (top + height < 80)].tolist()
    assert np.mean(areas) == pytest.approx(100 * factor**2, rel=0.02)


def test_the_magnification_varies_evenly_to_both_sides(tmp_path):
    """Between a half and twice, half of the patches are made smaller: the mean logarithm is that of 1."""
    image = np.tile(np.repeat(np.array([0, 200], np.uint8), 8), (256, 16))  # stripes of 8 pixels
    write_pair(tmp_path, "a", (image > 0).astype(np.int32), image=image)
    patches = LabelledPatches(tmp_path, 96, scale=(0.5, 2))
    logs = []
    for number in range(150):
        inside = patches[number]["target"][1].numpy()
        changes = max(np.count_nonzero(np.diff(inside.astype(int), axis=axis)) for axis in (0, 1)) / 96
        logs.append(np.log2(96 / 8 / changes))
    assert np.mean(logs) == pytest.approx(0, abs=0.15)
    assert min(logs) == pytest.approx(-1, abs=0.15)
    assert max(logs) == pytest.approx(1, abs=0.15)


def test_an_example_is_a_function_of_seed_and_number(shapes, tmp_path):
    for name in "abc":
        write_pair(tmp_path, name, np.roll(shapes, 10 * ord(name), axis=1))
    first, second = (LabelledPatches(tmp_path, 64, seed=2) for _ in range(2))
    forward = [first[number] for number in (0, 5, 10**9)]
    for number, example in zip((10**9, 5, 0), forward[::-1], strict=True):
        for key in ("image", "target"):
            assert np.array_equal(second[number][key], example[key])
    assert not np.array_equal(forward[0]["image"], forward[1]["image"])
    assert not np.array_equal(LabelledPatches(tmp_path, 64, seed=3)[0]["image"], forward[0]["image"])


def test_every_image_is_used(tmp_path):
    for level in (1, 2, 3):
        write_pair(tmp_path, str(level), np.full((40, 40), level, np.int32))
    patches = LabelledPatches(tmp_path, 32)
    assert {int(patches[number]["image"][0, 5, 5]) for number in range(30)} == {STEP, 2 * STEP, 3 * STEP}


def test_an_image_just_large_enough_for_the_smallest_scale(tmp_path):
    write_pair(tmp_path, "a", np.ones((80, 90), np.int32))
    patches = LabelledPatches(tmp_path, 64, scale=(0.8, 1))
    assert {patches[number]["image"].shape for number in range(40)} == {(3, 64, 64)}
    with pytest.raises(InputError, match=r"a\.png: too small for patches of 65 px; use a smaller patch_size"):
        LabelledPatches(tmp_path, 65, scale=(0.8, 1))


def test_an_image_without_a_label_is_refused(shapes, tmp_path):
    write_pair(tmp_path, "a", shapes)
    write_pair(tmp_path, "b", shapes)
    (tmp_path / "labels" / "b.png").unlink()
    with pytest.raises(InputError, match=r"images/b\.png: has no label; there should be a .*labels/b\.png"):
        LabelledPatches(tmp_path, 64)


def test_a_damaged_label_is_refused(shapes, tmp_path):
    write_pair(tmp_path, "a", shapes)
    path = tmp_path / "labels" / "a.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"labels/a\.png: missing or damaged"):
        LabelledPatches(tmp_path, 64)


def test_a_damaged_image_is_refused(shapes, tmp_path):
    write_pair(tmp_path, "a", shapes)
    path = tmp_path / "images" / "a.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"images/a\.png: damaged"):
        LabelledPatches(tmp_path, 64)


def test_a_label_of_another_size_or_in_colour_is_refused(shapes, tmp_path):
    write_pair(tmp_path, "a", shapes)
    write_label(tmp_path / "labels" / "a.png", shapes[:-1])
    with pytest.raises(InputError, match=r"labels/a\.png: differs in size from .*images/a\.png"):
        LabelledPatches(tmp_path, 64)
    write_png(tmp_path / "labels" / "a.png", np.zeros((160, 200, 3), np.uint8))
    with pytest.raises(InputError, match=r"labels/a\.png: a label image has one channel, this has 3"):
        LabelledPatches(tmp_path, 64)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="images: no such folder"):
        LabelledPatches(tmp_path, 64)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="no images in this folder"):
        LabelledPatches(tmp_path, 64)


@pytest.mark.parametrize("scale", [(0, 1), (1.2, 0.8), (-1, 1)])
def test_a_scale_that_is_no_range_is_refused(tmp_path, scale):
    with pytest.raises(ValueError, match="scale must be a range of positive values, got"):
        LabelledPatches(tmp_path, 64, scale=scale)
