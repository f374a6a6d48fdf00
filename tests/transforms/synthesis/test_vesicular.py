"""Vesicular nuclei: large, pale inside, with chromatin along the rim."""

import dataclasses

import cv2
import numpy as np
import pytest

from nucleosynth.transforms.masks import NucleusPrior
from nucleosynth.transforms.stain import rgb_to_od
from nucleosynth.transforms.synthesis import analyze_tile, draw_patch, paint_patch


@pytest.fixture
def bare(plain_settings):
    """Large patches whose nuclei are as dark as those that lend their colours."""
    return dataclasses.replace(plain_settings, size=256, depth=(1, 1))


def draw(source, settings, seed):
    return draw_patch(source, source, source.image, settings, np.random.RandomState(seed))


def test_vesicular_nuclei_are_pale_inside_with_a_dark_rim(bare, tiles):
    """Beside nuclei of the same patch that are not; of a patch with vesicular ones, some or all are."""
    settings = dataclasses.replace(
        bare, prior=NucleusPrior(density=3000, area=80, area_spread=0.1), cleared=(0, 0), vesicular=1
    )
    inner, rims, shares = {True: [], False: []}, {True: [], False: []}, []
    for seed in range(16):
        drawn = draw(tiles[0], settings, seed)
        patch = paint_patch(tiles[0], tiles[0], tiles[0].image, drawn)
        vesicle = drawn.strength[1:] > 0.3
        assert (drawn.strength[1:][~vesicle] <= 0.3).all()
        density = rgb_to_od(patch.image).mean(2)
        depth = cv2.distanceTransform((patch.label > 0).astype(np.uint8), cv2.DIST_L2, 5)
        for number in np.flatnonzero(np.bincount(patch.label.ravel(), minlength=len(vesicle) + 1)[1:] > 600):
            nucleus = patch.label == number + 1
            inner[bool(vesicle[number])].append(density[nucleus & (depth > 6)].mean())
            rims[bool(vesicle[number])].append(density[nucleus & (depth > 1) & (depth < 4)].mean())
        shares.append(vesicle.mean())
    ratio = {kind: np.nanmean(inner[kind]) / np.nanmean(rims[kind]) for kind in (True, False)}
    assert ratio[True] < 0.85 * ratio[False]
    assert min(shares) < 0.3
    assert max(shares) > 0.7


def test_vesicular_nuclei_are_no_paler_than_the_lamp(bare, even_discs):
    """Under a dim lamp glass is grey, and what is cleared is no brighter than that."""
    grey = 0.6
    dim = analyze_tile(np.rint(grey * even_discs.image).astype(np.uint8))
    settings = dataclasses.replace(bare, prior=NucleusPrior(density=3000, area=80), vesicular=1)
    for seed in range(4):
        patch = paint_patch(dim, dim, dim.image, draw(dim, settings, seed))
        assert (patch.image.max(axis=(0, 1)) <= dim.image.max(axis=(0, 1)) + 3).all()


def test_patches_with_vesicular_nuclei_have_larger_ones(bare, tiles):
    mean = {}
    for share in (0, 1):
        settings = dataclasses.replace(
            bare, prior=NucleusPrior(density=2000, area=60, area_spread=0.1), vesicular=share
        )
        areas = []
        for seed in range(12):
            areas.append(np.bincount(draw(tiles[0], settings, seed).mask.label.ravel())[1:])
        mean[share] = np.mean(np.concatenate(areas))
    # By a quarter on average: half of a patch's nuclei are vesicular, and half of the most is gained.
    assert mean[1] / mean[0] == pytest.approx(1.25, abs=0.15)
