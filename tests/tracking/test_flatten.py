import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, _validate_metric_name, _validate_param

from nucleosynth.tracking import flatten_config
from nucleosynth.tracking.flatten import valid_key

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
nested = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=20)


def leaves(value):
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(leaves, children)) if children else 1


def test_values_are_named_by_their_way():
    config = {"train": {"optimizer": [{"lr": 0.01}, {"lr": "$@base * 2"}], "amp": True, "mask": None}, "seed": 3}
    assert flatten_config(config, "config/train.yaml") == {
        "train.optimizer.0.lr": "0.01",
        "train.optimizer.1.lr": "$@base * 2",
        "train.amp": "true",
        "train.mask": "null",
        "seed": "3",
    }


def test_empty_lists_and_mappings_are_kept():
    assert flatten_config({"a": [], "b": {"c": {}}}, "x") == {"a": "[]", "b.c": "{}"}


def test_a_value_that_is_too_long_refers_to_the_file():
    params = flatten_config({"longest": "x" * MAX_PARAM_VAL_LENGTH, "longer": "x" * 7000}, "config/train.yaml")
    assert params["longest"] == "x" * MAX_PARAM_VAL_LENGTH
    assert params["longer"] == "(7000 characters, too long for a parameter: see config/train.yaml)"


def test_names_that_are_too_long_stay_apart():
    params = flatten_config({"x" * 300 + "a": 1, "x" * 300 + "b": 2}, "x")
    assert sorted(params.values()) == ["1", "2"]
    assert all(len(key) == 250 and key.startswith("xxx") and "..." in key for key in params)


def test_names_that_become_the_same_stay_apart():
    params = flatten_config({"a.b": 1, "a": {"b": 2}, "c#d": 3, "c@d": 4, "c+d": 5}, "x")
    assert params["a.b"] == "1"
    assert sorted(params.values()) == ["1", "2", "3", "4", "5"]


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=8), nested))
def test_mlflow_takes_whatever_comes_and_nothing_is_lost(config):
    params = flatten_config(config, "config/train.yaml")
    for key, value in params.items():
        _validate_param(key, value)
    assert len(params) == (leaves(config) if config else 0)


@given(st.text(max_size=300))
def test_every_name_becomes_one_that_mlflow_takes(name):
    _validate_metric_name(valid_key(name))


@pytest.mark.parametrize("name", ["loss/task", "weights/effective_sample_size", "a.b-c d", "lr"])
def test_a_good_name_stays(name):
    assert valid_key(name) == name
