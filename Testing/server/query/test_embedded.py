from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import QueryError
from nnactive_server.core.features import Embedding, FeatureGrid, cell_counts
from nnactive_server.core.patch import Patch
from nnactive_server.query import (
    PLAIN,
    CaseCandidates,
    CaseMaps,
    Request,
    case_candidates,
    get_strategy,
    merge_candidates,
    propose,
)

NAMES = ["coreset", "kmeans-bald", "badge"]

# Sizes for which the mean over a box is exact in binary, so that oracles must agree to the last digit.
exact_shapes = st.tuples(*[st.sampled_from([1, 2, 4, 5, 6, 7])] * 3)
exact_sizes = st.tuples(*[st.sampled_from([1, 2, 4])] * 3)
any_shapes = st.tuples(*[st.integers(1, 7)] * 3)
any_sizes = st.tuples(*[st.integers(1, 9)] * 3)
strides = st.tuples(*[st.integers(1, 3)] * 3)


def image(name, shape, patch_size, seed=0, features=2, levels=3) -> CaseMaps:
    """Features and mutual information of few different values, so that ties are common."""
    rng = np.random.default_rng(seed)
    cell = Request(1, patch_size).cell
    values = rng.integers(0, levels, size=(features, *cell_counts(shape, cell))).astype(np.float32)
    maps = {"mutual_information": rng.integers(0, levels, size=shape).astype(np.float32) / 4}
    return CaseMaps(name, shape, maps, features=FeatureGrid(values, cell, shape))


def voxel_mean(case: CaseMaps, box: Patch) -> tuple[float, ...]:
    values = case.features.values
    voxels = itertools.product(*(range(a, b) for a, b in zip(box.start, box.stop, strict=True)))
    cells = [tuple(v // c for v, c in zip(voxel, case.features.cell, strict=True)) for voxel in voxels]
    return tuple(sum(float(row[cell]) for cell in cells) / len(cells) for row in values)


def strided(request) -> tuple[int, ...]:
    return tuple(max(s, c) for s, c in zip(request.stride, request.cell, strict=True))


@st.composite
def some_boxes(draw, shape):
    size = [draw(st.integers(1, n)) for n in shape]
    return Patch([draw(st.integers(0, n - k)) for n, k in zip(shape, size, strict=True)], size)


def test_each_says_which_features_and_maps_it_needs():
    found = {name: get_strategy(name) for name in NAMES}
    assert {name: s.embedding for name, s in found.items()} == {
        "coreset": Embedding.BOTTLENECK,
        "kmeans-bald": Embedding.BOTTLENECK,
        "badge": Embedding.GRADIENT,
    }
    assert {name: s.measures for name, s in found.items()} == {
        "coreset": (),
        "kmeans-bald": ("mutual_information",),
        "badge": (),
    }
    assert not any(s.needs_labels for s in found.values())


@pytest.mark.parametrize(
    ("name", "params"),
    [(name, {"offers": bad}) for name in NAMES for bad in (0, -1, 1.5, "x")]
    + [("kmeans-bald", {"prefilter": bad}) for bad in (0, 2.5, None)],
)
def test_parameters_out_of_range_are_refused(name, params):
    with pytest.raises(QueryError, match=f"{name}: {next(iter(params))}"):
        get_strategy(name, **params)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["coreset", "badge"]),
    exact_shapes,
    exact_sizes,
    strides,
    st.data(),
    st.integers(1, 3),
    st.integers(0, 10**6),
)
def test_an_image_offers_the_farthest_free_places(oracle, name, shape, size, stride, data, count, seed):
    case, request = image("a", shape, size, seed), Request(count, size, stride=stride)
    annotated = data.draw(st.lists(some_boxes(shape), min_size=name == "coreset", max_size=3))
    known = [voxel_mean(case, box) for box in annotated] if name == "coreset" else [(0.0, 0.0)]
    # Annotated boxes of any size may have means that no binary number holds.
    known = [tuple(map(float, np.float32(vector))) for vector in known]
    anchors = tuple(map(tuple, known))
    boxes = oracle.boxes(shape, size, strided(request))
    left = {b: voxel_mean(case, b) for b in boxes if not any(b.overlap(other) for other in annotated)}
    offer = case_candidates(case, name, request, annotated)
    for candidate in offer.candidates:
        gains = {box: min(math.dist(vector, c) for c in known) for box, vector in left.items()}
        best = max(gains.values())
        assert candidate.patch == min(b for b, gain in gains.items() if gain >= best - 1e-12)
        assert candidate.score == pytest.approx(best, rel=1e-12)
        assert candidate.vector == left[candidate.patch]
        known.append(left[candidate.patch])
        left = {b: vector for b, vector in left.items() if not b.overlap(candidate.patch)}
    assert len(offer.candidates) == 2 * count or not left
    if name == "coreset":
        assert offer.anchors == anchors


