from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.labels import LabelSet

names = st.lists(st.text("abcdefgh", min_size=1), min_size=1, max_size=8, unique=True).map(tuple)


@given(names, st.booleans())
def test_labels_survive_dataset_json(classes, partial):
    labels = LabelSet(classes, partial)
    assert LabelSet.from_json(labels.to_json()) == labels


@given(names)
def test_the_ignore_id_follows_the_last_class_and_is_allowed_only_in_partial_labels(classes):
    labels = LabelSet(classes)
    assert labels.ignore == len(classes) + 1 == labels.num_classes
    assert labels.ignore not in labels.allowed
    assert labels.allowed | {labels.ignore} == labels.as_partial().allowed


def test_decathlon_labels_are_read_the_other_way_round():
    assert LabelSet.from_json({"0": "background", "1": "liver", "2": "tumour"}).classes == ("liver", "tumour")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"background": 0, "whole": [1, 2]}, "not single whole numbers"),
        ({"background": 0, "a": 2}, "without gaps"),
        ({"background": 0, "a": 1, "b": 1}, "without gaps or repeats"),
        ({"background": 0, "ignore": 1, "a": 2}, "'ignore' must have the highest value"),
        ({"background": 0}, "at least one foreground class"),
        ({"background": 0, "a": True}, "not single whole numbers"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labels, told):
    with pytest.raises(DatasetError, match=told):
        LabelSet.from_json(labels)


def test_values_have_names():
    labels = LabelSet(("liver",), partial=True)
    assert [labels.name(value) for value in (0, 1, 2)] == ["background", "liver", "ignore"]
