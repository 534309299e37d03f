"""Routes of the client that only the presenter needs, against a real server."""

import pytest

from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.errors import Conflict
from NNActiveLogic.client.values import Box, Label
from testkit.live_server import LiveServer
from testkit.small_case import make_image


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("additions") / "data") as live:
        made = [Client(live.url, live.tokens[name]) for name in ("ann", "ben")]
        yield made
        for client in made:
            client.close()


@pytest.fixture(scope="module")
def project(people, tmp_path_factory):
    ann, _ = people
    labels, size = [Label("organ"), Label("lesion")], [4, 5, 6]
    made = ann.create_project("additions", labels, ["CT"], patch_size=size, planned_cycles=4)
    path = tmp_path_factory.mktemp("images") / "image.nrrd"
    make_image(path)
    ann.add_case(made.id, [ann.upload(path)])
    return made


def test_a_project_says_how_many_cycles_are_planned_and_done(project):
    assert (project.planned_cycles, project.cycles) == (4, 0)


def test_settings_are_suggested_with_reasons(people, project):
    found = people[0].suggestion(project.id, {"organ": [(9.0, 12.0, 12.0)]}, variable=["lesion"])
    assert min(found.patch_size) >= 1
    assert set(found.reasons) >= {"patch_size", "query_size", "cycles"}


def test_next_leaves_out_what_was_fetched_ahead_and_second_readings_have_their_own_queue(people, project):
    ann, ben = people
    drawn = ann.start_patches(project.id, 2)
    assert [patch.origin for patch in drawn.patches] == ["start", "start"]
    with pytest.raises(Conflict):
        ann.start_patches(project.id, 3)
    first = ann.next_patch(project.id)
    second = ann.next_patch(project.id, besides=[first.id])
    assert {first.id, second.id} == {patch.id for patch in drawn.patches}
    assert ann.next_patch(project.id, besides=[first.id, second.id]) is None
    assert ben.next_patch(project.id, reading=2) is None
    ann.annotate(first.id, Answer(Kind.EMPTY), 0)
    assert ben.next_patch(project.id, reading=2).id == first.id


def test_a_patch_says_who_placed_it_and_to_whom_it_was_referred(people, project):
    ann, ben = people
    case = ann.cases(project.id)[0]
    placed = ben.place_patch(project.id, case.id, Box((0, 0, 0), (4, 5, 6)), "organ")
    assert placed.placed_by == ben.me().name
    after = ann.annotate(placed.id, Answer(Kind.REFERRED, refer_to="ben"), 0)
    assert after.referred_to == "ben"


def test_a_stopped_training_can_be_resumed_and_events_name_their_job(people, project):
    ann, _ = people
    job = ann.start_cycle(project.id)
    ann.cancel(job.id)
    seen = 0
    while not ann.job(job.id).finished:
        seen = ann.events(seen, wait=5, project=project.id).last
    assert ann.resume(job.id).id == job.id
    ann.cancel(job.id)
    events, seen = [], 0
    while found := ann.events(seen, project=project.id).events:
        events += found
        seen = found[-1].seq
    assert job.id in {event.subject for event in events if event.kind.startswith("job.")}
    while not ann.job(job.id).finished:
        seen = ann.events(seen, wait=5, project=project.id).last
