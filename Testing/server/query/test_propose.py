from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nnactive_server.core.errors import QueryError
from nnactive_server.core.features import FeatureGrid, cell_counts
from nnactive_server.core.patch import Patch
from nnactive_server.query import (
    Candidate,
    CaseCandidates,
    CaseMaps,
    Explanation,
    Proposal,
    Query,
    Request,
    Shortage,
    case_candidates,
    get_strategy,
    merge_candidates,
    propose,
    strategy_names,
)

SHAPE = (6, 7, 8)


def pool_of(make_maps, count=3):
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 3, SHAPE) for _ in range(count)]
    cells = cell_counts(SHAPE, (1, 1, 1))
    return [
        replace(
            CaseMaps.from_maps(f"c{i}", make_maps(SHAPE, seed=i), labels[i]),
            features=FeatureGrid(rng.normal(size=(3, *cells)).astype(np.float32), (1, 1, 1), SHAPE),
        )
        for i in range(count)
    ]


def test_importing_the_query_engine_imports_neither_torch_nor_nnunet():
    code = (
        "import sys, nnactive_server.query\n"
        "print([m for m in sys.modules if m in ('torch', 'nnunetv2', 'SimpleITK')\n"
        "       or m.startswith('nnactive_server.') and m.split('.')[1] not in ('core', 'query')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_names_hold_all_strategies_of_the_papers():
    assert strategy_names()[0] == "clasp-pe"
    assert set(strategy_names()) >= {
        "predictive-entropy", "bald", "clasp-pe", "random", "random-fg-33", "random-fg-66"
    }  # fmt: skip
    assert [get_strategy(name).name for name in strategy_names()] == list(strategy_names())


@pytest.mark.parametrize("name", strategy_names())
def test_the_order_of_the_cases_changes_nothing(name, make_maps, assert_valid):
    pool = pool_of(make_maps)
    annotated = {"c1": [Patch((0, 0, 0), (3, 3, 3))]}
    expected = propose(pool, name, 9, 1, 4, annotated, 5, patch_size=(2, 3, 2))
    assert_valid(expected, dict.fromkeys(("c0", "c1", "c2"), SHAPE), annotated)
    assert len(expected) == 9
    for order in ([2, 1, 0], [1, 2, 0]):
        again = propose((pool[i] for i in order), name, 9, 1, 4, annotated, 5, patch_size=(2, 3, 2))
        assert again == expected


@pytest.mark.parametrize("name", strategy_names())
def test_candidates_survive_json_and_pickle_exactly(name, make_maps):
    request = Request(6, (2, 3, 2), 1, 4, 5)
    offers = [case_candidates(case, name, request) for case in pool_of(make_maps)]
    texts = [json.dumps(offer.to_json(), allow_nan=False) for offer in offers]
    read = [CaseCandidates.from_json(json.loads(text)) for text in texts]
    assert read == offers
    assert pickle.loads(pickle.dumps(offers)) == offers
    assert merge_candidates(read, name, request) == merge_candidates(offers, name, request)
    assert all(len(offer.candidates) <= 2 * request.query_size for offer in offers)


@pytest.mark.parametrize("name", strategy_names())
def test_a_pool_with_too_few_places_gives_what_it_has_and_says_so(name, make_maps, assert_valid):
    pool = pool_of(make_maps)
    proposal = propose(pool, name, 50, 1, 4, {}, 5, patch_size=(6, 7, 4))
    assert_valid(proposal, dict.fromkeys(("c0", "c1", "c2"), SHAPE), {})
    assert 3 <= len(proposal) <= 6
    assert proposal.missing == 50 - len(proposal)
    assert proposal.shortages


@pytest.mark.parametrize("name", strategy_names())
def test_fully_annotated_images_are_left_out(name, make_maps):
    pool = pool_of(make_maps)
    everything = [Patch((0, 0, 0), SHAPE)]
    some = propose(pool, name, 4, 1, 4, {"c0": everything, "c2": everything}, 5, patch_size=(2, 2, 2))
    assert {q.case for q in some} == {"c1"}
    assert len(some) == 4
    annotated = dict.fromkeys(("c0", "c1", "c2"), everything)
    none = propose(pool, name, 4, 1, 4, annotated, 5, patch_size=(2, 2, 2))
    assert none == []
    assert none.missing == sum(s.asked - s.found for s in none.shortages) == 4


@pytest.mark.parametrize("name", strategy_names())
def test_patches_are_clipped_to_small_images(name, make_maps):
    proposal = propose(pool_of(make_maps), name, 3, 0, 4, {}, 5, patch_size=(4, 50, 50))
    assert len(proposal) == 3
    assert {q.size for q in proposal} == {(4, 7, 8)}


@pytest.mark.parametrize("name", ["predictive-entropy", "bald", "clasp-pe"])
def test_a_stride_thins_the_candidates_but_reaches_the_end(name, make_maps):
    proposal = propose(pool_of(make_maps), name, 50, 0, 4, {}, 5, patch_size=(2, 2, 2), stride=(4, 3, 5))
    assert {q.start[0] for q in proposal} == {0, 4}
    assert {q.start[1] for q in proposal} == {0, 3, 5}
    assert {q.start[2] for q in proposal} == {0, 5} | ({6} & {q.start[2] for q in proposal})


def test_a_mapping_may_hold_plain_maps_or_case_maps(make_maps):
    maps = make_maps(SHAPE)
    plain = propose({"a": maps}, "bald", 2, 0, 4, {}, 5, patch_size=(2, 2, 2))
    assert plain == propose(
        {"a": CaseMaps.from_maps("a", maps)}, "bald", 2, 0, 4, {}, 5, patch_size=(2, 2, 2)
    )
    assert isinstance(plain, Proposal)
    assert isinstance(plain[0], Query)
    assert plain[0].start == plain[0].patch.start
    assert plain[0].size == (2, 2, 2)


def test_only_one_case_is_held_at_a_time(make_maps):
    import weakref

    alive = []

    def stream():
        for i in range(3):
            case = CaseMaps.from_maps(f"c{i}", make_maps((4, 4, 4), seed=i))
            alive.append(weakref.ref(case.maps["predictive_entropy"]))
            yield case
            del case
            assert sum(ref() is not None for ref in alive) <= 1

    assert len(propose(stream(), "clasp-pe", 3, 0, 4, {}, 1, patch_size=(2, 2, 2))) == 3


def test_an_unknown_strategy_is_refused_with_the_known_names():
    with pytest.raises(QueryError, match=r"'entropy' is unknown.*clasp-pe.*random-fg-66"):
        get_strategy("entropy")
    with pytest.raises(QueryError, match=r"bald has no parameters \['gamma'\]"):
        get_strategy("bald", gamma=1)
    with pytest.raises(QueryError, match=r"power-pe: beta \[1\] needs a number"):
        get_strategy("power-pe", beta=[1])
    with pytest.raises(QueryError, match="clasp-pe: alpha 'x' needs a number"):
        get_strategy("clasp-pe", alpha="x")
    with pytest.raises(QueryError, match="clasp-pe: alpha True needs a number"):
        get_strategy("clasp-pe", alpha=True)
    with pytest.raises(QueryError, match=r"badge: offers 1\.5 needs a whole number"):
        get_strategy("badge", offers=1.5)
    with pytest.raises(QueryError, match=r"bald has no parameters \['name'\]"):
        get_strategy("bald", **{"name": "x"})
    with pytest.raises(QueryError, match=r"random has no parameters \['measures'\]"):
        get_strategy("random", measures=())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"query_size": 0}, "query_size 0"),
        ({"query_size": -3}, "query_size -3"),
        ({"query_size": 2.5}, r"query_size 2\.5"),
        ({"step": -1}, "step -1"),
        ({"total_steps": 0}, "total_steps 0"),
        ({"patches_per_image": 0}, "patches_per_image 0"),
        ({"patch_size": (2, 2)}, r"patch size \(2, 2\)"),
        ({"patch_size": (2, 0, 2)}, r"patch size \(2, 0, 2\)"),
        ({"stride": 0}, "stride"),
    ],
)
def test_values_out_of_range_are_refused_by_name(params, message):
    with pytest.raises(QueryError, match=message):
        Request(**({"query_size": 3, "patch_size": (2, 2, 2)} | params))


