from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from nnactive_server.core.errors import SegmentationError
from nnactive_server.loop import CycleFolder
from nnactive_server.loop.crossval import cross_validate
from nnactive_server.segmentation import Engine
from nnactive_server.segmentation.training.weights import load_weights, member_path


def changed(trained, project, **changes) -> Engine:
    """The same project, plan and cases under a changed profile."""
    engine = trained[0]
    return Engine(project, engine._workdir, dataclasses.replace(engine._profile, **changes))


def weights(folder, member: int) -> dict[str, torch.Tensor]:
    return load_weights(member_path(folder, member), torch.device("cpu"))


@pytest.mark.parametrize("pool_members", ["ensemble", "flips"])
def test_one_member_predicts_as_it_does_in_the_ensemble(trained, project, pool_members):
    members = trained[1]
    engine = changed(trained, project, pool_members=pool_members)
    ensemble = list(engine.predict(members, "case_4", test=True))
    assert len(ensemble) == 2
    for member in (1, 0):
        np.testing.assert_array_equal(engine.predict_member(members, "case_4", member), ensemble[member])


@pytest.mark.parametrize("member", [-1, 2])
def test_a_member_that_was_never_trained_is_an_error(trained, member):
    with pytest.raises(SegmentationError, match=f"no member {member}; 2 were trained"):
        trained[0].predict_member(trained[1], "case_4", member)


def test_members_learn_nothing_from_the_cases_they_hold_out(trained, project, tmp_path):
    """Other answers in a held-out case leave the member as it is, and change the one trained on it."""
    engine = changed(trained, project, ensemble="folds", iterations=2)
    cases = project.cases[:4]
    engine.train(tmp_path / "a", cases=cases, seed=3, cycle=0)
    out = engine.held_out(tmp_path / "a")
    assert sorted(case for found in out for case in found) == list(cases)
    other = Engine(project, tmp_path / "work", engine._profile)
    other.prepare(project.cases)
    other.update_labels(cases)
    for case in out[0]:
        label = project.read_label(case).array
        other._store.store_label(case, np.array([0, 2, 1, 3], label.dtype)[label])
    other.train(tmp_path / "b", cases=cases, seed=3, cycle=0)
    assert other.held_out(tmp_path / "b") == out
    for member, same in ((0, True), (1, False)):
        first, second = (weights(tmp_path / name, member) for name in "ab")
        assert all(torch.equal(first[name], second[name]) for name in first) is same


def test_the_real_engine_is_cross_validated_on_cases_the_fold_never_saw(trained, project, tmp_path):
    engine = changed(trained, project)
    folder = CycleFolder(tmp_path, 0)
    engine.train(folder.members, cases=project.cases[:4], seed=3, cycle=0)
    found = cross_validate(folder, project, engine)
    splits = json.loads((folder.members / "training.json").read_text())["splits"]
    assert engine.held_out(folder.members) == tuple(tuple(split["held_out"]) for split in splits)
    for split, fold in zip(splits, found["folds"], strict=True):
        assert fold["cases"] == len(split["held_out"]) == 2
        assert not set(split["held_out"]) & set(split["train"])
    assert found["independent"] is False  # the profile is a chain
    assert set(found["dice_per_class"]) == {"large", "small"}
    assert 0 <= found["mean_dice"] <= 1
    assert cross_validate(folder, project, engine) == found


@pytest.mark.parametrize(
    ("profile", "warm", "independent"),
    [
        ({"ensemble": "folds"}, False, True),
        ({"ensemble": "folds"}, True, False),
        ({"ensemble": "chain"}, False, False),
        ({"ensemble": "chain", "members": 1}, False, True),
        ({"ensemble": "chain", "members": 1}, True, False),
    ],
)
def test_members_are_independent_when_each_began_from_random_weights(
    trained, project, tmp_path, profile, warm, independent
):
    engine = changed(trained, project, iterations=1, **profile)
    start = trained[1] if warm else None
    engine.train(tmp_path, cases=project.cases[:4], seed=3, cycle=1, warm_start=start)
    assert engine.independent(tmp_path) is independent


def test_a_single_member_holds_nothing_out(with_dropout):
    engine, members = with_dropout
    assert engine.held_out(members) == ((),)
    assert engine.predict_member(members, "case_4", 0).shape[0] == 3


@pytest.mark.parametrize("content", [None, "{", "[]", '{"splits": [{}]}', '{"splits": []}'])
def test_a_missing_or_damaged_training_file_is_named(tmp_path, trained, content):
    if content is not None:
        (tmp_path / "training.json").write_text(content)
    for ask in (trained[0].held_out, trained[0].independent):
        with pytest.raises(SegmentationError, match=r"training\.json"):
            ask(tmp_path)