@settings(deadline=None, max_examples=100)
@given(exact_shapes, exact_sizes, strides, st.data(), st.integers(1, 3), st.integers(0, 10**6))
def test_kmeans_bald_offers_the_places_of_highest_mutual_information(
    oracle, shape, size, stride, data, count, seed
):
    case, request = image("a", shape, size, seed), Request(count, size, stride=stride)
    annotated = data.draw(st.lists(some_boxes(shape), max_size=2))
    means = oracle.means(case.maps["mutual_information"], size, strided(request))
    offer = case_candidates(case, "kmeans-bald", request, annotated)
    expected = oracle.greedy(means, annotated, 2 * count)
    assert [(c.patch, c.score) for c in offer.candidates] == expected
    assert all(c.why.mean == c.score for c in offer.candidates)
    assert all(c.vector == voxel_mean(case, c.patch) for c in offer.candidates)


def test_without_annotated_boxes_core_set_begins_with_the_most_ordinary_place():
    values = np.array([0, 9, 4, 5], dtype=np.float32).reshape(1, 1, 1, 4)
    case = CaseMaps("a", (1, 1, 4), features=FeatureGrid(values, (1, 1, 1), (1, 1, 4)))
    offer = case_candidates(case, "coreset", Request(2, (1, 1, 1)))
    assert [(c.patch.start[2], c.score) for c in offer.candidates] == [(2, 0), (1, 5), (0, 4), (3, 1)]
    assert offer.anchors == ()


def test_badge_begins_with_the_longest_gradient_and_takes_the_annotated_boxes_for_no_centres():
    values = np.array([1, -3, -3, 2, -3], dtype=np.float32).reshape(1, 1, 1, 5)
    case = CaseMaps("a", (1, 1, 5), features=FeatureGrid(values, (1, 1, 1), (1, 1, 5)))
    offer = case_candidates(case, "badge", Request(2, (1, 1, 1)), [Patch((0, 0, 1), (1, 1, 1))])
    assert [(c.patch.start[2], c.score) for c in offer.candidates] == [(2, 3), (3, 2), (0, 1), (4, 0)]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(any_shapes, any_sizes, strides, st.data(), st.sampled_from([0, 0.2, 0.5, 0.9]), st.integers(0, 10**6))
def test_each_offer_of_an_image_keeps_to_the_allowed_overlap_with_all_before_it(
    oracle, name, shape, size, stride, data, overlap, seed
):
    case, request = image("a", shape, size, seed), Request(6, size, stride=stride, overlap=overlap)
    annotated = data.draw(st.lists(some_boxes(shape), max_size=2))
    patches = [c.patch for c in case_candidates(case, name, request, annotated).candidates]
    taken = set().union(*map(oracle.voxels, annotated))

    def fits(box) -> bool:
        return len(oracle.voxels(box) & taken) <= overlap * box.voxels + 1e-9

    for patch in patches:
        assert fits(patch)
        taken |= oracle.voxels(patch)
    assert len(set(patches)) == len(patches) <= 12
    if len(patches) < 12:  # no place is left out that could have been added
        assert not any(map(fits, set(oracle.boxes(shape, size, strided(request)))))