@pytest.mark.parametrize("box", [Patch((0, 0, 7), (1, 1, 2)), Patch((6, 0, 0), (1, 1, 1))])
def test_annotated_boxes_outside_the_image_are_refused(box, make_maps):
    with pytest.raises(QueryError, match=r"case c0: annotated box at .*\(6, 7, 8\)"):
        propose(pool_of(make_maps), "bald", 3, 0, 4, {"c0": [box]}, 1, patch_size=(2, 2, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.5])
@pytest.mark.parametrize(("name", "measure"), [("bald", "mutual_information"), ("clasp-pe", "class_signal")])
def test_maps_with_impossible_values_are_refused(name, measure, bad, make_maps):
    maps = make_maps(SHAPE)
    maps[measure] = maps[measure].copy()
    maps[measure][..., 2, 3] = bad
    with pytest.raises(QueryError, match=f"case a: map {measure}"):
        propose({"a": maps}, name, 3, 0, 4, {}, 1, patch_size=(2, 2, 2))


def test_maps_and_labels_must_fit_the_image():
    flat = np.zeros((4, 4, 4))
    with pytest.raises(QueryError, match=r"case a: map m has shape \(4, 4, 4\)"):
        CaseMaps("a", (4, 4, 5), {"m": flat})
    with pytest.raises(QueryError, match=r"case a: map class_signal"):
        CaseMaps("a", (4, 4, 4), {"class_signal": flat})
    with pytest.raises(QueryError, match=r"case a: labels of shape \(4, 4, 4\) and type float64"):
        CaseMaps("a", (4, 4, 4), {}, flat)
    with pytest.raises(QueryError, match="case a: image shape"):
        CaseMaps("a", (4, 4))
    with pytest.raises(QueryError, match="case a: neither"):
        CaseMaps.from_maps("a", {})
    with pytest.raises(QueryError, match="id"):
        CaseMaps("", (4, 4, 4))


