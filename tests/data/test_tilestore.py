from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleosynth.data import tilestore
from nucleosynth.data.images import read_image, write_png
from nucleosynth.data.tileset import Tile, load_tiles
from nucleosynth.data.tilestore import TileStore, open_tiles, split_tiles
from nucleosynth.errors import InputError


@pytest.fixture(scope="module")
def tiles(phantom_tiles):
    return load_tiles(phantom_tiles, 64).tiles


@pytest.fixture
def analysed(monkeypatch):
    """How often each image was analysed, by its bytes."""
    counts = Counter()
    analyze = tilestore.analyze_tile
    monkeypatch.setattr(
        tilestore,
        "analyze_tile",
        lambda image, mpp, found: counts.update([image.tobytes()]) or analyze(image, mpp, found=found),
    )
    return counts


def named(*types):
    """Tiles of types, without files."""
    return tuple(Tile(Path(f"{number}.png"), f"{number}.png", kind) for number, kind in enumerate(types))


def test_a_tile_is_analysed_once(tiles, analysed):
    store = TileStore(tiles, 0.25, capacity=5)
    first = [store.analysis(number) for number in range(5)]
    assert [store.analysis(number) for number in (4, 2, 0, 1, 3)] == [first[number] for number in (4, 2, 0, 1, 3)]
    assert set(analysed.values()) == {1}
    assert len(analysed) == len(store) == 5
    for number, tile in enumerate(tiles):
        assert np.array_equal(first[number].image, read_image(tile.path))
        assert first[number].mpp == 0.25


def test_the_scale_of_the_store_is_that_of_the_analyses(tiles):
    assert TileStore(tiles, 0.5).analysis(0).mpp == 0.5


def test_what_was_not_used_for_longest_makes_room(tiles, analysed):
    store = TileStore(tiles, 0.25, capacity=2)
    counts = []
    for number in (0, 1, 0, 2, 0, 2, 1, 2, 0):
        store.analysis(number)
        counts.append(sum(analysed.values()))
    #                 0  1  0  2  0  2  1  2  0: 2 takes the place of 1, 1 that of 0, and 0 that of 1
    assert counts == [1, 2, 2, 3, 3, 3, 4, 4, 5]


def test_an_image_is_the_same_whether_its_analysis_is_in_memory_or_not(tiles, analysed):
    store = TileStore(tiles, 0.25, capacity=2)
    before = store.image(0)
    assert not analysed
    store.analysis(0)
    assert store.image(0) is store.analysis(0).image
    assert np.array_equal(before, store.image(0))
    assert np.array_equal(before, read_image(tiles[0].path))
    assert before.dtype == np.uint8
    assert before.shape == (160, 160, 3)


@pytest.mark.parametrize("threads", [1, 3])
def test_preparing_analyses_all_tiles_in_their_order(tiles, analysed, threads):
    store = TileStore(tiles, 0.25, capacity=5)
    assert store.prepare(threads) is store
    assert list(analysed.values()) == [1] * 5
    for number, tile in enumerate(tiles):
        assert np.array_equal(store.analysis(number).image, read_image(tile.path))
    assert list(analysed.values()) == [1] * 5


def test_without_room_for_all_preparing_does_nothing(tiles, analysed):
    TileStore(tiles, 0.25, capacity=4).prepare(2)
    assert not analysed


def test_partners_are_the_other_tiles_of_a_type_and_a_lone_tile_is_its_own():
    store = TileStore(named("b", "c", "b", "a", "b", "a"), 0.25)
    assert [each.tolist() for each in store.partners] == [[2, 4], [1], [0, 4], [5], [0, 2], [3]]
    assert store.types.tolist() == [1, 2, 1, 0, 1, 0]
    assert store.types.dtype == np.int64


def test_a_store_needs_tiles_and_room_for_two():
    with pytest.raises(ValueError, match="at least one tile"):
        TileStore((), 0.25)
    for capacity in (1, 0, -3):
        with pytest.raises(ValueError, match=f"capacity must be at least 2, got {capacity}"):
            TileStore(named("a"), 0.25, capacity)


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from("abc"), min_size=4, max_size=40),
    st.floats(0.01, 0.5),
    st.integers(1, 12),
    st.integers(0, 1000),
)
def test_no_tile_is_on_both_sides_and_none_is_lost(types, share, most, seed):
    tiles = named(*types)
    train, held_out = split_tiles(tiles, share, most, seed)
    assert not set(train) & set(held_out)
    assert sorted(train + held_out, key=tiles.index) == list(tiles)
    # Each side in the order that the tiles had.
    assert list(train) == sorted(train, key=tiles.index)
    assert list(held_out) == sorted(held_out, key=tiles.index)
    assert len(held_out) == min(max(round(share * len(tiles)), 2), most)
    assert train
    assert split_tiles(tiles, share, most, seed) == (train, held_out)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_of_all_types_a_like_share_is_held_out(seed):
    tiles = named(*"abc" * 10, *"ab" * 10, *"a" * 10)  # 30 a, 20 b and 10 c
    held_out = split_tiles(tiles, 0.1, 32, seed)[1]
    assert Counter(tile.type for tile in held_out) == {"a": 3, "b": 2, "c": 1}


def test_which_tiles_are_held_out_depends_on_the_seed():
    tiles = named(*"ab" * 10)
    assert len({split_tiles(tiles, 0.2, 32, seed)[1] for seed in range(6)}) > 3
    chosen = {tile for seed in range(60) for tile in split_tiles(tiles, 0.2, 32, seed)[1]}
    assert chosen == set(tiles)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_fewer_than_four_tiles_none_is_spared(count):
    tiles = named(*"abc"[:count])
    assert split_tiles(tiles, 0.3, 2, 0) == (tiles, tiles)


def test_however_large_the_share_there_are_tiles_to_train_with():
    train, held_out = split_tiles(named(*"aabb"), 0.95, 32, 0)
    assert train
    assert held_out


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=rf"share must lie in \(0, 1\), got {share}"):
        split_tiles(named(*"aabb"), share, 32, 0)


def test_opened_tiles_are_checked_split_and_analysed(phantom_tiles, tmp_path, analysed):
    for path in phantom_tiles.rglob("*.png"):
        write_png(tmp_path / path.relative_to(phantom_tiles), read_image(path))
    write_png(tmp_path / "skin" / "glass.png", np.full((160, 160, 3), 245, np.uint8))
    opened = open_tiles(tmp_path, size=64, mpp=0.3, held_out=0.4, seed=2, threads=1)
    assert opened.blank == ("skin/glass.png",)
    assert (len(opened.train), len(opened.held_out)) == (3, 2)
    names = [tile.name for store in (opened.train, opened.held_out) for tile in store.tiles]
    assert sorted(names) == ["liver/0.png", "liver/1.png", "liver/2.png", "skin/0.png", "skin/1.png"]
    assert {tile.type for tile in opened.held_out.tiles} == {"liver", "skin"}
    assert opened.mpp == opened.train.mpp == opened.held_out.mpp == 0.3
    # The tiles to train with only; the others are analysed when someone looks.
    assert len(analysed) == 3


def test_tiles_are_at_the_usual_scale_unless_told_otherwise(phantom_tiles):
    opened = open_tiles(phantom_tiles, size=64, most=1, capacity=2, threads=1)
    assert opened.mpp == 0.25
    assert len(opened.held_out) == 1
    assert opened.train.capacity == 2


def test_tiles_smaller_than_the_patches_are_refused(phantom_tiles):
    with pytest.raises(InputError, match="160x160 px, smaller than the patch of 161 px"):
        open_tiles(phantom_tiles, size=161, threads=1)
