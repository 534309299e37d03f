"""What client and server promise each other. Runs against the stand-in, or a real server (see conftest)."""

import threading
import uuid

import numpy as np
import pytest

from NNActiveLogic.client.answers import Answer, Kind, Reason
from NNActiveLogic.client.errors import (
    Conflict,
    Forbidden,
    Leased,
    NotAuthorised,
    NotFoundOnServer,
    Refused,
)
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Box, Label, PatchState

PATIENT = Limits(first_pause=0.01, longest_pause=0.05)
BOX = Box((2, 3, 4), (4, 5, 6))


@pytest.fixture
def client(server, connect):
    return connect(server.url, server.token, limits=PATIENT)


@pytest.fixture
def colleague(server, connect):
    return connect(server.url, server.colleague, limits=PATIENT)


@pytest.fixture
def project(client):
    name = f"contract-{uuid.uuid4().hex[:8]}"
    return client.create_project(name, [Label("organ", "#ff0000"), Label("lesion")], ["CT"])


@pytest.fixture
def case(client, project, image):
    return client.add_case(project.id, [client.upload(image[0])], "one")


@pytest.fixture
def patch(client, project, case):
    return client.place_patch(project.id, case.id, BOX)


def labels(value=1):
    made = np.zeros(BOX.size, np.uint8)
    made[1:3, 2:, 1] = value
    return made


def test_the_server_says_how_it_is_and_who_asks(client):
    assert client.health().protocol == 1
    assert client.me().role == "admin"


def test_a_project_can_be_made_read_listed_and_changed(client, project):
    assert client.project(project.id) == project
    assert project in client.projects()
    assert [label.name for label in project.labels] == ["organ", "lesion"]
    assert client.change_project(project.id, query_size=7).query_size == 7


def test_an_uploaded_image_comes_back_voxel_by_voxel(client, case, image):
    array = client.image(case.id)
    np.testing.assert_array_equal(array.values, image[1])
    assert array.info.shape == case.shape == image[1].shape
    assert array.info.spacing == pytest.approx((3.0, 1.5, 0.5))
    assert array.info.start == (0, 0, 0)
    assert array.info.model is None
    assert array.etag


def test_a_box_of_an_image_is_that_part_of_it(client, case, image):
    array = client.image(case.id, box=BOX)
    np.testing.assert_array_equal(array.values, image[1][BOX.slices])
    assert array.info.start == BOX.start


def test_an_image_can_be_saved_as_a_file(client, case, image, tmp_path):
    info = client.save_image(case.id, tmp_path / "voxels.raw")
    voxels = np.fromfile(tmp_path / "voxels.raw", info.dtype).reshape(info.shape)
    np.testing.assert_array_equal(voxels, image[1])


def test_a_file_the_server_has_is_not_sent_again(client, image):
    sha256 = client.upload(image[0])
    assert client.has_file(sha256)
    assert client.upload(image[0]) == sha256
    assert not client.has_file("0" * 64)


def test_cases_are_listed_with_their_grid(client, project, case):
    assert [one.id for one in client.cases(project.id)] == [case.id]
    assert client.case(case.id).origin == pytest.approx((10.0, -20.0, 30.0))


def test_there_is_no_prediction_before_there_is_a_model(client, case):
    for ask in (client.prediction, lambda c: client.uncertainty(c, "predictive_entropy")):
        with pytest.raises(NotFoundOnServer) as caught:
            ask(case.id)
        assert caught.value.code == "not-predicted"


def test_a_box_outside_the_image_is_refused(client, case):
    with pytest.raises(Refused) as caught:
        client.image(case.id, box=Box((10, 0, 0), (10, 5, 5)))
    assert caught.value.status == 422


def test_a_placed_patch_is_open_and_listed(client, project, patch):
    assert (patch.state, patch.revision, patch.origin, patch.box) == (PatchState.OPEN, 0, "placed", BOX)
    assert [one.id for one in client.patches(project.id, state="open")] == [patch.id]
    assert client.patches(project.id, state="answered") == ()
    assert client.queries(project.id).missing == 0


def test_a_leased_patch_is_not_given_to_anybody_else(client, colleague, project, patch):
    mine = client.next_patch(project.id)
    assert mine.id == patch.id
    assert mine.lease.mine
    assert client.heartbeat(patch.id).lease.mine
    assert colleague.next_patch(project.id) is None
    with pytest.raises(Leased) as caught:
        colleague.lease(patch.id)
    assert caught.value.holder == client.me().name
    assert caught.value.expires == pytest.approx(colleague.patch(patch.id).lease.expires, abs=120)
    assert colleague.patch(patch.id).taken
    client.release(patch.id)
    assert colleague.next_patch(project.id).id == patch.id


def test_a_heartbeat_without_a_lease_is_a_conflict(client, patch):
    with pytest.raises(Conflict):
        client.heartbeat(patch.id)