@pytest.mark.parametrize("name", NAMES)
def test_offers_are_few_and_their_number_can_be_chosen(name):
    case = image("a", (12, 12, 12), (2, 2, 2))
    for request, most in [(Request(3, (2, 2, 2)), 3), (Request(9, (2, 2, 2), patches_per_image=4), 4)]:
        assert len(case_candidates(case, name, request).candidates) == 2 * most
        more = get_strategy(name, offers=5)
        assert len(case_candidates(case, more, request).candidates) == 5 * most


def test_places_are_no_finer_than_the_cells_of_the_features():
    case, request = image("a", (9, 20, 24), (4, 8, 12), levels=50), Request(200, (4, 8, 12), overlap=0.9)
    starts = [c.patch.start for c in case_candidates(case, "coreset", request).candidates]
    assert {z for z, _, _ in starts} == {0, 1, 2, 3, 4, 5}
    assert {y for _, y, _ in starts} == {0, 2, 4, 6, 8, 10, 12}
    assert {x for _, _, x in starts} == {0, 3, 6, 9, 12}


@pytest.mark.parametrize("name", NAMES)
def test_a_case_without_features_is_refused(name):
    maps = {"mutual_information": np.zeros((4, 4, 4))}
    with pytest.raises(QueryError, match=r"case a: .*features"):
        case_candidates(CaseMaps("a", (4, 4, 4), maps), name, Request(1, (2, 2, 2)))


