from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.core.places import Occupancy, Places, positive3, start_positions

SHAPES = st.tuples(*[st.integers(1, 6)] * 3)
SIZES = st.tuples(*[st.integers(1, 8)] * 3)
STRIDES = st.tuples(*[st.integers(1, 4)] * 3)
OVERLAPS = st.sampled_from([0.0, 0.05, 0.2, 0.25, 1 / 3, 0.5, 0.75, 0.99])


def voxels(box: Patch) -> set[tuple[int, ...]]:
    return set(itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True))))


def all_patches(places: Places) -> dict[tuple[int, ...], Patch]:
    return {position: places.patch(position) for position in np.ndindex(*places.shape)}


@st.composite
def taken_images(draw):
    """Places of an image, and boxes of any size inside it that are taken."""
    shape = draw(SHAPES)
    places = Places.fit(shape, draw(SIZES), draw(STRIDES))
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        start = [draw(st.integers(0, n - 1)) for n in shape]
        size = [draw(st.integers(1, n - s)) for n, s in zip(shape, start, strict=True)]
        boxes.append(Patch(start, size))
    return shape, places, boxes


def may_be_taken(patch: Patch, boxes: list[Patch], overlap: float) -> bool:
    covered = set().union(*map(voxels, boxes)) if boxes else set()
    return len(voxels(patch) & covered) <= overlap * patch.voxels + 1e-9


@settings(deadline=None, max_examples=250)
@given(taken_images(), OVERLAPS)
def test_a_place_is_free_when_all_boxes_together_hold_no_more_than_its_share(image, overlap):
    _, places, boxes = image
    occupancy = Occupancy(places, boxes, overlap)
    free = occupancy.free()
    assert free.shape == places.shape
    for position, patch in all_patches(places).items():
        assert occupancy.is_free(patch) == free[position] == may_be_taken(patch, boxes, overlap)


@settings(deadline=None, max_examples=250)
@given(taken_images(), OVERLAPS)
def test_blocked_names_the_places_near_a_box_that_are_no_longer_free(image, overlap):
    _, places, boxes = image
    occupancy = Occupancy(places, [], overlap)
    for i, box in enumerate(boxes, start=1):
        occupancy.take(box)
        near, blocked = occupancy.blocked(box)
        marked, lost = np.zeros((2, *places.shape), dtype=bool)
        marked[near] = True
        assert blocked.shape == marked[near].shape
        lost[near] = blocked
        for position, patch in all_patches(places).items():
            assert marked[position] == bool(voxels(patch) & voxels(box))
            assert lost[position] == (marked[position] and not may_be_taken(patch, boxes[:i], overlap))


@settings(deadline=None, max_examples=150)
@given(taken_images(), OVERLAPS, st.integers(0, 2**32))
def test_drawing_until_nothing_is_left_uses_up_every_free_place(image, overlap, seed):
    shape, places, boxes = image
    occupancy, rng = Occupancy(places, boxes, overlap), np.random.default_rng(seed)
    drawn: list[Patch] = []
    while (patch := occupancy.draw(rng)) is not None:
        assert patch.inside(shape)
        assert may_be_taken(patch, boxes + drawn, overlap)
        occupancy.take(patch)
        drawn.append(patch)
        assert len(drawn) <= len(all_patches(places))
    assert occupancy.boxes == boxes + drawn
    assert not any(may_be_taken(patch, boxes + drawn, overlap) for patch in all_patches(places).values())


@settings(deadline=None, max_examples=150)
@given(SHAPES, SIZES, STRIDES)
def test_position_undoes_patch_and_the_image_is_as_large_as_before(shape, size, stride):
    places = Places.fit(shape, size, stride)
    assert places.image_shape == shape
    for position, patch in all_patches(places).items():
        assert patch.inside(shape)
        assert places.position(patch) == position


@settings(deadline=None, max_examples=150)
@given(SHAPES, SIZES, STRIDES)
def test_centred_patches_hold_their_voxel_and_stay_inside(shape, size, stride):
    places = Places.fit(shape, size, stride)
    every = np.array(list(np.ndindex(*shape)))
    starts = Occupancy(places).centred(every)
    assert starts.shape == every.shape
    for voxel, start in zip(every.tolist(), starts.tolist(), strict=True):
        patch = Patch(start, places.size)
        assert patch.inside(shape)
        assert tuple(voxel) in voxels(patch)
        for v, s, k, n in zip(voxel, start, places.size, shape, strict=True):
            assert v - s == k // 2 or s in (0, n - k)  # off centre only at the rim


