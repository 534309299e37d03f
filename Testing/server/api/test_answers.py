"""Answers: recorded once, checked, never lost, read again."""

import base64
import uuid
import zlib

import numpy as np
import pytest

from nnactive_server.store import Store
from NNActiveLogic.client.answers import Answer, Kind, Reason
from NNActiveLogic.client.errors import Conflict, Forbidden, NotFoundOnServer, Refused
from testkit.small_case import BOX, crop


def labelled(value=1, **more):
    return Answer(Kind.LABELLED, crop(value), seconds=12.5, edits=3, **more)


def test_labels_come_back_as_they_were_sent(ann, patch):
    unsure = np.zeros(BOX.size, bool)
    unsure[0, 0, :] = True
    shown = ann.annotate(patch.id, labelled(2, unsure=unsure, comment="clear"), 0)
    assert (shown.state, shown.revision) == ("answered", 1)
    said = ann.answer(patch.id)
    np.testing.assert_array_equal(said.labels(BOX.size), crop(2))
    np.testing.assert_array_equal(said.unsure_mask(BOX.size), unsure)
    assert (said.annotator, said.seconds, said.edits, said.comment) == ("ann", 12.5, 3, "clear")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer(Kind.CONFIRMED, crop()), "confirmed"),
        (Answer(Kind.EMPTY), "empty"),
        (Answer(Kind.SKIPPED, reason=Reason.BAD_IMAGE), "skipped"),
        (Answer(Kind.REFERRED, refer_to="ben"), "referred"),
    ],
)
def test_other_answers_count_too(ann, patch, answer, state):
    assert ann.annotate(patch.id, answer, 0).state == state


def test_a_referred_patch_comes_to_the_colleague_alone(ann, ben, project, patch):
    ann.annotate(patch.id, Answer(Kind.REFERRED, refer_to="ben"), 0)
    assert ann.next_patch(project.id) is None
    assert ben.next_patch(project.id).id == patch.id


def test_who_answers_late_sees_both_sides(ann, ben, patch):
    ann.annotate(patch.id, labelled(1), 0)
    with pytest.raises(Conflict) as late:
        ben.annotate(patch.id, labelled(2), 0)
    document = late.value.document
    assert (document["code"], document["yours"]) == ("revision", 0)
    assert document["current"]["annotator"] == "ann"
    raw = zlib.decompress(base64.b64decode(document["current"]["label"]["data"]))
    assert raw == crop(1).tobytes()
    assert ben.annotate(patch.id, labelled(2), 1).revision == 2
    assert [one.annotator for one in ann.history(patch.id)] == ["ann", "ben"]


def test_a_patch_can_be_reopened_and_corrected(ann, project, patch):
    ann.annotate(patch.id, labelled(1), 0)
    assert ann.reopen(patch.id).state == "open"
    assert ann.next_patch(project.id).id == patch.id
    assert ann.annotate(patch.id, labelled(2), 2).revision == 3
    assert [one.kind for one in ann.history(patch.id)] == ["labelled", "reopened", "labelled"]
    np.testing.assert_array_equal(ann.answer(patch.id, 1).labels(BOX.size), crop(1))
    with pytest.raises(NotFoundOnServer):
        ann.answer(patch.id, 9)


def test_an_open_patch_cannot_be_reopened(ann, patch):
    with pytest.raises(Conflict):
        ann.reopen(patch.id)


def wire(raw, shape=BOX.size, **more):
    packed = base64.b64encode(zlib.compress(raw)).decode()
    return {"encoding": "zlib", "dtype": "uint8", "shape": list(shape), "data": packed, **more}


FULL = bytes(int(np.prod(BOX.size)))
BAD = {
    "another shape": wire(FULL, (1, 1, 1)),
    "too few voxels": wire(FULL[:-1]),
    "too many voxels": wire(FULL + b"\0"),
    "a bomb": wire(bytes(20_000_000)),
    "an unknown class": wire(b"\x03" + FULL[1:]),
    "the ignore id": wire(b"\xff" + FULL[1:]),
    "no zlib": {**wire(FULL), "data": base64.b64encode(b"nonsense").decode()},
    "no base64": {**wire(FULL), "data": "%%%"},
    "a torn stream": {**wire(FULL), "data": wire(FULL)["data"][:8]},
    "rubbish behind": {
        **wire(FULL), "data": base64.b64encode(zlib.compress(FULL) + b"more").decode(),
    },
    "a huge shape": wire(FULL, (65536, 65536, 65536)),
    "a negative shape": wire(FULL, (-1, 1, 1)),
    "another type": wire(FULL, dtype="float64"),
    "another encoding": wire(FULL, encoding="pickle"),
    "an unknown key": wire(FULL, extra=1),
}  # fmt: skip