def test_an_answer_comes_back_as_it_was_given(client, patch):
    unsure = np.zeros(BOX.size, bool)
    unsure[0] = True
    given = Answer(Kind.LABELLED, labels(), unsure, 12.5, 7, comment="ä line")
    after = client.annotate(patch.id, given, patch.revision)
    assert (after.state, after.revision) == (PatchState.ANSWERED, 1)
    found = client.answer(patch.id)
    np.testing.assert_array_equal(found.labels(BOX.size), given.labels)
    np.testing.assert_array_equal(found.unsure_mask(BOX.size), unsure)
    assert (found.seconds, found.edits, found.comment, found.revision) == (12.5, 7, "ä line", 1)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer(Kind.CONFIRMED, labels()), PatchState.CONFIRMED),
        (Answer(Kind.EMPTY), PatchState.EMPTY),
        (Answer(Kind.SKIPPED, reason=Reason.CANNOT_TELL), PatchState.SKIPPED),
        (Answer(Kind.REFERRED, refer_to="ben"), PatchState.REFERRED),
    ],
    ids=lambda value: str(getattr(value, "kind", value)),
)
def test_every_kind_of_answer_has_its_state(client, patch, answer, state):
    assert client.annotate(patch.id, answer, 0).state == state


def test_an_answer_to_an_older_revision_conflicts_and_shows_the_other_one(client, colleague, patch):
    client.annotate(patch.id, Answer(Kind.LABELLED, labels()), 0)
    with pytest.raises(Conflict) as caught:
        colleague.annotate(patch.id, Answer(Kind.EMPTY), 0)
    assert caught.value.code == "revision"
    assert caught.value.current["revision"] == 1
    assert caught.value.document["yours"] == 0
    assert len(client.history(patch.id)) == 1


def test_a_reopened_patch_can_be_corrected_and_keeps_its_history(client, patch):
    client.annotate(patch.id, Answer(Kind.LABELLED, labels()), 0)
    again = client.reopen(patch.id)
    assert again.state == PatchState.OPEN
    client.annotate(patch.id, Answer(Kind.LABELLED, labels(2)), again.revision)
    history = client.history(patch.id)
    assert history[0].kind == "labelled"
    assert len(history) >= 2
    np.testing.assert_array_equal(client.answer(patch.id, 1).labels(BOX.size), labels())
    np.testing.assert_array_equal(client.answer(patch.id).labels(BOX.size), labels(2))


def test_a_second_reading_gives_an_agreement_and_leaves_the_first(client, colleague, patch):
    client.annotate(patch.id, Answer(Kind.LABELLED, labels()), 0)
    colleague.second_reading(patch.id, Answer(Kind.LABELLED, labels()))
    assert client.agreement(patch.id).dice["organ"] == pytest.approx(1.0)
    assert client.patch(patch.id).revision == 1


def test_the_same_answer_sent_again_under_its_key_makes_one_record(client, patch):
    body, key = Answer(Kind.LABELLED, labels()).to_json(), str(uuid.uuid4())
    replies = [client.send_answer(patch.id, body, 0, key) for _ in range(3)]
    assert {one.revision for one in replies} == {1}
    assert len(client.history(patch.id)) == 1


def test_a_key_used_for_another_body_is_refused(client, patch):
    key = str(uuid.uuid4())
    client.send_answer(patch.id, Answer(Kind.EMPTY).to_json(), 0, key)
    with pytest.raises(Conflict) as caught:
        client.send_answer(patch.id, Answer(Kind.EMPTY, comment="other").to_json(), 0, key)
    assert caught.value.code == "idempotency-conflict"


def test_labels_that_do_not_fill_the_box_are_refused(client, patch):
    with pytest.raises(Refused) as caught:
        client.annotate(patch.id, Answer(Kind.LABELLED, np.zeros((1, 2, 3), np.uint8)), 0)
    assert caught.value.status == 422


def test_a_cycle_needs_something_annotated(client, project):
    with pytest.raises(Conflict) as caught:
        client.start_cycle(project.id)
    assert caught.value.code == "nothing-annotated"
    assert client.jobs(project.id) == ()


def test_events_tell_what_happened_and_a_long_poll_ends_with_the_first(client, colleague, project, patch):
    before = client.events(0).last
    threading.Timer(0.1, lambda: colleague.annotate(patch.id, Answer(Kind.EMPTY), 0)).start()
    found = client.events(before, wait=10, project=project.id)
    assert found.events
    assert all(event.seq > before for event in found.events)
    assert found.last >= found.events[-1].seq


def test_a_poll_without_news_comes_back_empty(client):
    before = client.events(0).last
    assert client.events(before, wait=0.05).events == ()


def test_statistics_can_be_read(client, project):
    found = client.statistics(project.id)
    assert found.cycles is not None
    assert found.outlook is None
    assert (found.saving.share, found.saving.hours) == (None, None)
    assert "not enough data to say" in found.saving.words


def test_a_wrong_token_is_named(server, connect):
    with pytest.raises(NotAuthorised):
        connect(server.url, "no-such-token", limits=PATIENT).me()


def test_a_viewer_may_look_but_not_answer(server, connect, patch):
    viewer = connect(server.url, server.viewer, limits=PATIENT)
    assert viewer.patch(patch.id) == patch
    with pytest.raises(Forbidden):
        viewer.annotate(patch.id, Answer(Kind.EMPTY), 0)


def test_an_unknown_id_is_not_found(client):
    with pytest.raises(NotFoundOnServer):
        client.patch("0" * 26)
