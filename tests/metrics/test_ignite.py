import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.data import MetaTensor
from monai.handlers import from_engine

from nucleosynth.metrics import MeanInstanceScore


def square(column, size=16):
    label = torch.zeros((1, size, size), dtype=torch.int32)
    label[:, 4:8, column : column + 4] = 1
    return label


SAME, SHIFTED, APART = (square(4), square(4)), (square(5), square(4)), (square(10), square(4))  # AJI 1, 0.6 and 0
EMPTY = (torch.zeros(1, 16, 16, dtype=torch.int32),) * 2


def lists(*pairs):
    """An engine's output: predictions and truths."""
    return tuple(list(side) for side in zip(*pairs, strict=True))


def test_the_mean_over_the_images_of_an_engines_run():
    """Over images and not over batches, which are of different sizes here."""
    evaluator = Engine(lambda engine, batch: batch)
    for name in ("aji", "dice", "pq"):
        MeanInstanceScore(name).attach(evaluator, name)
    metrics = evaluator.run([lists(SAME, SHIFTED, SHIFTED), lists(APART)]).metrics
    assert metrics["aji"] == pytest.approx((1 + 0.6 + 0.6 + 0) / 4)
    assert metrics["dice"] == pytest.approx((1 + 0.75 + 0.75 + 0) / 4)
    assert metrics["pq"] == pytest.approx((1 + 0.6 + 0.6 + 0) / 4)
    assert type(metrics["aji"]) is float


def test_each_run_begins_anew():
    evaluator = Engine(lambda engine, batch: batch)
    MeanInstanceScore("aji").attach(evaluator, "aji")
    assert evaluator.run([lists(APART)]).metrics["aji"] == 0
    assert evaluator.run([lists(SAME)]).metrics["aji"] == 1


def test_prediction_comes_first():
    whole, halves = square(4), square(4)
    halves[:, :, 6:] *= 2
    metric = MeanInstanceScore("aji")
    metric.update(([halves], [whole]))
    assert metric.compute() == pytest.approx(1 / 3)
    metric.reset()
    metric.update(([whole], [halves]))
    assert metric.compute() == pytest.approx(1 / 2)


def test_it_takes_the_output_of_monais_engines():
    evaluator = Engine(lambda engine, batch: batch)
    MeanInstanceScore("aji", output_transform=from_engine(["pred", "label"])).attach(evaluator, "aji")
    output = [{"pred": pair[0], "label": pair[1]} for pair in (SAME, SHIFTED)]
    assert evaluator.run([output]).metrics["aji"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    "kind",
    [
        lambda label: label,
        lambda label: label[0],
        lambda label: label.to(torch.uint8),
        lambda label: label.float(),
        lambda label: label.numpy().astype(np.uint16),
        lambda label: MetaTensor(label, meta={"name": "patch"}),
    ],
    ids=["channel", "no channel", "uint8", "float", "uint16 array", "metatensor"],
)
def test_labels_of_any_kind(kind):
    metric = MeanInstanceScore("aji")
    metric.update(([kind(SHIFTED[0]), kind(SAME[0])], [kind(SHIFTED[1]), kind(SAME[1])]))
    assert metric.compute() == pytest.approx(0.8)


def test_a_batch_in_one_tensor_is_so_many_images():
    metric = MeanInstanceScore("aji")
    metric.update(tuple(torch.stack(side) for side in lists(SAME, SHIFTED)))
    assert metric.compute() == pytest.approx(0.8)


def test_images_without_nuclei_count_as_perfect():
    metric = MeanInstanceScore("aji")
    metric.update(lists(EMPTY, APART))
    assert metric.compute() == 0.5


def test_without_an_image_there_is_no_mean():
    metric = MeanInstanceScore("aji")
    with pytest.raises(NotComputableError, match="no image was scored"):
        metric.compute()
    metric.update(([], []))
    with pytest.raises(NotComputableError, match="no image was scored"):
        metric.compute()


def test_as_many_truths_as_predictions_are_needed():
    with pytest.raises(ValueError, match="shorter"):
        MeanInstanceScore("aji").update(([SAME[0], SAME[0]], [SAME[1]]))


def test_an_unknown_score_is_refused_with_the_names_of_those_there():
    with pytest.raises(ValueError, match="score must be one of dice, dice2, avg, aji, pq, dq, sq, got 'f1'"):
        MeanInstanceScore("f1")
