from __future__ import annotations

import json

import pytest

from nnactive_server.core.errors import SegmentationError
from nnactive_server.segmentation import Ensemble, get_profile, profile_names


def test_the_four_profiles_of_the_contract_exist_and_are_plain_values():
    assert set(profile_names()) == {"fast-cpu", "paper", "deploy", "smoke"}
    for name in profile_names():
        assert json.loads(json.dumps(get_profile(name).to_json()))["name"] == name


def test_the_paper_profile_is_the_published_schedule():
    paper = get_profile("paper")
    assert (paper.iterations, paper.members, paper.warm_start) == (200 * 250, 5, False)
    assert (paper.query_step, paper.test_step, paper.test_mirroring) == (0.75, 0.5, True)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"members": 0}, "members = 0"),
        ({"query_step": 1.5}, "query_step = 1.5"),
        ({"case_sampling": "some"}, "case_sampling = 'some'"),
        ({"speed": 3}, "no such setting: speed"),
        ({"members": "many"}, "profile smoke: .*not supported"),
        ({"dropout": 1.0, "dropout_passes": 0}, "dropout = 1.0, dropout_passes = 0"),
        ({"pool_members": "dropout"}, "needs a network with dropout; set dropout above 0"),
        ({"pool_members": "mirrors"}, "'mirrors' is not a valid PoolMembers"),
        ({"ensemble": "crowd"}, "'crowd' is not a valid Ensemble"),
    ],
)
def test_wrong_settings_are_named(overrides, told):
    with pytest.raises(SegmentationError, match=told):
        get_profile("smoke", **overrides)


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(SegmentationError, match="fast-cpu"):
        get_profile("fast")


def test_words_become_choices():
    assert get_profile("smoke", ensemble="folds", optimiser="sgd").ensemble is Ensemble.FOLDS
