"""Diagnostics: calibration on held-out patches, numbers, pictures, warnings."""

import json
import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from ignite.engine import Engine

from nucleosynth.data.keys import PatchKeys as Keys
from nucleosynth.engines import ImportanceWeighting
from nucleosynth.handlers import Diagnostics, HeldOutPatches, TrainingEvents, assess, otsu_agreement
from nucleosynth.handlers.pictures import weight_grid, weight_histogram

COUNT, SIZE = 6, 32


class Patches:
    """Synthetic patches are darker than real ones, by more the higher their number."""

    def __getitem__(self, number):
        rng = np.random.default_rng(number)

        def image(level):
            return torch.from_numpy(rng.integers(level, level + 10, (3, SIZE, SIZE), dtype=np.uint8))

        target = torch.zeros((2, SIZE, SIZE), dtype=torch.uint8)
        target[1, 8:20, 8:20] = 1
        return {
            str(Keys.IMAGE): image(150 - 10 * number),
            str(Keys.TARGET): target,
            str(Keys.REFERENCE): image(200),
            str(Keys.REAL): image(140 + 10 * number),
            str(Keys.REAL_REFERENCE): image(200),
            str(Keys.REAL_TYPE): 0,
        }


class Trainer(Engine):
    """An engine that brightens patches by 20 and judges them by their brightness."""

    def __init__(self, sharpness=0.05, length=4):
        super().__init__(lambda engine, batch: None)
        self.register_events(*TrainingEvents)
        self.weighting = ImportanceWeighting()
        self.sharpness = sharpness
        self.state.scalars = {}
        self.state.rank = 0
        self.schedule = SimpleNamespace(iterations=length)

    def refine(self, image, reference):
        return (image.int() + 20).clamp(0, 255).to(torch.uint8)

    def discriminate(self, image, reference):
        return self.sharpness * (image.float().mean(dim=(1, 2, 3)) - 150)


@pytest.fixture
def patches():
    return HeldOutPatches(Patches(), COUNT)


def test_an_assessment_holds_logits_of_real_initial_and_refined_patches(patches):
    found = assess(Trainer(), patches, mpp=0.25)
    assert found.refined.shape == (COUNT, 3, SIZE, SIZE)
    assert torch.allclose(found.synthetic_logits, found.initial_logits + 1, atol=1e-5)
    assert found.auroc < found.initial_auroc
    # Of real (140 to 190) and initial (150 down to 100) levels, only 140 < 150 and the tie-like 150, 150 are in doubt.
    assert found.initial_auroc == pytest.approx(1.0, abs=0.06)


def test_held_out_patches_are_made_once_and_stay_the_same(patches):
    assert patches.examples is patches.examples
    assert patches.examples[Keys.IMAGE].shape == (COUNT, 3, SIZE, SIZE)
    with pytest.raises(ValueError, match="count must be at least 2, got 1"):
        HeldOutPatches(Patches(), 1)


def run(trainer, length=4):
    trainer.run(range(length), max_epochs=1)


def test_it_looks_every_so_often_and_at_the_end(patches, tmp_path):
    trainer = Trainer()
    Diagnostics(patches, tmp_path, every=3).attach(trainer)
    run(trainer, 7)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"00000{i}{end}" for i in (3, 6, 7) for end in (".json", "_grid.png", "_weights.png")]
    numbers = json.loads((tmp_path / "000007.json").read_text())
    assert numbers["iteration"] == 7
    assert numbers["auroc"] < numbers["initial_auroc"]
    assert 0 < numbers["effective_sample_size"] <= 1
    for name in names:
        if name.endswith(".png"):
            assert cv2.imread(str(tmp_path / name)) is not None


def test_numbers_go_to_the_scalars_for_other_handlers(patches):
    trainer = Trainer()
    Diagnostics(patches, None, every=2).attach(trainer)
    run(trainer)
    assert {"held_out/auroc", "held_out/agreement_after", "held_out/temperature"} <= set(trainer.state.scalars)


def test_weights_are_calibrated_before_each_phase(patches):
    trainer = Trainer()
    Diagnostics(patches, None, every=100).attach(trainer)
    assert trainer.weighting.calibration is None
    trainer.fire_event(TrainingEvents.PHASE_STARTED)
    assert trainer.weighting.calibration is not None
    weights = trainer.weighting(trainer.discriminate(patches.examples[Keys.IMAGE], None) + 1)
    assert weights[0] > weights[-1]


def test_a_discriminator_that_wins_completely_is_reported_as_what_it_is(patches, caplog):
    class Winner(Trainer):
        def discriminate(self, image, reference):
            # Real patches are at least 140 bright; of the synthetic ones one is liked beyond measure.
            level = image.float().mean(dim=(1, 2, 3))
            return torch.where(level > 171, 400.0, torch.where(level > 168, 300.0, -400.0))

    trainer = Winner()
    trainer.weighting = ImportanceWeighting(clip=(0.0, 1e6))
    diagnostics = Diagnostics(patches, None, every=4, least_sample_size=0.3)
    diagnostics.attach(trainer)
    with caplog.at_level(logging.WARNING):
        run(trainer)
    assert "the weights collapsed" in diagnostics.warnings[0]
    assert "iteration 4" in caplog.text


def test_a_discriminator_that_is_always_right_is_reported(patches):
    class Sure(Trainer):
        def refine(self, image, reference):
            return torch.zeros_like(image)

        def discriminate(self, image, reference):
            return image.float().mean(dim=(1, 2, 3)) - 135

    diagnostics = Diagnostics(patches, None, every=4)
    trainer = Sure()
    diagnostics.attach(trainer)
    run(trainer)
    assert "tells every refined patch from real ones" in diagnostics.warnings[0]


def test_agreement_with_the_own_otsu_mask_falls_when_nuclei_move(discs_on_pink):
    image, mask = discs_on_pink
    same = otsu_agreement(image[None], mask[None], 0.25)
    moved = otsu_agreement(np.roll(image, 12, axis=1)[None], mask[None], 0.25)
    assert same > 0.9
    assert moved < 0.6
    assert otsu_agreement(np.full((1, 64, 64, 3), 240, np.uint8), np.zeros((1, 64, 64), bool), 0.25) == 1.0


@pytest.fixture
def discs_on_pink():
    mask = np.zeros((192, 192), np.uint8)
    for y in range(24, 192, 48):
        for x in range(24, 192, 48):
            cv2.circle(mask, (x, y), 11, 1, -1)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)[..., None]
    image = soft * np.array([108, 74, 150]) + (1 - soft) * np.array([226, 160, 196])
    grain = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8), mask > 0


def test_the_grid_shows_the_heaviest_patch_first(patches):
    weights = np.array([0.5, 2.0, 1.0, 0.1, 3.0, 0.2])
    refined = torch.stack([torch.full((3, SIZE, SIZE), 40 * number, dtype=torch.uint8) for number in range(COUNT)])
    sheet = cv2.imdecode(np.frombuffer(weight_grid(patches.examples, refined, weights), np.uint8), cv2.IMREAD_COLOR)
    row = 20 + (160 + 10) + 80  # the middle of the second row, the refined patches
    shown = [int(sheet[row, 80 + column * 170 + 80, 0]) for column in range(COUNT)]
    assert shown == [40 * number for number in np.argsort(-weights)]


def test_the_histogram_is_a_picture(patches):
    found = assess(Trainer(), patches, 0.25)
    picture = weight_histogram(np.linspace(0.1, 3, COUNT), found)
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape[1] == 900


def test_every_must_be_positive(patches):
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        Diagnostics(patches, None, every=0)
