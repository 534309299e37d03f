"""What is noted of each case for the question which ones will fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnactive_server.core.labels import LabelSet
from nnactive_server.core.voxels import open_voxels
from nnactive_server.dataset import read_loops
from nnactive_server.evaluation.triage import augrc, aurc
from nnactive_server.loop import CycleFolder
from nnactive_server.study.signs import SIGNS, case_row, compare_signs
from nnactive_server.study.simulate import Settings, simulate
from nnactive_server.study.units import UnitFolder
from testkit import numpy_engine


def experiment(source, out, **changes):
    plain = {"strategy": "predictive-entropy", "cycles": 3, "query_size": 2, "patch": (4, 5, 4), "seed": 7}
    settings = Settings(**plain | {"profile": numpy_engine.NumpyProfile(), "patches_per_image": 2} | changes)
    members = []

    def after(folder):
        UnitFolder(out.parent, out.name).drop_older_members(folder)
        members.append(sorted(path.parent.name for path in out.glob("cycle_*/members")))

    summary = simulate(source, out, settings, make_engine=numpy_engine.NumpyEngine, after_cycle=after)
    return summary, members


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return numpy_engine.make_source(tmp_path_factory.mktemp("truth"), cases=12)


@pytest.fixture(scope="session")
def ran(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    return out, *experiment(source, out)


def test_signs_by_hand():
    entropy = np.zeros((2, 2, 4), np.float32)
    entropy[0, 0, :2] = 0.5, 0.7
    entropy[1, 1, 3] = 0.1
    prediction, truth = np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 4), np.uint8)
    prediction[0], truth[0, 0] = 1, 1
    found = case_row(
        prediction,
        truth,
        LabelSet(("a", "b")),
        entropy=entropy,
        information=entropy / 2,
        agreement=0.25,
        patch=(1, 1, 2),
    )
    assert found == {
        "dice": {"a": pytest.approx(2 * 4 / (8 + 4)), "b": None},
        "pairwise_dice": 0.25,
        "mean_predictive_entropy": pytest.approx(1.3 / 16),
        "max_patch_entropy": pytest.approx(0.6),
        "threshold_entropy": pytest.approx(0.6),
        "mean_mutual_information": pytest.approx(0.65 / 16),
    }


def test_more_doubt_means_less_confidence():
    dice = [0.9, 0.5, 0.7, 0.1]
    doubts = set(SIGNS) - {"pairwise_dice"}
    rows = [{"dice": {"a": d}, "pairwise_dice": d, **dict.fromkeys(doubts, 1 - d)} for d in dice]
    found = compare_signs(rows)
    assert set(found) == doubts | {"pairwise_dice"}
    for measures in found.values():
        assert measures["spearman"] == pytest.approx(1)
        assert measures["aurc"] == pytest.approx(aurc(dice, [1 - d for d in dice]))
        assert measures["augrc"] == pytest.approx(augrc(dice, [1 - d for d in dice]))


def test_a_single_member_has_no_pairwise_dice_to_rank_by():
    rows = [{"dice": {"a": d}, "pairwise_dice": None, "max_patch_entropy": d} for d in (0.1, 0.2, 0.3)]
    assert set(compare_signs(rows)) == {"max_patch_entropy"}


def test_each_cycle_judges_the_unlabelled_cases_of_the_pool(ran):
    out, summary, _ = ran
    pool = json.loads((out / "split.json").read_text())["pool"]
    seen = set()
    for number, loop in enumerate(read_loops(out)[:2]):
        seen |= {entry.case for entry in loop}
        document = json.loads((CycleFolder(out, number).path / "triage.json").read_text())
        assert set(document["cases"]) == set(pool) - seen
        for name, measures in document["triage"].items():
            told = summary["cycles"][number]["triage"][name]
            assert {f"pool_{key}": value for key, value in measures.items()}.items() <= told.items()
    assert not (CycleFolder(out, 2).path / "triage.json").exists()


def test_every_cycle_judges_the_test_cases(ran):
    for entry in ran[1]["cycles"]:
        assert set(entry["triage"]) == set(SIGNS)
        assert all(measures["cases"] == 3 for measures in entry["triage"].values())


def test_what_is_noted_agrees_with_the_maps(ran):
    folder = CycleFolder(ran[0], 1)
    cases = json.loads((folder.path / "triage.json").read_text())["cases"]
    chosen = [case for case in cases if folder.maps(case).exists()]
    assert chosen
    for case in chosen:
        entropy = open_voxels(folder.maps(case) / "predictive_entropy.b2nd").array().astype(float)
        assert cases[case]["mean_predictive_entropy"] == pytest.approx(entropy.mean(), rel=1e-4)
        assert cases[case]["max_patch_entropy"] >= entropy.mean()


def test_a_strategy_without_a_model_predicts_nothing_more_for_it(source, tmp_path):
    summary, _ = experiment(source, tmp_path / "out", strategy="random", cycles=2)
    assert not list((tmp_path / "out").glob("cycle_*/triage.json"))
    assert not list((tmp_path / "out").glob("cycle_*/maps"))
    assert "aurc" in summary["cycles"][0]["triage"]["pairwise_dice"]


def test_members_of_at_most_two_cycles_lie_on_disk(ran):
    assert ran[2] == [["cycle_000"], ["cycle_001"], ["cycle_002"]]


def test_a_complete_experiment_can_be_asked_for_again_when_older_members_are_gone(ran, source):
    again, _ = experiment(source, ran[0])
    assert again == ran[1]
