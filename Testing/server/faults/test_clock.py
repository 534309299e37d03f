"""The clock of the server's machine is set back: leases and ids go on working."""

from pathlib import Path

import pytest

from nnactive_server.store import Store
from NNActiveLogic.client.errors import Leased
from NNActiveLogic.client.values import Box
from testkit.faults import image_file

ODD = (str(Path(__file__).with_name("odd_server.py")),)
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def place(serve, client, begin, tmp_path):
    server = serve(program=ODD)
    project, (case,) = begin(client(server), [image_file(tmp_path / "image.nrrd", 0)])
    return server, project, case


def set_clock(server, seconds):
    """Set the clock wrong by so much; a running server sees it at once."""
    server.data.with_name("clock").write_text(str(seconds))


def test_a_lease_stays_with_its_holder_and_can_be_prolonged_given_back_and_taken(place, client):
    server, project, case = place
    ann, ben = client(server), client(server, "ben")
    patch = ben.place_patch(project.id, case.id, Box((0, 0, 0), (2, 2, 2)))
    before = ben.lease(patch.id).lease.expires
    set_clock(server, -HOUR)
    with pytest.raises(Leased):
        ann.lease(patch.id)
    assert ann.next_patch(project.id) is None
    assert ben.heartbeat(patch.id).lease.expires < before
    set_clock(server, -HOUR + 301)
    assert ann.next_patch(project.id).id == patch.id  # the holder was silent for more than five minutes
    with pytest.raises(Leased):
        ben.lease(patch.id)
    ann.release(patch.id)
    assert ben.lease(patch.id).lease.mine


def test_a_lease_from_a_far_future_ends(place, client):
    """The clock was years ahead when it was taken; its holder is gone."""
    server, project, case = place
    ann, ben = client(server), client(server, "ben")
    patch = ben.place_patch(project.id, case.id, Box((0, 0, 0), (2, 2, 2)))
    set_clock(server, 1000 * DAY)
    ben.lease(patch.id)
    set_clock(server, 0)
    assert ann.next_patch(project.id).id == patch.id


def test_new_things_come_after_older_ones_also_after_a_restart(place, client, begin):
    server, project, case = place
    for back in (0, -HOUR, -400 * DAY):
        set_clock(server, back)
        server.kill()
        server.start()
        ann = client(server)
        begin(ann)
        for column in range(3):
            ann.place_patch(project.id, case.id, Box((0, column, 0), (1, 1, 1)))
        ann.transport.close()
    with Store(server.data) as store:
        patches = [one.id for one in store.patches.list(project.id)]
        assert len(patches) == 9
        assert patches == sorted(patches)
        names = [one.name for one in store.projects.list()]
        assert len(names) == 4
        # Oldest first, as they were made, and not as a wrong clock has it.
        numbers = [int(name.split()[1]) for name in names]
        assert numbers == sorted(numbers)
        first = store.jobs.enqueue(project.id, "cycle", {"cycle": 0})
        assert first.id > max(patches)


def test_a_repeated_request_is_known_although_the_clock_was_set_back(place):
    server, _, _ = place
    body = {"name": "twice", "labels": [{"name": "organ"}], "channels": ["CT"]}

    def ask():
        return server.call("POST", "/v1/projects", json=body, headers={"Idempotency-Key": "one"})

    first = ask()
    set_clock(server, -400 * DAY)
    assert ask().content == first.content
    server.kill()
    server.start()
    assert ask().content == first.content
