from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from nucleosynth.data.batches import training_loader
from nucleosynth.data.images import read_image, write_label, write_png
from nucleosynth.data.keys import PatchKeys as Keys
from nucleosynth.data.labelled import LabelledPatches
from nucleosynth.data.patches import SyntheticPatches
from nucleosynth.data.phantom import PhantomSettings, generate_phantom
from nucleosynth.data.tileset import load_tiles
from nucleosynth.data.tilestore import TileStore
from nucleosynth.transforms.synthesis import SynthesisSettings
from nucleosynth.transforms.targets import nucleus_targets

SETTINGS = SynthesisSettings(size=64)
PAIR = {"real", "real_reference", "real_type"}
ALWAYS = {"image", "target", "reference"}


@pytest.fixture(scope="module")
def tiles(phantom_tiles):
    return load_tiles(phantom_tiles, 64).tiles


@pytest.fixture(scope="module")
def store(tiles):
    return TileStore(tiles, 0.25).prepare(1)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    phantom = generate_phantom(PhantomSettings(width=128, height=128, seed=4, tissue_share=1.0))
    write_png(folder / "images" / "a.png", phantom.image)
    write_label(folder / "labels" / "a.png", phantom.labels)
    return LabelledPatches(folder, 64, seed=3)


class Watched(TileStore):
    """A store that remembers which tiles it was asked for, and in which order."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.analyses, self.images = [], []

    def analysis(self, number):
        self.analyses.append(number)
        return super().analysis(number)

    def image(self, number):
        self.images.append(number)
        return super().image(number)


def same(first, second):
    return set(first) == set(second) and all(np.array_equal(first[key], second[key]) for key in first)


def found_in(patch, path):
    """Whether a patch, shape (3, P, P), is part of an image file, turned and mirrored as it may be."""
    image, part = read_image(path), patch.numpy().transpose(1, 2, 0)
    size = part.shape[0]
    for turns in range(4):
        for view in (np.rot90(part, turns), np.rot90(part, turns)[:, ::-1]):
            difference = cv2.matchTemplate(image, np.ascontiguousarray(view), cv2.TM_SQDIFF)
            row, column = np.unravel_index(difference.argmin(), difference.shape)
            if np.array_equal(image[row : row + size, column : column + size], view):
                return True
    return False


def test_an_example_holds_what_its_keys_say(store):
    example = SyntheticPatches(store, SETTINGS, labels=True)[5]
    assert set(example) == ALWAYS | PAIR | {"label"}
    assert all(type(key) is str for key in example)
    for key in ("image", "reference", "real", "real_reference"):
        assert (example[key].dtype, example[key].shape) == (torch.uint8, (3, 64, 64))
        assert example[key].is_contiguous()
    assert (example["target"].dtype, example["target"].shape) == (torch.uint8, (2, 64, 64))
    assert (example["label"].dtype, example["label"].shape) == (torch.int32, (1, 64, 64))
    assert type(example["real_type"]) is int


@pytest.mark.parametrize("core", [0.5, 0.8])
def test_the_target_is_that_of_the_label(store, core):
    patches = SyntheticPatches(store, SETTINGS, core=core, labels=True)
    examples = [patches[number] for number in range(8)]
    for example in examples:
        assert np.array_equal(example["target"], nucleus_targets(example["label"][0].numpy(), core))
    assert sum(int(example["label"].max()) for example in examples) > 8


def test_an_example_is_a_function_of_seed_and_number_whatever_was_asked_before(tiles, store):
    first = SyntheticPatches(store, SETTINGS, seed=3)
    forward = {number: first[number] for number in (0, 1, 7, 40, 10**9)}
    # Another dataset, another store that can only keep two tiles, and the other way round.
    second = SyntheticPatches(TileStore(tiles, 0.25), SETTINGS, seed=3)
    second.store.analysis(4)
    for number in reversed(forward):
        assert same(second[number], forward[number])
    assert not np.array_equal(forward[0]["image"], forward[1]["image"])


def test_another_seed_gives_other_examples(store):
    first, second = (SyntheticPatches(store, SETTINGS, seed=seed)[4] for seed in (0, 1))
    for key in ("image", "reference", "real", "real_reference"):
        assert not np.array_equal(first[key], second[key])


def test_processes_make_the_same_examples_as_none(tiles, labelled):
    store = TileStore(tiles, 0.25, capacity=3)  # not all fit, so each process analyses for itself
    patches = SyntheticPatches(store, SETTINGS, seed=1, labels=True, labelled=labelled)
    batches = [[0, 1, 2], [100, 101, 102], [7, 3, 5], [64, 32, 0]]
    alone = list(training_loader(patches, batches))
    together = list(training_loader(patches, batches, num_workers=2))
    assert len(alone) == len(together) == 4
    assert all(same(*pair) for pair in zip(alone, together, strict=True))
    assert alone[0]["image"].shape == (3, 3, 64, 64)
    assert alone[0]["real_type"].dtype == torch.int64
    assert np.array_equal(alone[3]["image"][2], alone[0]["image"][0])


def test_a_loader_gives_each_batch_in_its_order(store):
    patches = SyntheticPatches(store, SETTINGS)
    loader = training_loader(patches, [[3, 1], [2, 0]])
    assert isinstance(loader, DataLoader)
    for batch, numbers in zip(loader, ([3, 1], [2, 0]), strict=True):
        for place, number in enumerate(numbers):
            assert np.array_equal(batch["image"][place], patches[number]["image"])


def test_references_come_from_another_tile_of_the_type(tiles):
    store = Watched(tiles, 0.25)
    patches = SyntheticPatches(store, SETTINGS)
    types, pairs = set(), set()
    for number in range(16):
        store.analyses, store.images = [], []
        example = patches[number]
        source = store.analyses[0]
        reference, real, beside = store.images
        assert tiles[reference].type == tiles[source].type
        assert reference != source
        assert tiles[beside].type == tiles[real].type
        assert beside != real
        assert example["real_type"] == store.types[real]
        for key, tile in (("reference", reference), ("real", real), ("real_reference", beside)):
            assert found_in(example[key], tiles[tile].path)
        types.add(tiles[source].type)
        pairs.add((real, beside))
    assert types == {"liver", "skin"}
    # 3 x 2 pairs of one type and 2 of the other: most of them come up.
    assert len(pairs) > 4


def test_the_texture_may_come_from_any_tile(tiles):
    """Refinement, not the texture, makes a patch look like its type."""
    store = Watched(tiles, 0.25)
    patches = SyntheticPatches(store, SETTINGS, pairs=False)
    for number in range(16):
        assert patches[number]["image"].any()
    asked = list(zip(store.analyses[::2], store.analyses[1::2], strict=True))
    assert {tiles[source].type == tiles[texture].type for source, texture in asked} == {True, False}


def test_a_lone_tile_is_its_own_reference(tiles):
    store = Watched(tiles[:1], 0.25)
    example = SyntheticPatches(store, SETTINGS)[0]
    assert set(store.analyses) | set(store.images) == {0}
    assert example["real_type"] == 0
    assert found_in(example["reference"], tiles[0].path)


def test_of_more_tiles_than_fit_a_window_moves_over_all(tiles):
    """Every 32 examples one tile leaves the window of two, and another one comes."""
    store = Watched(tiles, 0.25, capacity=2)
    patches = SyntheticPatches(store, SETTINGS, seed=5, pairs=False)
    windows = []
    for begin in range(0, 6 * 32, 32):
        store.analyses = []
        for number in (begin, begin + 1, begin + 16, begin + 31):
            assert patches[number]["image"].shape == (3, 64, 64)
        windows.append(set(store.analyses))
    assert [len(window) for window in windows] == [2] * 6
    assert [len(before & after) for before, after in pairwise(windows)] == [1] * 5
    assert set.union(*windows) == set(range(5))
    assert windows[5] == windows[0]


def test_where_all_tiles_fit_all_are_drawn_from_the_start(tiles):
    store = Watched(tiles, 0.25)
    patches = SyntheticPatches(store, SETTINGS, pairs=False)
    for number in range(16):
        assert patches[number]["target"].shape == (2, 64, 64)
    assert set(store.analyses[::2]) == set(store.analyses[1::2]) == set(range(5))


def test_pairs_labels_and_labelled_patches_are_there_when_asked_for(store, labelled):
    def keys(**switches):
        return set(SyntheticPatches(store, SETTINGS, **switches)[0])

    assert keys() == ALWAYS | PAIR
    assert keys(pairs=False) == ALWAYS
    assert keys(pairs=False, labels=True) == ALWAYS | {"label"}
    assert keys(labelled=labelled) == ALWAYS | PAIR | {"labelled_image", "labelled_target"}
    assert set(map(str, Keys)) == ALWAYS | PAIR | {"label", "labelled_image", "labelled_target"}


def test_what_else_is_asked_for_does_not_change_the_patch(store, labelled):
    plain = SyntheticPatches(store, SETTINGS, pairs=False)[9]
    full = SyntheticPatches(store, SETTINGS, labels=True, labelled=labelled)[9]
    assert same(plain, {key: full[key] for key in ALWAYS})


def test_labelled_patches_are_mixed_in_by_their_own_number(store, labelled):
    patches = SyntheticPatches(store, SETTINGS, seed=8, labelled=labelled)
    for number in (0, 17):
        real = labelled[number]
        assert np.array_equal(patches[number]["labelled_image"], real["image"])
        assert np.array_equal(patches[number]["labelled_target"], real["target"])


def test_a_negative_seed_is_refused(store):
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        SyntheticPatches(store, SETTINGS, seed=-1)
