from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import SegmentationError
from nnactive_server.segmentation.training.members import member_splits

annotated = st.dictionaries(
    st.integers(0, 40).map("case_{:02d}".format),
    st.sets(st.integers(1, 4)).map(sorted),
    min_size=1,
    max_size=20,
)


@given(annotated, st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=300, deadline=None)
def test_every_class_is_trained_by_at_least_two_members(classes, members, seed):
    splits = member_splits(classes, members, seed)
    assert len(splits) == members
    for label in {c for found in classes.values() for c in found}:
        holding = [s for s in splits if any(label in classes[case] for case in s.train)]
        assert len(holding) >= min(2, members)


@given(annotated, st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=200, deadline=None)
def test_splits_do_not_depend_on_the_order_of_the_cases(classes, members, seed):
    turned = dict(reversed(classes.items()))
    assert member_splits(classes, members, seed) == member_splits(turned, members, seed)


@given(annotated, st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=200, deadline=None)
def test_a_member_never_sees_its_held_out_cases_and_always_trains_on_something(classes, members, seed):
    for split in member_splits(classes, members, seed):
        assert split.train
        assert not set(split.train) & set(split.held_out)
        assert set(split.train) | set(split.held_out) == set(classes)


def test_with_enough_cases_each_is_held_out_by_exactly_one_member():
    classes = {f"case_{n}": [1, 2] for n in range(12)}
    splits = member_splits(classes, 5, seed=7)
    assert sorted(case for split in splits for case in split.held_out) == sorted(classes)


def test_with_few_cases_members_are_bootstrap_samples_that_differ():
    splits = member_splits({"a": [1], "b": [1], "c": [1]}, 5, seed=7)
    assert len({split.train for split in splits}) > 1


def test_no_annotated_case_is_an_error():
    with pytest.raises(SegmentationError, match="annotate at least one patch"):
        member_splits({}, 5, seed=1)
