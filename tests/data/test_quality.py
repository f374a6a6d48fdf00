import cv2
import numpy as np
import pytest

from nucleosynth.data.limits import QualityLimits
from nucleosynth.data.quality import (
    TileQuality,
    blur_score,
    fold_share,
    measure,
    pen_share,
    refusal,
    tissue_mask,
    tissue_share,
)

EOSIN, HAEMATOXYLIN = np.array([0.05, 0.6, 0.12]), np.array([0.9, 1.0, 0.4])


def render(eosin, haematoxylin, dim=0.0):
    """Light through an amount of each stain, arrays of shape (H, W); ``dim`` is OD of the whole lamp."""
    density = eosin[..., None] * EOSIN + haematoxylin[..., None] * HAEMATOXYLIN + dim
    return np.clip(np.rint(250 * np.exp(-density)), 0, 255).astype(np.uint8)


@pytest.fixture
def stains(rng):
    """Fibrous stroma with round nuclei of 6 µm, at 0.25 µm/px."""
    eosin = 0.7 + 0.25 * cv2.GaussianBlur(rng.normal(size=(512, 512)), (0, 0), 1.5) / 0.19
    nuclei = np.zeros((512, 512))
    for x, y in rng.uniform(0, 512, (150, 2)):
        cv2.circle(nuclei, (int(x), int(y)), 12, 1.0, -1, cv2.LINE_AA)
    chromatin = 1 + 0.3 * rng.normal(size=(512, 512))
    return np.clip(eosin, 0.1, None), cv2.GaussianBlur(nuclei * chromatin, (0, 0), 0.8)


@pytest.fixture
def tissue(stains):
    return render(*stains)


def glass(value=245, noise=2, size=512):
    noise = np.random.default_rng(1).normal(scale=noise, size=(size, size, 3))
    return np.clip(value + noise, 0, 255).astype(np.uint8)


def test_tissue_in_focus_is_kept(tissue):
    assert refusal(measure(tissue, 0.25), QualityLimits()) is None


@pytest.mark.parametrize("tile", [np.full((512, 512, 3), 255, np.uint8), glass(), glass(130, 3)])
def test_white_bright_and_dim_glass_are_refused_as_such(tile):
    assert tissue_share(tile, 0.25) < 0.02
    assert refusal(measure(tile, 0.25), QualityLimits()) == "too little tissue"


def test_the_mask_is_empty_on_glass_full_on_tissue_and_right_in_between(tissue):
    half = glass()
    half[:, :256] = tissue[:, :256]
    assert not tissue_mask(glass()[::8, ::8], 2.0).any()
    assert tissue_mask(cv2.resize(tissue, (64, 64), interpolation=cv2.INTER_AREA), 2.0).all()
    mask = tissue_mask(cv2.resize(half, (64, 64), interpolation=cv2.INTER_AREA), 2.0)
    assert mask[:, :30].all()
    assert not mask[:, 36:].any()


def test_specks_and_holes_are_sized_in_um2(tissue):
    """A square of 32 µm (1024 µm²) goes, one of 64 µm stays; likewise for holes."""
    thumbnail = cv2.resize(tissue, (64, 64), interpolation=cv2.INTER_AREA)
    whole = np.tile(thumbnail, (4, 4, 1))[:200, :200]
    for background, square in ((glass(size=200), whole.mean(axis=(0, 1))), (whole, 245)):
        picture = background.copy()
        picture[20:28, 20:28] = square
        picture[100:116, 100:116] = square
        mask = tissue_mask(picture, 4.0)
        assert mask[24, 24] == mask[0, 0]
        assert mask[108, 108] != mask[0, 0]


def test_dimming_the_lamp_does_not_change_the_tissue(stains):
    shares = [tissue_share(render(*stains, dim=dim), 0.25) for dim in (0, 0.6)]
    scores = [blur_score(render(*stains, dim=dim), 0.25) for dim in (0, 0.6)]
    assert shares == [1.0, 1.0]
    assert scores[1] == pytest.approx(scores[0], rel=0.1)


def test_blur_lowers_the_score_step_by_step_until_it_is_refused(tissue):
    scores = [blur_score(cv2.GaussianBlur(tissue, (0, 0), sigma), 0.25) for sigma in (0.5, 1, 2, 3, 4)]
    assert scores == sorted(scores, reverse=True)
    assert scores[3] < QualityLimits().min_blur_score < blur_score(tissue, 0.25)
    assert refusal(measure(cv2.GaussianBlur(tissue, (0, 0), 3), 0.25), QualityLimits()) == "blurred"


def test_the_blur_score_is_comparable_between_stains(stains):
    eosin, haematoxylin = stains
    scores = [blur_score(render(eosin * a, haematoxylin * b), 0.25) for a, b in ((1, 1), (0.5, 0.5), (1.5, 1.2))]
    assert max(scores) - min(scores) < 0.1


def test_a_uniform_tile_has_no_sharpness():
    assert blur_score(np.full((64, 64, 3), 200, np.uint8), 0.25) == 0


def test_tissue_that_lies_double_is_found(stains):
    eosin, haematoxylin = stains
    assert fold_share(render(eosin, haematoxylin), 0.25) < 0.05
    eosin, haematoxylin = eosin.copy(), haematoxylin + 0.1
    eosin[:, 100:228] *= 2.2
    haematoxylin[:, 100:228] = 2.2 * haematoxylin[:, 100:228] + 0.2
    folded = render(eosin, haematoxylin)
    assert 0.15 < fold_share(folded, 0.25) < 0.3
    assert refusal(measure(folded, 0.25), QualityLimits()) == "folded"


@pytest.mark.parametrize(
    ("ink", "on_tissue"),
    [((30, 60, 180), True), ((30, 150, 80), True), ((25, 25, 28), True), ((200, 30, 50), False)],
)
def test_ink_is_found_and_tissue_is_none(tissue, ink, on_tissue):
    assert pen_share(tissue, 0.25) == 0
    assert pen_share(glass(), 0.25) == 0
    for tile in (tissue, glass()) if on_tissue else (glass(),):
        marked = tile.copy()
        marked[:, :256] = marked[:, :256] * np.array(ink) / 255
        assert 0.3 < pen_share(marked, 0.25) < 0.6


def test_each_reason_is_named_in_order():
    limits = QualityLimits()
    good = {"tissue_share": 1.0, "blur_score": 0.6, "fold_share": 0.0, "pen_share": 0.0}
    assert refusal(TileQuality(**good), limits) is None
    assert refusal(TileQuality(**{**good, "tissue_share": 0.49}), limits) == "too little tissue"
    assert refusal(TileQuality(**{**good, "pen_share": 0.2}), limits) == "pen marks"
    assert refusal(TileQuality(**{**good, "blur_score": 0.4}), limits) == "blurred"
    assert refusal(TileQuality(**{**good, "fold_share": 0.2}), limits) == "folded"


@pytest.mark.parametrize("wrong", [{"min_tissue": 1.1}, {"max_pen": -0.1}, {"min_blur_score": -1}])
def test_limits_are_validated(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        QualityLimits(**wrong)


def test_real_tissue_is_kept_and_refused_when_blurred(shared_data):
    kept = blurred = count = 0
    for folder in ("pan_cancer", "brain", "organs"):
        for path in sorted((shared_data / "unlabelled" / folder).iterdir())[::12]:
            tile = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            count += 1
            kept += refusal(measure(tile, 0.25), QualityLimits()) is None
            blurred += blur_score(cv2.GaussianBlur(tile, (0, 0), 3), 0.25) < QualityLimits().min_blur_score
    assert kept >= 0.9 * count
    assert blurred == count