@pytest.mark.parametrize(
    ("shape", "boxes", "overlap"),
    [
        ((2, 5, 7), [Patch((0, 2, 2), (2, 2, 1))], 0.0),
        ((2, 5, 7), [Patch((0, 2, 0), (2, 3, 6))], 0.0),
        ((2, 5, 7), [Patch((0, 0, 0), (2, 3, 4)), Patch((0, 2, 3), (1, 3, 4))], 0.3),
        # So few of many places are free that drawing blindly does not find them.
        ((8, 8, 16), [Patch((0, 0, 0), (8, 8, 12)), Patch((0, 0, 12), (6, 8, 4))], 0.0),
    ],
)
def test_draws_are_uniform_over_the_free_places(shape, boxes, overlap):
    places = Places.fit(shape, (2, 2, 3))
    occupancy, rng = Occupancy(places, boxes, overlap), np.random.default_rng(1)
    free = [p for p in all_patches(places).values() if may_be_taken(p, boxes, overlap)]
    counts = Counter(occupancy.draw(rng) for _ in range(60 * len(free)))
    assert set(counts) == set(free)
    assert stats.chisquare(list(counts.values())).pvalue > 0.001


def test_boxes_that_overlap_each_other_are_counted_once():
    places = Places.fit((1, 1, 10), (1, 1, 10))
    left, middle = Patch((0, 0, 0), (1, 1, 4)), Patch((0, 0, 2), (1, 1, 3))  # 5 voxels, not 7
    assert Occupancy(places, [left, middle], 0.5).is_free(places.patch((0, 0, 0)))
    assert not Occupancy(places, [left, middle], 0.49).is_free(places.patch((0, 0, 0)))
    assert Occupancy(places, [left] * 5, 0.4).free().all()


@pytest.mark.parametrize("overlap", [0.5, 0.999, 1 - 1e-10, float(np.nextafter(1, 0))])
def test_a_place_that_is_taken_is_not_free_whatever_overlap_is_allowed(overlap):
    places = Places.fit((2, 2, 3), (2, 2, 2))
    occupancy = Occupancy(places, [], overlap)
    patch = places.patch((0, 0, 0))
    occupancy.take(patch)
    assert not occupancy.is_free(patch)


@pytest.mark.parametrize("overlap", [0.0, 0.4])
def test_a_full_image_has_nothing_to_draw(overlap):
    places = Places.fit((4, 4, 4), (2, 2, 2))
    occupancy = Occupancy(places, [Patch((0, 0, 0), (4, 4, 4))], overlap)
    assert occupancy.draw(np.random.default_rng(0)) is None
    assert not occupancy.free().any()


@pytest.mark.parametrize("share", [0.29, 0.57, 0.58, 1 / 3, 0.1, 0.7])
def test_a_share_that_is_no_binary_fraction_still_counts_whole_voxels(share):
    length = 300 if share == 1 / 3 else 100
    places = Places.fit((1, 1, length), (1, 1, length))
    allowed = round(share * length)
    whole = places.patch((0, 0, 0))
    assert Occupancy(places, [Patch((0, 0, 0), (1, 1, allowed))], share).is_free(whole)
    assert not Occupancy(places, [Patch((0, 0, 0), (1, 1, allowed + 1))], share).is_free(whole)


@pytest.mark.parametrize(
    "bad", [(1, 2), (1, 2, 3, 4), (0, 1, 1), (1, -1, 1), (1, 1.5, 1), "abc", None, 0, -2, 1.5, (1, 1, None)]
)
def test_what_is_not_three_positive_whole_numbers_is_refused_by_name_and_value(bad):
    with pytest.raises(QueryError, match="stride") as refused:
        positive3(bad, "stride")
    shown = (bad,) * 3 if isinstance(bad, int) else bad
    assert str(shown) in str(refused.value)


def test_one_number_stands_for_all_axes_and_numpy_numbers_are_plain_afterwards():
    assert (
        positive3(3, "x") == positive3(np.int64(3), "x") == positive3(np.array([3, 3, 3]), "x") == (3, 3, 3)
    )
    assert {type(n) for n in positive3(np.array([1, 2, 3]), "x")} == {int}


def test_a_stride_longer_than_the_axis_leaves_the_two_ends():
    assert start_positions(9, 2, 50).tolist() == [0, 7]
    assert start_positions(2, 2, 50).tolist() == [0]
