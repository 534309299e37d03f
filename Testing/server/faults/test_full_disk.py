"""The disk of the server fills up: words, nothing by half, and all goes on when there is space."""

import os
import shutil
from contextlib import suppress

import numpy as np
import pytest

from nnactive_server.store import Store
from NNActiveLogic.client.answers import Answer, Kind, Reason
from NNActiveLogic.client.errors import ServerProblem
from NNActiveLogic.client.outbox import Outbox
from NNActiveLogic.client.values import Box, Label
from testkit.faults import image_file

MIB = 1 << 20
MEGABYTES = 300
"""A bit more than what the server keeps free for its database (256 MiB)."""
SIZE = (2, 2, 2)


class Disk:
    """A small file system that can be filled."""

    def __init__(self, folder):
        self.folder, self.filler = folder, folder / "filler"

    @property
    def data(self):
        return self.folder / "data"

    def leave(self, free):
        """Fill it until so many bytes are free."""
        with self.filler.open("ab") as file:
            end = file.seek(0, os.SEEK_END)
            os.posix_fallocate(file.fileno(), end, shutil.disk_usage(self.folder).free - free)

    def fill(self):
        """Fill it to the last byte."""
        self.leave(MIB)
        with self.filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self):
        self.filler.unlink()


@pytest.fixture
def disk(small_disk):
    return Disk(small_disk(MEGABYTES))


@pytest.fixture
def data(disk):
    """The server's folder lies on it."""
    disk.data.mkdir()
    return disk.data


@pytest.fixture
def place(serve, client, begin, tmp_path):
    """A server, a client, a project with a case."""
    server = serve()
    ann = client(server)
    project, (case,) = begin(ann, [image_file(tmp_path / "image.nrrd", 0)])
    return server, ann, project, case


def labelled(value):
    return Answer(Kind.LABELLED, np.full(SIZE, value, np.uint8))


def taken(call, *args):
    """Whether a call was acknowledged; if not, it must be refused for lack of space, in words."""
    try:
        call(*args)
    except ServerProblem as refused:
        assert (refused.status, refused.code) == (507, "no-space")
        assert "free some space" in str(refused)
        return False
    return True


def reads(ann, project, case, patch):
    """What can be read is as it was."""
    assert ann.image(case.id).values.shape == (8, 10, 12)
    assert [one.id for one in ann.cases(project.id)] == [case.id]
    assert patch.id in [one.id for one in ann.patches(project.id)]
    assert ann.health().projects
    assert ann.events(0).events


def sound(server):
    with Store(server.data) as store:
        assert store.check() == []


def test_large_things_are_refused_before_the_database_has_no_room(disk, place, tmp_path):
    """Below the reserve files are refused; what needs only the database goes on."""
    server, ann, project, case = place
    patch = ann.place_patch(project.id, case.id, Box((0, 0, 0), SIZE))
    before = sorted(path for path in (disk.data / "files").rglob("*"))
    disk.leave(100 * MIB)
    assert not taken(ann.upload, image_file(tmp_path / "new.nrrd", 1))
    assert not taken(ann.annotate, patch.id, labelled(1), 0)
    assert sorted(path for path in (disk.data / "files").rglob("*")) == before
    reads(ann, project, case, patch)
    ann.annotate(patch.id, Answer(Kind.SKIPPED, reason=Reason.BAD_IMAGE), 0)
    ann.place_patch(project.id, case.id, Box((2, 0, 0), SIZE))
    disk.free()
    ann.annotate(patch.id, labelled(1), 1)
    new = ann.add_case(project.id, [ann.upload(tmp_path / "new.nrrd")])
    assert ann.image(new.id).values.shape == (8, 10, 12)
    sound(server)
    assert "Traceback" not in server.log(), server.log()


def test_nothing_is_taken_by_half_when_the_disk_is_full_to_the_last_byte(disk, place, tmp_path):
    server, ann, project, case = place
    first, second = (ann.place_patch(project.id, case.id, Box((n, 0, 0), SIZE)) for n in (0, 2))
    box = Outbox(tmp_path / "outbox.sqlite", server.url, project.id, "ann")
    box.put(first.id, labelled(1), 0)
    disk.fill()
    placed = fill_database(ann, project, case)
    # A small change may still fit into what the database has; then it counts.
    answered = taken(ann.annotate, second.id, Answer(Kind.EMPTY), 0)
    made = taken(ann.create_project, "no room", [Label("organ")], ["CT"])
    taken(ann.next_patch, project.id)
    assert not taken(ann.annotate, first.id, labelled(1), 0)
    assert not taken(ann.upload, image_file(tmp_path / "new.nrrd", 1))
    report = box.flush(ann, now=True)
    assert (report.problem.status, box.counts().waiting, box.counts().parked) == (507, 1, 0)
    reads(ann, project, case, first)
    sound(server)
    disk.free()
    assert len(box.flush(ann, now=True).sent) == 1
    box.close()
    assert [len(ann.history(patch.id)) for patch in (first, second)] == [1, int(answered)]
    assert len(ann.patches(project.id)) == placed + 2
    assert len(ann.projects()) == 1 + made
    ann.create_project("room", [Label("organ")], ["CT"])
    new = ann.add_case(project.id, [ann.upload(tmp_path / "new.nrrd")])
    assert ann.image(new.id).values.shape == (8, 10, 12)
    sound(server)
    assert "Traceback" not in server.log(), server.log()


def fill_database(ann, project, case):
    """Place patches until the database has used up the room it had; how many were placed."""
    placed = 0
    while taken(ann.place_patch, project.id, case.id, Box((placed % 6, 0, 0), SIZE), "x" * 200):
        placed += 1
    return placed


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_server_that_ends_while_the_disk_is_full_has_lost_nothing(disk, place, client, end):
    server, ann, project, case = place
    patch = ann.place_patch(project.id, case.id, Box((0, 0, 0), SIZE))
    disk.fill()
    placed = fill_database(ann, project, case)
    getattr(server, end)()
    disk.free()
    sound(server)
    server.start()
    again = client(server)
    assert len(again.patches(project.id)) == placed + 1
    again.annotate(patch.id, labelled(1), 0)
    sound(server)
