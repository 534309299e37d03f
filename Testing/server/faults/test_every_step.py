"""The web process is killed at each step of a request: nothing by half, and asking again completes it."""

import base64
import hashlib
import itertools
import signal
import uuid
import zlib
from pathlib import Path

import numpy as np
import pytest
import requests

from nnactive_server.store import Store
from testkit.faults import image_file, piece_headers
from testkit.small_case import BOX, make_image

PROGRAM = (str(Path(__file__).with_name("dying_server.py")),)


@pytest.fixture
def server(serve):
    return serve(program=PROGRAM)


@pytest.fixture
def place(server, client, begin, tmp_path):
    """A project with a case of an image in which `BOX` fits."""
    path = tmp_path / "image.nrrd"
    make_image(path)
    project, cases = begin(client(server), [path])
    return project, cases[0]


def survive(server, ask, check, least):
    """Kill the server at the first, second, … step of a request, until there is no such step.

    Args:
        server: that can die.
        ask: sends request number n, with an idempotency key of its own; the same each time.
        check: is told n, a reply that came after the server had died, and how that began anew.
        least: so many steps there are at least, or the test tests nothing.
    """
    arm = server.data / "die-at"
    for number in itertools.count(1):
        arm.write_text(f"{uuid.uuid4()} {number}")
        try:
            reply = ask(number)
        except requests.ConnectionError:
            assert server.process.wait(30) == -signal.SIGKILL
            arm.unlink()
            with Store(server.data) as store:
                assert store.check() == []
            server.start()
            check(number, ask(number))
            with Store(server.data) as store:
                assert store.check() == []
        else:
            arm.unlink()
            check(number, reply)
            break
    assert number > least


def keyed(number):
    return {"Idempotency-Key": f"key {number}"}


def test_a_project(server):
    def ask(number):
        body = {"name": f"name {number}", "labels": [{"name": "organ"}], "channels": ["CT"]}
        return server.call("POST", "/v1/projects", json=body, headers=keyed(number))

    def check(number, reply):
        assert reply.status_code == 201
        names = [one["name"] for one in server.call("GET", "/v1/projects").json()]
        assert names == [f"name {n}" for n in range(1, number + 1)]

    survive(server, ask, check, 2)


def test_a_patch(server, place):
    project, case = place

    def ask(number):
        box = {"start": [number, 0, 0], "size": [2, 2, 2]}
        body = {"case": case.id, "box": box}
        return server.call("POST", f"/v1/projects/{project.id}/patches", json=body, headers=keyed(number))

    def check(number, reply):
        assert reply.status_code == 201
        known = server.call("GET", f"/v1/projects/{project.id}/patches").json()
        assert [(one["rank"], one["box"]["start"][0]) for one in known] == [
            (n, n) for n in range(1, number + 1)
        ]
        assert known[-1]["id"] == reply.json()["id"]

    survive(server, ask, check, 2)


def as_sent(values):
    packed = base64.b64encode(zlib.compress(values.tobytes())).decode()
    return {"encoding": "zlib", "dtype": "uint8", "shape": list(values.shape), "data": packed}


def test_an_answer(server, client, place):
    project, case = place
    patch = client(server).place_patch(project.id, case.id, BOX)

    def labels(number):
        """Other bytes each time, so that its file is not there yet."""
        values = np.random.default_rng(number).integers(0, 3, BOX.size).astype(np.uint8)
        return values, (values == 1).astype(np.uint8)

    def ask(number):
        values, unsure = labels(number)
        body = {"kind": "labelled", "label": as_sent(values), "unsure": as_sent(unsure), "seconds": number}
        headers = {**keyed(number), "If-Match": f'"{number - 1}"'}
        return server.call("PUT", f"/v1/patches/{patch.id}/annotation", json=body, headers=headers)

    def check(number, reply):
        assert (reply.status_code, reply.json()["revision"]) == (200, number)
        history = client(server).history(patch.id)
        assert [one.revision for one in history] == list(range(1, number + 1))
        assert [one.seconds for one in history] == list(range(1, number + 1))
        newest = client(server).answer(patch.id)
        np.testing.assert_array_equal(newest.labels(BOX.size), labels(number)[0])
        np.testing.assert_array_equal(newest.unsure_mask(BOX.size), labels(number)[1])

    survive(server, ask, check, 6)


@pytest.mark.slow
def test_the_last_piece_of_a_file(server):
    """The upload itself is not asked for again: the piece is sent until the server has the whole file."""

    def content(number):
        return np.random.default_rng(number).bytes(30_000)

    def ask(number):
        whole = content(number)
        wanted = {"sha256": hashlib.sha256(whole).hexdigest(), "size": len(whole)}
        reply = server.call("POST", "/v1/uploads", json=wanted)
        path, known = f"/v1/uploads/{reply.json().get('id')}", reply.json()
        while not known["done"]:
            first, end = known["received"], min(known["received"] + 20_000, len(whole))
            headers = piece_headers(whole, first, end)
            reply = server.call("PUT", path, data=whole[first:end], headers=headers)
            known = reply.json()
        return reply

    def check(number, _reply):
        sha256 = hashlib.sha256(content(number)).hexdigest()
        assert server.call("HEAD", f"/v1/blobs/{sha256}").status_code == 200
        with Store(server.data) as store:
            assert store.blobs.read(sha256) == content(number)

    survive(server, ask, check, 4)
    with Store(server.data) as store:
        store.sweep(0)
        assert list(store.blobs.temporary.iterdir()) == []


@pytest.mark.slow
def test_a_case(server, client, place, tmp_path):
    project, first = place
    files = [image_file(tmp_path / f"{number}.nrrd", number) for number in range(20)]
    hashes = [client(server).upload(file) for file in files]

    def ask(number):
        path, body = f"/v1/projects/{project.id}/cases", {"channels": [hashes[number]]}
        return server.call("POST", path, json=body, headers=keyed(number), timeout=60)

    def check(number, reply):
        assert reply.status_code == 201, reply.text
        cases = client(server).cases(project.id)
        assert len(cases) == number + 1
        assert {one.id for one in cases} >= {first.id, reply.json()["id"]}
        with Store(server.data) as store:
            # What was sent may hold names; only what was made of it stays.
            sent = [sha256 for sha256 in hashes[: number + 1] if store.blobs.exists(sha256)]
        assert sent == [hashes[0]]

    survive(server, ask, check, 3)
