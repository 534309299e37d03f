"""What must not matter: order of cases, cores, blocks, and how arrays lie in memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.features import FeatureGrid, cell_counts
from nnactive_server.core.patch import Patch
from nnactive_server.query import (
    MEASURES,
    CaseMaps,
    Request,
    get_strategy,
    patch_scores,
    propose,
    strategy_names,
    uncertainty_maps,
)
from nnactive_server.query.blocks import on_all_cores, planes_and_rows, rows_of

SHAPES = {"b": (9, 10, 11), "a": (6, 13, 7), "c": (1, 30, 5)}
PATCH = (3, 4, 2)
NAMES = [
    *((name, {}) for name in strategy_names()),
    *((name, {"aggregation": how}) for name in ("bald", "clasp-pe") for how in ("top-fraction", "threshold")),
]
IDS = ["-".join([name, *params.values()]) for name, params in NAMES]
LAYOUTS = {
    "c": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "class last": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0),
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "not writable": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
}


def members_of(case: str, dtype=np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(ord(case))
    powers = np.exp(2 * rng.normal(size=(3, 4, *SHAPES[case])))
    return list((powers / powers.sum(axis=1, keepdims=True)).astype(dtype))


def case_of(case: str, members) -> CaseMaps:
    rng = np.random.default_rng(ord(case) + 1)
    cell, shape = Request(1, PATCH).cell, SHAPES[case]
    features = rng.normal(size=(4, *cell_counts(shape, cell))).astype(np.float32)
    labels = rng.integers(0, 4, shape)
    return CaseMaps(
        case,
        shape,
        uncertainty_maps(members, MEASURES),
        labels,
        (2, 1, 0.5),
        FeatureGrid(features, cell, shape),
    )


def query_of(cases, name, params, overlap=0.0):
    boxes = {"a": [Patch((0, 0, 0), (4, 5, 6))]}
    strategy = get_strategy(name, **params)
    found = propose(cases, strategy, 11, 1, 4, boxes, 9, patch_size=PATCH, overlap=overlap)
    return list(found), found.shortages


@pytest.fixture(scope="module")
def pool() -> list[CaseMaps]:
    return [case_of(case, members_of(case)) for case in SHAPES]


@pytest.mark.parametrize(("name", "params"), NAMES, ids=IDS)
def test_neither_cores_nor_blocks_nor_the_order_of_cases_change_a_query(name, params, pool, monkeypatch):
    expected = query_of(pool, name, params, 0.2)
    assert len(expected[0]) == 11
    for cores, voxels, order in (
        (1, 1, [2, 1, 0]),
        (7, 60, [1, 2, 0]),
        (2, 2**40, [0, 2, 1]),
        (64, 999, [2, 0, 1]),
    ):
        monkeypatch.setattr("nnactive_server.query.blocks.available_cores", lambda n=cores: n)
        monkeypatch.setattr("nnactive_server.query.blocks.BLOCK_VOXELS", voxels)
        cases = [case_of(case, members_of(case)) for case in SHAPES]
        for case, known in zip(cases, pool, strict=True):
            for measure in MEASURES:
                np.testing.assert_array_equal(case.maps[measure], known.maps[measure])
        assert query_of([cases[i] for i in order], name, params, 0.2) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_members_in_memory_changes_nothing(layout, dtype):
    for case in SHAPES:
        members = members_of(case, dtype)
        turned = [LAYOUTS[layout](member) for member in members]
        expected, got = uncertainty_maps(members, MEASURES), uncertainty_maps(turned, MEASURES)
        for measure in MEASURES:
            np.testing.assert_array_equal(got[measure], expected[measure])
            assert got[measure].dtype == expected[measure].dtype


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_maps_in_memory_changes_nothing(layout, pool):
    turned = []
    for case in pool:
        maps = {measure: LAYOUTS[layout](values) for measure, values in case.maps.items()}
        turned.append(
            CaseMaps(case.case, case.shape, maps, LAYOUTS[layout](case.labels), case.spacing, case.features)
        )
    for name, params in NAMES:
        assert query_of(turned, name, params) == query_of(pool, name, params)


def test_half_precision_members_count_as_what_they_are_in_single_precision():
    for case in SHAPES:
        halves = members_of(case, np.float16)
        expected = uncertainty_maps([half.astype(np.float32) for half in halves], MEASURES)
        got = uncertainty_maps(halves, MEASURES)
        for measure in MEASURES:
            np.testing.assert_array_equal(got[measure], expected[measure])


@pytest.mark.parametrize("name", ["predictive-entropy", "bald", "expected-entropy", "clasp-pe"])
def test_single_precision_members_give_the_same_patches_as_double(name, pool):
    singles = [case_of(case, members_of(case, np.float32)) for case in SHAPES]
    assert singles[0].maps["predictive_entropy"].dtype == np.float32
    one, two = query_of(singles, name, {})[0], query_of(pool, name, {})[0]
    assert [(q.case, q.patch, q.group) for q in one] == [(q.case, q.patch, q.group) for q in two]
    np.testing.assert_allclose([q.score for q in one], [q.score for q in two], rtol=1e-5)


def test_proposing_leaves_the_maps_as_they_are(pool):
    before = [{measure: values.copy() for measure, values in case.maps.items()} for case in pool]
    for name, params in NAMES:
        query_of(pool, name, params)
    for case, known in zip(pool, before, strict=True):
        for measure in MEASURES:
            np.testing.assert_array_equal(case.maps[measure], known[measure])


@settings(deadline=None, max_examples=100)
@given(st.tuples(*[st.integers(1, 12)] * 3), st.sampled_from([1, 2, 7, 50, 400, 10**9]))
def test_blocks_hold_every_voxel_once(shape, voxels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnactive_server.query.blocks.BLOCK_VOXELS", voxels)
        seen = np.zeros(shape, dtype=int)
        for block in planes_and_rows(shape):
            seen[block] += 1
            assert seen[block].size <= max(voxels, shape[2])
        assert (seen == 1).all()
        rows = rows_of(shape[0], shape[1])
    assert [i for part in rows for i in range(part.start, part.stop)] == list(range(shape[0]))


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_scores_do_not_depend_on_blocks(shape, size, stride, seed):
    values = np.random.default_rng(seed).random(shape)
    expected = patch_scores(values, size, stride)
    for voxels in (1, 10, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("nnactive_server.query.blocks.BLOCK_VOXELS", voxels)
            np.testing.assert_array_equal(patch_scores(values, size, stride), expected)


@pytest.mark.parametrize("cores", [1, 3])
def test_work_is_done_once_a_part_and_the_first_error_is_raised(cores, monkeypatch):
    monkeypatch.setattr("nnactive_server.query.blocks.available_cores", lambda: cores)
    done, threads = [], set()

    def work(part: int) -> None:
        threads.add(threading.current_thread().name)
        if part in (5, 8):
            raise ValueError(f"part {part}")
        done.append(part)

    on_all_cores(work, range(5))
    assert sorted(done) == list(range(5))
    assert (threading.main_thread().name in threads) == (cores == 1)
    with pytest.raises(ValueError, match="part 5"):
        on_all_cores(work, range(10))
    on_all_cores(work, [])
