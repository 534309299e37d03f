"""Projects: made, read, changed, refused."""

import uuid

import pytest

from NNActiveLogic.client.errors import ClientError, Conflict, Refused
from NNActiveLogic.client.values import Label


def name():
    return f"p-{uuid.uuid4().hex[:8]}"


def test_a_project_has_the_servers_defaults_and_keeps_what_is_given(ann):
    made = ann.create_project(name(), [Label("liver", "#aa0000", {"code": "10200004"})], ["CT"], query_size=3)
    assert made.query_size == 3
    assert made.strategy == "clasp-pe"
    assert made.profile == "fast-cpu"
    assert made.labels[0].terminology == {"code": "10200004"}
    assert ann.project(made.id) == made


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "guess"},
        {"strategy": "clasp-pe", "strategy_parameters": {"colour": 1}},
        {"strategy": "power-pe", "strategy_parameters": {"beta": "hot"}},
        {"profile": "warp"},
        {"profile": "smoke", "profile_overrides": {"members": 0}},
        {"profile": "smoke", "profile_overrides": {"no_such": 1}},
        {"patch_size": [0, 1, 1]},
        {"patch_size": [8, 8]},
        {"patch_size": [1e9, 8, 8]},
        {"query_size": -1},
        {"seed": -5},
    ],
)
def test_settings_that_no_training_accepts_are_refused_at_once(ann, settings):
    with pytest.raises(Refused) as refused:
        ann.create_project(name(), [Label("a")], ["CT"], **settings)
    assert refused.value.status == 422


@pytest.mark.parametrize("labels", [[], ["a", "a"], ["ignore"], ["background"], [""]])
def test_labels_that_cannot_be_are_refused(ann, labels):
    with pytest.raises(ClientError):
        ann.create_project(name(), [Label(one) for one in labels], ["CT"])


@pytest.mark.parametrize("channels", [[], ["CT", "CT"], [""]])
def test_channels_that_cannot_be_are_refused(ann, channels):
    with pytest.raises(ClientError):
        ann.create_project(name(), [Label("a")], channels)


def test_a_name_is_used_once(ann, project):
    with pytest.raises(Conflict):
        ann.create_project(project.name.upper(), [Label("a")], ["CT"])


def test_settings_can_be_changed_before_the_first_training(ann, project):
    changed = ann.change_project(project.id, strategy="bald", profile="smoke", patch_size=[4, 5, 6])
    assert (changed.strategy, changed.profile, changed.patch_size) == ("bald", "smoke", (4, 5, 6))
    with pytest.raises(Refused):
        ann.change_project(project.id, strategy="guess")
    assert ann.project(project.id).strategy == "bald"


def test_statistics_begin_empty(live, ann, project):
    found = ann.statistics(project.id)
    assert found.cycles == ()
    assert found.balance == {"organ": 0, "lesion": 0}
    assert found.cost["patches"] == 0
    assert (found.outlook, found.saving.share) == (None, None)
    assert "started without a study" in found.saving.words
    assert "Saving" not in live.call("GET", "/").text  # the operator's page keeps quiet about it


@pytest.mark.usefixtures("case")
def test_sizes_that_somebody_measured_give_a_patch_size(live, project):
    body = {"boxes": {"organ": [[12.0, 9.0, 4.0], [15.0, 9.0, 4.0], [12.0, 12.0, 4.0]]}}
    reply = live.call("POST", f"/v1/projects/{project.id}/suggestion", json=body)
    assert reply.status_code == 200, reply.text
    found = reply.json()
    assert found["patch_size"] == [4, 6, 8]  # 12 x 9 x 4 mm in voxels of 3 x 1.5 x 0.5 mm
    assert found["reasons"]["patch_size"]


@pytest.mark.usefixtures("case")
def test_sizes_of_unknown_classes_are_refused(live, project):
    body = {"boxes": {"spleen": [[12.0, 9.0, 4.0]]}}
    assert live.call("POST", f"/v1/projects/{project.id}/suggestion", json=body).status_code == 422
