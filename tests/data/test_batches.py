"""Batches in one piece."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nucleosynth.data.batches import PackedLoader, pack

DTYPES = (np.uint8, np.int32, np.int64, np.float32, np.bool_, np.int16)


class Failing(torch.utils.data.Dataset):
    def __getitem__(self, number):
        if number == 2:
            raise ValueError("no such tile")
        return {"image": np.full((3, 2, 2), number, np.uint8), "type": number}

    def __len__(self):
        return 4


@given(st.data())
def test_what_is_packed_is_unpacked(data):
    """Tensors of all dtypes and shapes, empty ones and numbers among them, in any order."""
    names = data.draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1))
    count = data.draw(st.integers(1, 3))
    shapes = {name: data.draw(arrays.array_shapes(min_dims=0, min_side=0, max_side=5)) for name in names}
    kinds = {name: data.draw(st.sampled_from(DTYPES)) for name in names}
    examples = [
        {name: data.draw(arrays.arrays(kinds[name], shapes[name], elements=st.integers(0, 1))) for name in names}
        for _ in range(count)
    ]
    batch = pack(examples).unpack()
    assert set(batch) == set(names)
    for name, tensor in batch.items():
        expected = np.stack([each[name] for each in examples])
        assert tensor.numpy().dtype == expected.dtype
        assert np.array_equal(tensor.numpy(), expected)


def test_a_batch_is_one_tensor_and_its_parts_share_its_memory():
    packed = pack(
        [
            {"image": torch.ones(3, 4, 4, dtype=torch.uint8), "type": 5},
            {"image": torch.zeros(3, 4, 4, dtype=torch.uint8), "type": 7},
        ]
    )
    assert packed.content.dtype == torch.uint8
    assert packed.content.shape == (2 * 48 + 2 * 8,)
    batch = packed.unpack()
    assert batch["type"].tolist() == [5, 7]
    batch["image"][1] = 9
    assert (packed.unpack()["image"][1] == 9).all()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_gives_dictionaries_and_what_went_wrong(num_workers):
    loader = PackedLoader(Failing(), batch_sampler=[[0, 1], [3, 2]], num_workers=num_workers)
    batches = iter(loader)
    first = next(batches)
    assert first["image"].shape == (2, 3, 2, 2)
    assert first["type"].tolist() == [0, 1]
    with pytest.raises(ValueError, match="no such tile"):
        next(batches)


def test_a_loader_can_be_gone_through_again():
    loader = PackedLoader(Failing(), batch_sampler=[[0, 1]], num_workers=1)
    assert [[each["type"].tolist() for each in loader] for _ in range(2)] == [[[0, 1]]] * 2