def test_the_pool_stage_refuses_mixed_up_candidates():
    request = Request(2, (2, 2, 2), 1, 4, 1)
    offer = case_candidates(CaseMaps("a", (4, 4, 4)), "random", request)
    with pytest.raises(QueryError, match="pool is empty"):
        merge_candidates([], "random", request)
    with pytest.raises(QueryError, match="case a is in the pool twice"):
        merge_candidates([offer, offer], "random", request)
    with pytest.raises(QueryError, match="case a: candidates are of random at step 1, not of bald"):
        merge_candidates([offer], "bald", request)
    with pytest.raises(QueryError, match="at step 1, not of random at step 2"):
        merge_candidates([offer], "random", Request(2, (2, 2, 2), 2, 4, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"case": None, "candidates": 3},
        {"candidates": [{"start": [0, 0, 0]}]},
        {
            "candidates": [
                {"start": [0, 0], "size": [1, 1, 1], "score": 1, "group": "plain", "why": {}, "spare": 0}
            ]
        },
        {
            "candidates": [
                {"start": [0, 0, 0], "size": [1, 1, 1], "score": "x", "group": "p", "why": {}, "spare": 0}
            ]
        },
        {"step": None},
    ],
)
def test_a_damaged_candidates_document_is_refused(change):
    document = CaseCandidates("a", "random", 0, ("plain",), ()).to_json() | change
    with pytest.raises(QueryError, match="candidates document"):
        CaseCandidates.from_json(document)


def test_scores_that_are_not_finite_cannot_be_candidates():
    entry = {
        "start": [0, 0, 1],
        "size": [1, 1, 1],
        "score": float("nan"),
        "group": "p",
        "why": Explanation().to_json(),
        "spare": False,
        "vector": [],
    }
    document = CaseCandidates("a", "random", 0, ("plain",), ()).to_json() | {"candidates": [entry]}
    with pytest.raises(QueryError, match="score nan is not finite"):
        CaseCandidates.from_json(document)


def test_a_shortage_reads_as_a_sentence():
    assert str(Shortage("class-2", 4, 1)) == "class-2: only 1 of 4 patches found a free place"


def test_a_candidate_of_an_unknown_group_is_refused_when_cases_are_merged():
    request = Request(1, (1, 1, 1))
    stray = Candidate(Patch((0, 0, 0), (1, 1, 1)), 1.0, "odd")
    offer = CaseCandidates("a", "bald", 0, ("plain",), (stray,))
    with pytest.raises(QueryError, match="case a: no group is called 'odd'"):
        merge_candidates([offer], "bald", request)
