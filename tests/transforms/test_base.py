import math

import numpy as np
import pytest
from monai.data import CacheDataset
from monai.transforms import Compose, RandomizableTrait, RandomizableTransform

from nucleosynth.transforms.base import RandomizableMapTransform, check_mpp


class RandAdd(RandomizableTransform):
    """Add a random number."""

    def __init__(self, prob=1.0):
        super().__init__(prob)
        self.number = 0.0

    def randomize(self, data=None):
        super().randomize(None)
        self.number = self.R.uniform() if self._do_transform else 0.0

    def __call__(self, value, randomize=True):
        if randomize:
            self.randomize()
        return value + self.number


class RandAddd(RandomizableMapTransform):
    """Add the same random number to all keys."""

    def __call__(self, data):
        result = dict(data)
        self.randomize()
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], randomize=False)
        return result


def test_the_seed_reaches_the_array_transform():
    array = RandAdd().set_random_state(seed=3)
    dictionary = RandAddd("a", RandAdd())
    assert dictionary.set_random_state(seed=3) is dictionary
    assert dictionary({"a": 1.0})["a"] == array(1.0)
    dictionary.set_random_state(state=np.random.RandomState(3))
    assert dictionary({"a": 1.0})["a"] == RandAdd().set_random_state(seed=3)(1.0)


def test_compose_seeds_it():
    def run(seed):
        return Compose([RandAddd(("a", "b"), RandAdd())]).set_random_state(seed=seed)({"a": 0.0, "b": 0.0})

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert run(1)["a"] == run(1)["b"]


def test_a_cache_stops_in_front_of_it():
    transform = RandAddd("a", RandAdd())
    assert isinstance(transform, RandomizableTrait)
    data = CacheDataset([{"a": 0.0}], Compose([transform]), progress=False)
    assert data[0]["a"] != data[0]["a"]


def test_missing_keys():
    with pytest.raises(KeyError, match="b"):
        RandAddd(("a", "b"), RandAdd())({"a": 0.0})
    assert set(RandAddd(("a", "b"), RandAdd(), allow_missing_keys=True)({"a": 0.0})) == {"a"}


@pytest.mark.parametrize("mpp", [0, -0.25, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(mpp):
    with pytest.raises(ValueError, match=f"mpp must be positive, got {mpp}"):
        check_mpp(mpp)
