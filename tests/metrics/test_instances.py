import dataclasses
import importlib.util

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleosynth.data.images import read_label
from nucleosynth.metrics import InstanceScores, nuclei_auroc, score_instances

PERFECT, WORST = InstanceScores(*[1.0] * 7), InstanceScores(*[0.0] * 7)

shapes = st.shared(st.tuples(st.integers(1, 7), st.integers(1, 7)), key="shape")
labels = hnp.arrays(np.int32, shapes, elements=st.integers(0, 3))


def squares(*places, side=4, size=24):
    """Nuclei of side x side pixels by the row and column of their upper left corners."""
    label = np.zeros((size, size), np.int32)
    for number, (row, column) in enumerate(places, 1):
        label[row : row + side, column : column + side] = number
    return label


def halves(first):
    """One nucleus of 4x4 pixels, divided after some columns."""
    label = squares((2, 2))
    label[2:6, 2 + first : 6] = 2
    return label


# Truth, prediction, and dice, dice2, aji, dq and sq by hand. A square has 16 pixels.
CASES = {
    "the same": (squares((2, 2), (10, 10)), squares((2, 2), (10, 10)), 1, 1, 1, 1, 1),
    # 12 of 16 pixels are shared, and the union has 20.
    "shifted by a pixel": (squares((2, 2)), squares((2, 3)), 24 / 32, 24 / 32, 0.6, 1, 0.6),
    # Each half has 8 pixels, an IoU of exactly one half, which is no match; the half that nobody takes is union.
    "split in two halves": (squares((2, 2)), halves(2), 1, 32 / 48, 8 / 24, 0, 0),
    "split three to one": (squares((2, 2)), halves(3), 1, 32 / 48, 12 / 20, 2 / 3, 0.75),
    # Both halves take the same square: 16 pixels shared in unions of twice 16.
    "two merged": (halves(2), squares((2, 2)), 1, 32 / 48, 16 / 32, 0, 0),
    "one missed": (squares((2, 2), (10, 10)), squares((2, 2)), 32 / 48, 1, 16 / 32, 2 / 3, 1),
    "one invented": (squares((2, 2)), squares((2, 2), (10, 10)), 32 / 48, 1, 16 / 32, 2 / 3, 1),
    "no overlap": (squares((2, 2)), squares((10, 10)), 0, 0, 0, 0, 0),
    # Found whole, but with as much again around it.
    "half too large": (
        squares((2, 2))[:6, :10],
        np.pad(np.ones((4, 8), int), ((2, 0), (2, 0))),
        2 / 3,
        2 / 3,
        0.5,
        0,
        0,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name):
    truth, prediction, dice, dice2, aji, dq, sq = CASES[name]
    expected = InstanceScores(dice, dice2, (dice + dice2) / 2, aji, dq * sq, dq, sq)
    assert dataclasses.asdict(score_instances(truth, prediction)) == pytest.approx(dataclasses.asdict(expected))


def test_empty_labels():
    empty, one = squares(), squares((2, 2))
    assert score_instances(empty, empty) == PERFECT
    assert score_instances(empty, one) == WORST
    assert score_instances(one, empty) == WORST


def test_the_aggregated_jaccard_index_is_not_symmetric():
    assert score_instances(squares((2, 2)), halves(2)).aji == pytest.approx(1 / 3)
    assert score_instances(halves(2), squares((2, 2))).aji == pytest.approx(1 / 2)


@settings(deadline=None, derandomize=True)
@given(labels, labels)
def test_scores_are_shares_and_fit_together(truth, prediction):
    scores = score_instances(truth, prediction)
    assert all(type(each) is float and 0 <= each <= 1 for each in dataclasses.astuple(scores))
    assert scores.pq == pytest.approx(scores.dq * scores.sq)
    assert scores.avg == pytest.approx((scores.dice + scores.dice2) / 2)
    assert (scores.dice2 == 0) == (scores.dice == 0)
    assert (scores == PERFECT) == np.array_equal(partition(truth), partition(prediction))


def partition(label):
    """The label with its ids in the order of their first pixels: equal for equal nuclei, whatever their ids."""
    ids, first = np.unique(label[label > 0], return_index=True)
    numbers = np.zeros(label.max() + 1, int)
    numbers[ids[np.argsort(first)]] = np.arange(1, len(ids) + 1)
    return numbers[label]


@settings(deadline=None, derandomize=True)
@given(labels, labels)
def test_all_but_the_aggregated_jaccard_index_are_symmetric(truth, prediction):
    forth, back = score_instances(truth, prediction), score_instances(prediction, truth)
    for name in ("dice", "dice2", "avg", "pq", "dq", "sq"):
        assert getattr(forth, name) == pytest.approx(getattr(back, name)), name


@settings(deadline=None, derandomize=True)
@given(labels, labels)
def test_turning_mirroring_and_a_larger_background_change_nothing(truth, prediction):
    scores = dataclasses.asdict(score_instances(truth, prediction))
    for change in (np.rot90, np.fliplr, lambda label: np.pad(label, 2)):
        assert dataclasses.asdict(score_instances(change(truth), change(prediction))) == pytest.approx(scores)


@settings(deadline=None, derandomize=True)
@given(labels, labels, st.permutations([1, 2, 3]), st.sampled_from([1, 5, 20_000]))
def test_which_ids_the_nuclei_have_does_not_matter(truth, prediction, order, step):
    scores = score_instances(truth, prediction)
    numbers = np.array([0, *(step * number for number in order)])
    for renumbered in (
        score_instances(numbers[truth], prediction),
        score_instances(truth, numbers[prediction].astype(np.uint16)),
    ):
        for name in ("dice", "dice2", "avg", "pq", "dq", "sq"):
            assert getattr(renumbered, name) == pytest.approx(getattr(scores, name)), name
    # Of predictions equally good, the one with the smaller id is taken, so only their order may matter here.
    assert score_instances(numbers[truth], prediction).aji == pytest.approx(scores.aji)
    assert score_instances(truth, step * prediction).aji == pytest.approx(scores.aji)


@settings(deadline=None, derandomize=True)
@given(labels, labels)
def test_the_inputs_stay_as_they_are(truth, prediction):
    copies = truth.copy(), prediction.copy()
    score_instances(truth, prediction)
    assert np.array_equal(truth, copies[0])
    assert np.array_equal(prediction, copies[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_ids_of_any_integer_type_do_not_overflow(dtype):
    largest = min(np.iinfo(dtype).max, 100_000)
    truth, prediction = CASES["split three to one"][:2]
    large = (label.astype(dtype) * dtype(largest // 2) for label in (truth, prediction))
    assert score_instances(*large) == score_instances(truth, prediction)


def test_labels_of_different_or_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape \(H, W\), got \(4, 4\) and \(4, 5\)"):
        score_instances(np.zeros((4, 4), int), np.zeros((4, 5), int))
    with pytest.raises(ValueError, match=r"one shape \(H, W\), got \(1, 4, 4\) and \(1, 4, 4\)"):
        score_instances(np.zeros((1, 4, 4), int), np.zeros((1, 4, 4), int))


def perturbed(label, rng):
    """A segmentation as a network might make it: shifted, some nuclei lost, some merged, some invented, some grown."""
    moved = np.roll(label, tuple(rng.integers(-3, 4, 2)), axis=(0, 1)).astype(np.int64)
    ids = np.unique(moved[moved > 0])
    lost, merged = rng.permutation(ids)[: len(ids) // 6], rng.permutation(ids)[: len(ids) // 8 * 2]
    moved[np.isin(moved, lost)] = 0
    for first, second in merged.reshape(-1, 2):
        moved[moved == first] = second
    grown = cv2.dilate(moved.astype(np.uint16), np.ones((3, 3), np.uint8)).astype(np.int64)
    grown[: label.shape[0] // 2] = moved[: label.shape[0] // 2]
    for row, column in rng.integers(0, min(label.shape) - 12, (len(ids) // 10, 2)):
        grown[row : row + 12, column : column + 12] = grown.max() + 1
    return grown


def test_scores_equal_those_of_an_independent_script(shared_data):
    """To 1e-9, on all labels of real tissue, against copies with faults of all kinds."""
    script = shared_data.parent / "tools" / "score.py"
    spec = importlib.util.spec_from_file_location("independent_score", script)
    independent = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(independent)
    files = sorted((shared_data / "monuseg" / "val" / "labels").glob("*.png"))
    assert files
    rng = np.random.default_rng(0)
    for file in files:
        truth = read_label(file).astype(np.int64)
        prediction = perturbed(truth, rng)
        expected = independent.score(truth, prediction)
        scores = dataclasses.asdict(score_instances(truth, prediction))
        assert scores == pytest.approx({name: expected[name] for name in scores}, abs=1e-9)
        assert 0.1 < scores["pq"] < scores["dice"] < 0.95


def test_auroc_of_probabilities_by_hand():
    """Of four predicted nuclei two are there; of the four pairs of one that is and one that is not, three are in order,
    and in one both are alike, which counts half."""
    truth = squares((2, 2), (10, 10))
    prediction = squares((2, 2), (10, 10), (2, 16), (16, 2))
    assert nuclei_auroc(truth, prediction, np.array([0.9, 0.6, 0.6, 0.1])) == pytest.approx(3.5 / 4)


def test_auroc_passes_over_ids_that_nothing_shows():
    """A nucleus that others cover all over is neither there nor not."""
    prediction = squares((2, 2), (10, 10), (2, 16))
    prediction[prediction == 2] = 0
    assert nuclei_auroc(squares((2, 2)), prediction, np.array([0.2, 1.0, 0.1])) == 1.0


@pytest.mark.parametrize("places", [[(2, 2), (10, 10)], [(16, 16)]], ids=["all there", "none there"])
def test_auroc_needs_nuclei_of_both_kinds(places):
    assert nuclei_auroc(squares((2, 2), (10, 10)), squares(*places), np.full(len(places), 0.5)) is None


def test_auroc_of_labels_of_two_shapes_is_refused():
    with pytest.raises(ValueError, match="one shape"):
        nuclei_auroc(np.zeros((4, 4), int), np.zeros((4, 5), int), np.zeros(0))
