"""Patches and leases."""

import time

import pytest

from nnactive_server.store import Store
from NNActiveLogic.client.errors import Conflict, Leased, NotFoundOnServer, Refused
from NNActiveLogic.client.values import Box


def test_a_placed_patch_says_who_placed_it(live, ben, project, case):
    made = ben.place_patch(project.id, case.id, Box((0, 0, 0), (4, 4, 4)), "lesion")
    shown = live.call("GET", f"/v1/patches/{made.id}").json()
    assert (shown["origin"], shown["placed_by"], shown["group"]) == ("placed", "ben", "lesion")
    assert shown["sentence"] == "Placed by ben."
    assert shown["cycle"] == 0
    assert ben.patches(project.id, state="open") == (made,)


@pytest.mark.parametrize("box", [Box((9, 0, 0), (4, 4, 4)), Box((0, 0, 0), (13, 1, 1))])
def test_a_box_outside_its_image_is_refused(ben, project, case, box):
    with pytest.raises(Refused, match="outside"):
        ben.place_patch(project.id, case.id, box)


def test_a_patch_of_an_unknown_case_is_refused(ben, project):
    with pytest.raises(NotFoundOnServer):
        ben.place_patch(project.id, "0" * 26, Box((0, 0, 0), (1, 1, 1)))


@pytest.mark.usefixtures("case")
def test_random_start_patches_that_find_no_room_are_counted(live, project):
    found = live.call("POST", f"/v1/projects/{project.id}/start-patches", json={"count": 4}).json()
    # A patch of 32 voxels fills the small image.
    assert (len(found["patches"]), found["missing"]) == (1, 3)
    assert found["patches"][0]["box"] == {"start": [0, 0, 0], "size": [12, 20, 24]}


@pytest.mark.usefixtures("patch")
def test_random_start_patches_are_of_the_projects_size_and_free_of_overlap(live, ann, project):
    ann.change_project(project.id, patch_size=[4, 5, 6])
    found = live.call("POST", f"/v1/projects/{project.id}/start-patches", json={"count": 6}).json()
    boxes = [one["box"] for one in found["patches"]] + [{"start": [2, 3, 4], "size": [4, 5, 6]}]
    assert len(boxes) == 7
    for i, a in enumerate(boxes):
        assert a["size"] == [4, 5, 6]
        for b in boxes[i + 1 :]:
            shared = [
                min(x + p, y + q) - max(x, y)
                for x, p, y, q in zip(a["start"], a["size"], b["start"], b["size"], strict=True)
            ]
            assert min(shared) <= 0
    again = live.call("POST", f"/v1/projects/{project.id}/start-patches", json={"count": 3})
    assert again.status_code == 409


def test_two_people_never_get_the_same_patch(ann, ben, project, case):
    for z in range(3):
        ann.place_patch(project.id, case.id, Box((4 * z, 0, 0), (4, 4, 4)))
    first, second = ann.next_patch(project.id), ben.next_patch(project.id)
    assert first.id != second.id
    assert ann.next_patch(project.id).id == first.id  # one's own comes again
    with pytest.raises(Leased) as leased:
        ben.lease(first.id)
    assert leased.value.document["holder"] == "ann"
    ann.release(first.id)
    assert ben.lease(first.id).lease.mine


def test_patches_fetched_ahead_can_be_left_out(live, ben, project, case):
    made = [ben.place_patch(project.id, case.id, Box((4 * z, 0, 0), (4, 4, 4))).id for z in range(3)]
    reply = live.call("POST", f"/v1/projects/{project.id}/next?besides={made[0]},{made[1]}", who="ben")
    assert reply.json()["id"] == made[2]
    assert (
        live.call("POST", f"/v1/projects/{project.id}/next?besides={','.join(made)}", who="ben").status_code
        == 204
    )


def test_nothing_is_left_when_nothing_is_open(ann, project):
    assert ann.next_patch(project.id) is None


def test_a_lease_ends_by_itself_and_its_heartbeat_is_told(live, ann, ben, patch):
    ann.lease(patch.id)
    with Store(live.data, clock=lambda: time.time() - 400) as past:
        # The same lease, granted 400 seconds ago for 300.
        past.leases.release(patch.id, "ann")
        past.leases.take(patch.id, "ann", 300)
    with pytest.raises(Conflict) as ended:
        ann.heartbeat(patch.id)
    assert ended.value.code == "lease-ended"
    assert ben.lease(patch.id).lease.mine
    with pytest.raises(Leased):
        ann.heartbeat(patch.id)


def test_a_heartbeat_prolongs(ann, patch):
    first = ann.lease(patch.id).lease.expires
    assert ann.heartbeat(patch.id).lease.expires >= first


def test_a_patch_carries_its_revision_as_etag(live, patch):
    assert live.call("GET", f"/v1/patches/{patch.id}").headers["ETag"] == '"0"'


def test_lists_can_be_read_in_pages(live, ann, project, case):
    made = [ann.place_patch(project.id, case.id, Box((z, 0, 0), (1, 4, 4))).id for z in range(5)]
    page = live.call("GET", f"/v1/projects/{project.id}/patches?limit=2&offset=2").json()
    assert [one["id"] for one in page] == made[2:4]
    batch = ann.queries(project.id)
    assert [one.id for one in batch.patches] == made
    assert batch.model is None