def pool_of(shapes, patch_size, seed, **more) -> list[CaseMaps]:
    return [image(f"c{i}", shape, patch_size, seed + i, **more) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(
    st.lists(any_shapes, min_size=1, max_size=4),
    any_sizes,
    st.integers(1, 12),
    st.one_of(st.none(), st.integers(1, 4)),
    st.data(),
    st.integers(0, 10**6),
)
def test_queries_are_valid_complete_and_independent_of_the_order_of_the_cases(
    assert_valid, oracle, name, shapes, size, query_size, per_image, data, seed
):
    cases = pool_of(shapes, size, seed)
    annotated = {"c0": data.draw(st.lists(some_boxes(shapes[0]), max_size=2))}
    settings_ = {"patch_size": size, "patches_per_image": per_image}
    proposal = propose(cases, name, query_size, 1, 4, annotated, seed, **settings_)
    assert_valid(proposal, {c.case: c.shape for c in cases}, annotated)
    assert max(Counter(q.case for q in proposal).values(), default=0) <= (per_image or query_size)
    assert proposal.missing == query_size - len(proposal)
    assert [(s.group, s.asked, s.found) for s in proposal.shortages] == (
        [(PLAIN, query_size, len(proposal))] if proposal.missing else []
    )
    order = data.draw(st.permutations(cases))
    assert propose(order, name, query_size, 1, 4, annotated, seed, **settings_) == proposal
    if proposal.missing and per_image is None:
        for case in cases:
            taken = [q.patch for q in proposal if q.case == case.case] + annotated.get(case.case, [])
            for box in oracle.boxes(case.shape, size, Request(1, size).cell):
                assert any(box.overlap(other) for other in taken)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_patches_that_cannot_be_told_apart_still_make_a_full_query(assert_valid, name, value):
    shape, size = (4, 9, 10), (2, 3, 3)
    cases = [
        CaseMaps(
            case,
            shape,
            {"mutual_information": np.full(shape, value, dtype=np.float32)},
            features=FeatureGrid(
                np.full((3, *cell_counts(shape, (1, 2, 2))), value, np.float32), (1, 2, 2), shape
            ),
        )
        for case in "ab"
    ]
    annotated = {"a": [Patch((1, 1, 1), (2, 3, 2))]}
    proposal = propose(cases, name, 9, 0, 4, annotated, 3, patch_size=size)
    assert_valid(proposal, dict.fromkeys("ab", shape), annotated)
    assert len(proposal) == 9
    if name == "coreset":  # equal distances go by case, then start corner
        keys = [(q.case, q.start) for q in proposal]
        assert keys == sorted(keys)
        assert {q.score for q in proposal} == {0}


@pytest.mark.parametrize("name", NAMES)
def test_candidates_stored_as_json_give_the_same_query(name):
    rng = np.random.default_rng(0)
    shape, request = (7, 8, 9), Request(7, (3, 2, 4), 1, 4, 5)
    offers = []
    for case in image("a", shape, (3, 2, 4), 1), image("b", shape, (3, 2, 4), 2):
        grid = case.features
        noise = rng.normal(size=grid.values.shape).astype(np.float32)
        case = replace(case, features=FeatureGrid(noise, grid.cell, grid.shape))
        offers.append(case_candidates(case, name, request, [Patch((0, 0, 0), (2, 5, 3))]))
    stored = [CaseCandidates.from_json(json.loads(json.dumps(offer.to_json()))) for offer in offers]
    assert stored == offers
    assert merge_candidates(stored, name, request) == merge_candidates(offers, name, request)


@pytest.mark.parametrize("name", NAMES)
def test_images_smaller_than_the_patch_give_their_whole_box(name):
    cases = pool_of([(2, 3, 1), (1, 1, 1), (5, 2, 2)], (8, 8, 8), 0)
    proposal = propose(cases, name, 5, 0, 4, {}, 0, patch_size=(8, 8, 8))
    assert {(q.case, q.size) for q in proposal} == {
        ("c0", (2, 3, 1)),
        ("c1", (1, 1, 1)),
        ("c2", (5, 2, 2)),
    }
    assert proposal.missing == 2


@pytest.mark.parametrize("name", NAMES)
def test_fully_annotated_images_offer_nothing_but_what_is_known_of_them(name):
    everything = {"c0": [Patch((0, 0, 0), (4, 4, 4))]}
    cases = pool_of([(4, 4, 4), (6, 6, 6)], (2, 2, 2), 0)
    offer = case_candidates(cases[0], name, Request(3, (2, 2, 2)), everything["c0"])
    assert offer.candidates == ()
    assert len(offer.anchors) == 1
    assert {q.case for q in propose(cases, name, 3, 0, 4, everything, 0, patch_size=(2, 2, 2))} == {"c1"}
    empty = propose(cases[:1], name, 3, 0, 4, everything, 0, patch_size=(2, 2, 2))
    assert (len(empty), empty.missing, len(empty.shortages)) == (0, 3, 1)


@pytest.mark.parametrize("name", NAMES)
def test_explanations_say_what_is_known(name):
    shape, size = (6, 6, 6), (2, 2, 2)
    case = replace(image("a", shape, size, 4, levels=9), spacing=(3.0, 1.0, 1.0))
    prediction = np.zeros(shape, dtype=np.uint8)
    prediction[3:] = 1
    case = replace(case, maps={**case.maps, "prediction": prediction})
    annotated = {"a": [Patch((0, 0, 0), size)]}
    for query in propose([case], name, 4, 0, 4, annotated, 0, patch_size=size):
        mean = float(case.maps["mutual_information"][query.patch.slices].mean(dtype=np.float64))
        assert query.why.measures["mutual_information"] == pytest.approx(mean)
        assert sum(query.why.class_shares.values()) == pytest.approx(1)
        assert query.why.nearest_mm is not None
        if name == "kmeans-bald":
            assert query.score == query.why.mean == pytest.approx(mean)
            assert 0 <= query.why.percentile <= 100
        else:
            assert query.why.mean is query.why.percentile is None


@pytest.mark.parametrize(("name", "varies"), [("coreset", False), ("badge", True)])
def test_only_badge_depends_on_the_seed_and_step(name, varies):
    cases = pool_of([(9, 9, 9), (8, 8, 8)], (2, 2, 2), 0, levels=1000)
    found = {
        tuple((q.case, q.patch) for q in propose(cases, name, 5, step, 4, {}, seed, patch_size=(2, 2, 2)))
        for step, seed in [(0, 0), (0, 1), (1, 0)]
    }
    assert len(found) == (3 if varies else 1)