@pytest.mark.parametrize("label", BAD.values(), ids=BAD)
def test_labels_that_do_not_fit_the_box_are_refused_and_nothing_is_kept(live, ann, patch, label):
    body = {"kind": "labelled", "label": label}
    reply = live.call("PUT", f"/v1/patches/{patch.id}/annotation", json=body, headers={"If-Match": '"0"'})
    assert reply.status_code == 422, reply.text
    assert ann.patch(patch.id) == patch
    assert ann.history(patch.id) == ()


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "labelled"},
        {"kind": "skipped"},
        {"kind": "skipped", "reason": "tired"},
        {"kind": "referred"},
        {"kind": "reopened"},
        {"kind": "empty", "label": wire(FULL)},
        {"kind": "empty", "seconds": -1},
        {"kind": "empty", "seconds": "NaN"},
        {"kind": "empty", "edits": -1},
        {"kind": "empty", "annotator": "somebody else"},
        {"kind": "empty", "comment": "x" * 5000},
        {},
        [],
        None,
    ],
)
def test_answers_that_make_no_sense_are_refused(live, ann, patch, body):
    reply = live.call("PUT", f"/v1/patches/{patch.id}/annotation", json=body, headers={"If-Match": '"0"'})
    assert reply.status_code == 422
    assert ann.history(patch.id) == ()


def test_an_answer_needs_to_say_what_was_seen(live, patch):
    for headers in ({}, {"If-Match": "*"}, {"If-Match": '"x"'}):
        reply = live.call(
            "PUT", f"/v1/patches/{patch.id}/annotation", json={"kind": "empty"}, headers=headers
        )
        assert reply.status_code == 422


def test_the_same_request_is_carried_out_once(live, ann, patch):
    headers = {"If-Match": '"0"', "Idempotency-Key": str(uuid.uuid4())}
    path = f"/v1/patches/{patch.id}/annotation"
    replies = [live.call("PUT", path, json={"kind": "empty"}, headers=headers) for _ in range(3)]
    assert [one.status_code for one in replies] == [200, 200, 200]
    assert len({one.content for one in replies}) == 1
    assert len(ann.history(patch.id)) == 1
    other = live.call("PUT", path, json={"kind": "empty", "edits": 1}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency-conflict")


def test_a_refused_request_can_be_sent_again_with_its_key(live, patch):
    headers = {"If-Match": '"5"', "Idempotency-Key": str(uuid.uuid4())}
    path = f"/v1/patches/{patch.id}/annotation"
    assert live.call("PUT", path, json={"kind": "empty"}, headers=headers).status_code == 409
    headers["If-Match"] = '"0"'
    assert live.call("PUT", path, json={"kind": "empty"}, headers=headers).status_code == 200


def test_an_answer_ends_its_lease(ann, ben, patch):
    ann.lease(patch.id)
    ann.annotate(patch.id, Answer(Kind.EMPTY), 0)
    assert ben.lease(patch.id).lease.mine


def test_two_readers_are_compared_where_both_are_sure(people, patch):
    ann, ben, reviewer = people["ann"], people["ben"], people["rev"]
    ann.annotate(patch.id, labelled(1), 0)
    other = crop(1)
    other[1, :, :] = 0
    ben.second_reading(patch.id, Answer(Kind.LABELLED, other))
    found = reviewer.agreement(patch.id)
    assert found.readers == ("ann", "ben")
    mine, theirs = int((crop(1) == 1).sum()), int((other == 1).sum())
    assert found.dice["organ"] == pytest.approx(2 * theirs / (mine + theirs))
    assert found.dice["lesion"] is None
    with pytest.raises(Forbidden):
        ben.agreement(patch.id)
    assert ann.patch(patch.id).revision == 1  # the model learns from the first reading


def test_voxels_of_which_a_reader_is_unsure_do_not_count(people, patch):
    people["ann"].annotate(patch.id, labelled(1), 0)
    different = crop(1)
    different[0] = 1
    unsure = np.zeros(BOX.size, bool)
    unsure[0] = True
    people["ben"].second_reading(patch.id, Answer(Kind.LABELLED, different, unsure=unsure))
    assert people["rev"].agreement(patch.id).dice["organ"] == 1.0


def test_agreement_needs_two_readers(people, patch):
    people["ann"].annotate(patch.id, labelled(1), 0)
    with pytest.raises(Conflict):
        people["rev"].agreement(patch.id)


def test_a_second_reader_does_not_see_the_first_answer_before_their_own(live, ann, ben, project, patch):
    ann.annotate(patch.id, labelled(1), 0)
    given = live.call("POST", f"/v1/projects/{project.id}/next?reading=2", who="ben").json()
    assert given["id"] == patch.id
    assert ben.history(patch.id) == ()
    with pytest.raises(NotFoundOnServer):
        ben.answer(patch.id)
    ben.second_reading(patch.id, Answer(Kind.EMPTY))
    assert len(ben.history(patch.id)) == 2


def test_nobody_reads_a_patch_twice(ann, patch):
    ann.annotate(patch.id, labelled(1), 0)
    with pytest.raises(Conflict):
        ann.second_reading(patch.id, labelled(1))


def test_counts_show_what_was_annotated(ann, project, case, patch):
    ann.annotate(patch.id, labelled(2), 0)
    found = ann.statistics(project.id)
    assert found.balance == {"organ": 0, "lesion": 1}
    assert found.cost["patches"] == 1
    assert found.cost["minutes"] == pytest.approx(12.5 / 60)
    assert ann.case(case.id).annotated_patches == 1


def test_answers_name_no_file_that_is_missing(live, ann, patch):
    ann.annotate(patch.id, labelled(1), 0)
    with Store(live.data) as store:
        assert store.check() == []


def test_viewers_cannot_answer(people, patch):
    with pytest.raises((Forbidden, Refused)):
        people["vic"].annotate(patch.id, Answer(Kind.EMPTY), 0)
