"""What cannot be used is refused, with the case and the value, before anything is read or chosen."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.query import (
    CaseMaps,
    Request,
    case_candidates,
    get_strategy,
    propose,
    strategy_names,
    uncertainty_maps,
)

SHAPE = (4, 5, 6)
NAMES = [name for name in strategy_names() if get_strategy(name).embedding is None]


def members_of(count=3, dtype=np.float64) -> list[np.ndarray]:
    powers = np.exp(np.random.default_rng(0).normal(size=(count, 3, *SHAPE)))
    return list((powers / powers.sum(axis=1, keepdims=True)).astype(dtype))


def ask(make_maps, name="bald", **changed):
    maps = make_maps(SHAPE)
    pool = [CaseMaps.from_maps("knee", maps, np.ones(SHAPE, dtype=np.uint8))]
    values = {
        "query_size": 3,
        "step": 0,
        "total_steps": 4,
        "annotated": {},
        "seed": 1,
        "patch_size": (2, 2, 2),
    }
    return propose(pool, name, **(values | changed))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("position", [0, 2])
@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (math.nan, "not finite"),
        (math.inf, "not finite"),
        (-math.inf, "not finite"),
        (-0.5, r"lowest value -0\.5.*class sums differ"),
        (2.0, "class sums differ from 1 by up to 1"),
    ],
)
def test_a_member_that_is_no_softmax_is_refused_with_case_member_and_value(bad, told, position, order, dtype):
    members = members_of(dtype=dtype)
    members[position] = np.array(members[position], order=order)
    members[position][2, 3, 4, 5] = bad  # the very last voxel
    with pytest.raises(QueryError, match=f"case knee: member {position} .*{told}"):
        uncertainty_maps(iter(members), case="knee")


def test_the_lowest_value_told_is_one_that_is_there():
    with pytest.raises(QueryError, match=r"lowest value 0\.5, class sums differ from 1 by up to 0\.5"):
        uncertainty_maps([np.full((3, 2, 2, 2), 0.5)])


def test_a_bad_member_is_found_whichever_thread_sees_it(monkeypatch):
    monkeypatch.setattr("nnactive_server.query.blocks.BLOCK_VOXELS", 6)
    monkeypatch.setattr("nnactive_server.query.blocks.available_cores", lambda: 4)
    for voxel in np.ndindex(*SHAPE):
        members = members_of(1)
        members[0][(0, *voxel)] = math.nan
        with pytest.raises(QueryError, match="case a: member 0"):
            uncertainty_maps(members, case="a")


@pytest.mark.parametrize("shape", [(3, 4, 5, 7), (2, *SHAPE), (4, *SHAPE), SHAPE, (3, 4, 30), (3, 6, 5, 4)])
def test_members_of_different_shapes_are_refused_with_both(shape):
    odd = np.full(shape, 1 / shape[0])
    with pytest.raises(QueryError, match="case knee: member 1") as refused:
        uncertainty_maps([members_of()[0], odd], case="knee")
    assert str(shape) in str(refused.value)


@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (300, 1, 1, 1), (3, 0, 2, 2), (2, 2), ()])
def test_a_first_member_that_can_be_no_softmax_is_refused_with_its_shape(shape):
    with pytest.raises(QueryError, match="case knee: member 0 has shape") as refused:
        uncertainty_maps([np.ones(shape)], case="knee")
    assert str(shape) in str(refused.value)


BAD_TRIPLES = [
    (2, 0, 2),
    (2, 2, -1),
    (2, 2),
    (2, 2, 2, 2),
    (2, 2.5, 2),
    (2, 2, math.nan),
    "abc",
    None,
    0,
    -4,
    2.5,
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", BAD_TRIPLES, ids=str)
@pytest.mark.parametrize("what", ["patch_size", "stride"])
def test_impossible_sizes_and_strides_are_refused_by_every_strategy(name, bad, what, make_maps):
    with pytest.raises(QueryError, match=what.replace("_", " ")) as refused:
        ask(make_maps, name, **{what: bad})
    assert str((bad,) * 3 if isinstance(bad, int) else bad) in str(refused.value)


@pytest.mark.parametrize(
    ("what", "bad"),
    [
        *(("query_size", bad) for bad in (0, -1, 2.5, None, math.nan, math.inf, "x", "3")),
        *(("patches_per_image", bad) for bad in (0, -1, 2.5, math.nan, "x")),
        *(("step", bad) for bad in (-1, 0.5, None, "x")),
        *(("total_steps", bad) for bad in (0, -1, 0.5, None, "x")),
        *(("overlap", bad) for bad in (-0.01, 1, 1.5, math.nan, math.inf, None, "x")),
        *(("seed", bad) for bad in (1.5, None, "x", math.nan)),
    ],
)
def test_values_out_of_range_are_refused_by_name_and_value_before_a_case_is_read(what, bad):
    read = []

    def pool():
        read.append(1)
        yield CaseMaps("a", SHAPE)

    values = {
        "query_size": 3,
        "step": 0,
        "total_steps": 4,
        "annotated": {},
        "seed": 1,
        "patch_size": (2, 2, 2),
    }
    with pytest.raises(QueryError, match=f"{what} '?{bad}"):
        propose(pool(), "random", **(values | {what: bad}))
    assert not read


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_of_any_type_ask_for_the_same(name, make_maps):
    expected = ask(make_maps, name, patches_per_image=2)
    for kind in (float, np.int64, np.uint8, np.float32):
        again = ask(
            make_maps, name, query_size=kind(3), patches_per_image=kind(2), step=kind(0),
            total_steps=kind(4), seed=kind(1), patch_size=tuple(map(kind, (2, 2, 2))), overlap=np.float32(0),
        )  # fmt: skip
        assert again == expected
        assert again.query_size == 3
        json.dumps([(q.rank, q.score, q.start, q.size, q.why.to_json()) for q in again])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "box", [Patch((0, 0, 5), (1, 1, 2)), Patch((4, 0, 0), (1, 1, 1)), Patch((0, 0, 0), (9, 9, 9))]
)
def test_annotated_boxes_outside_the_image_are_refused_with_case_box_and_image(name, box, make_maps):
    with pytest.raises(QueryError, match="case knee: annotated box") as refused:
        ask(make_maps, name, annotated={"knee": [Patch((0, 0, 0), (1, 1, 1)), box]})
    for told in (str(box.start), str(box.size), str(SHAPE)):
        assert told in str(refused.value)


@pytest.mark.parametrize("bad", ["", "BALD", "clasp_pe", "entropy", None, 3])
def test_unknown_strategies_are_refused_with_the_names_there_are(bad, make_maps):
    with pytest.raises(QueryError, match="unknown; choose among") as refused:
        get_strategy(bad)
    assert repr(bad) in str(refused.value)
    assert all(name in str(refused.value) for name in strategy_names())
    if isinstance(bad, str):
        with pytest.raises(QueryError, match="unknown; choose among"):
            ask(make_maps, bad)


@pytest.mark.parametrize("name", strategy_names())
def test_unknown_parameters_are_refused_with_those_there_are(name):
    for bad in ("gamma", "measures", "Beta"):
        with pytest.raises(QueryError, match=rf"{name} has no parameters \['{bad}'\]"):
            get_strategy(name, **{bad: 1})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.25])
@pytest.mark.parametrize(
    "measure", ["predictive_entropy", "expected_entropy", "mutual_information", "class_signal"]
)
def test_impossible_values_in_any_map_at_hand_never_reach_an_explanation(measure, bad, make_maps):
    maps = make_maps(SHAPE)
    broken = maps | {measure: np.full_like(maps[measure], bad)}
    case = CaseMaps.from_maps("knee", broken, np.ones(SHAPE, dtype=np.uint8))
    for name in NAMES:
        try:
            offer = case_candidates(case, name, Request(3, (2, 2, 2)))
        except QueryError as refused:
            message = str(refused)
            assert message.startswith(f"case knee: map {measure}")
            assert str(bad) in message
        else:
            means = [mean for c in offer.candidates for mean in c.why.measures.values()]
            assert all(0 <= mean < math.inf for mean in means)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_pool_is_refused(name):
    for pool in ([], {}):
        with pytest.raises(QueryError, match="pool is empty"):
            propose(pool, name, 3, 0, 4, {}, 1, patch_size=(2, 2, 2))


def test_a_mapping_that_calls_a_case_by_another_name_is_refused(make_maps):
    case = CaseMaps.from_maps("knee", make_maps(SHAPE))
    with pytest.raises(QueryError, match="knee"):
        propose({"hip": case}, "bald", 3, 0, 4, {}, 1, patch_size=(2, 2, 2))
