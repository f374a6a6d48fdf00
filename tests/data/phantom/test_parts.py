"""The mathematics under the phantom: grids, fields, outlines, optics."""

import numpy as np
import pytest

from nucleosynth.data.phantom.field import Grid, exceeding, smoothstep
from nucleosynth.data.phantom.ground import Dyes
from nucleosynth.data.phantom.nuclei import nucleus_distance
from nucleosynth.data.phantom.optics import Scanner, take_picture
from nucleosynth.data.phantom.population import KINDS, Seedling


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_noise_is_standardised_and_smooth_over_its_period(mpp):
    grid = Grid(400, 500, mpp)
    noise = grid.noise(np.random.default_rng(0), period=4.0, octaves=3)
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1, rel=0.15)
    assert np.abs(np.diff(noise, axis=0)).mean() < 0.5


def test_refining_keeps_places():
    coarse, fine = Grid(40, 30, 1.0), Grid(160, 120, 0.25)
    rows, columns = coarse.axes()
    refined = coarse.refine((2 * rows + columns).astype(np.float32), fine)
    rows, columns = fine.axes()
    # OpenCV interpolates at steps of 1/32 pixel.
    np.testing.assert_allclose(refined[4:-4, 4:-4], (2 * rows + columns)[4:-4, 4:-4], atol=0.1)


def test_a_field_exceeds_its_level_on_the_wanted_share():
    values = np.arange(100, dtype=np.float32).reshape(10, 10)
    within = values >= 50
    assert (exceeding(values, 0.2, within) > 0)[within].mean() == pytest.approx(0.2, abs=0.02)
    assert not (exceeding(values, 0.2, np.zeros((10, 10), bool)) > 0).any()


def test_a_step_rises_from_0_to_1():
    np.testing.assert_allclose(smoothstep(np.array([-1, 0, 1, 2, 3], np.float32), 0, 2), [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_outline_has_the_area_of_its_radius_and_a_true_distance(kind):
    grid = Grid(400, 400, 0.1)
    rng = np.random.default_rng(1)
    areas = []
    for turn in range(20):
        seedling = Seedling((20.0, 20.0), KINDS[kind], radius=3.5, aspect=2.0, angle=0.3 * turn)
        distance = nucleus_distance(rng, grid, seedling, (slice(0, 400), slice(0, 400)))
        areas.append((distance > 0).sum() * 0.01)
        # A band of half a µm on either side of the outline has the width that the distance says.
        band = np.abs(distance) < 0.5
        outline = np.abs(distance) < 0.1
        assert band.sum() / outline.sum() == pytest.approx(5, rel=0.15)
    assert np.mean(areas) == pytest.approx(np.pi * 3.5**2, rel=0.15)


def test_dyes_weaken_the_light_by_beer_lambert():
    grid = Grid(600, 64, 0.25)
    dyes = Dyes(*(np.full(grid.shape, amount, np.float32) for amount in (1.0, 0.5, 0.0, 0.0)))
    stains = np.array([[0.6, 0.7, 0.3], [0.1, 0.9, 0.4], [0, 0, 0], [0, 0, 0]], np.float32)
    scanner = Scanner(stains, np.array([0.9, 0.9, 0.9], np.float32), blur=0.2, defocus=1.0, noise=0.0)
    picture = take_picture(np.random.default_rng(0), grid, dyes, scanner, np.zeros(grid.shape, np.float32))
    expected = 255 * 0.9 * np.exp(-np.array([0.65, 1.15, 0.5]))
    np.testing.assert_allclose(picture, np.broadcast_to(expected, picture.shape), atol=0.51)


def test_no_seam_shows_where_two_bands_of_the_picture_meet():
    grid = Grid(700, 64, 0.25)
    haematoxylin = np.zeros(grid.shape, np.float32)
    haematoxylin[505:520] = 2.0
    empty = np.zeros_like(haematoxylin)
    scanner = Scanner(np.eye(4, 3, dtype=np.float32), np.ones(3, np.float32), blur=0.3, defocus=1.2, noise=0.0)
    everywhere = np.ones_like(haematoxylin)
    picture = take_picture(np.random.default_rng(0), grid, Dyes(haematoxylin, empty, empty, empty), scanner, everywhere)
    profile = picture[:, 32, 0].astype(int)
    np.testing.assert_allclose(profile[480:545], profile[480:545][::-1], atol=1)
