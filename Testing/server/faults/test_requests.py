"""Requests that are repeated, break off, dawdle, or come by the hundred."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnactive_server.store import Store
from NNActiveLogic.client.errors import ServerProblem
from NNActiveLogic.client.values import Box
from testkit.faults import dial, image_file, request_head, wait_until

ODD = (str(Path(__file__).with_name("odd_server.py")),)
SHAPE = (40, 512, 512)
"""Voxels of a large image: 20 MiB, much more than what fits into the buffers of a connection."""
HALF_OPEN = 200


@pytest.fixture
def shelf(tmp_path):
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder


@pytest.fixture
def server(serve, shelf):
    return serve("--import-root", str(shelf))


@pytest.fixture
def large(server, client, begin, shelf):
    """A client and a case with a large image."""
    image = sitk.GetImageFromArray(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE))
    sitk.WriteImage(image, str(shelf / "large.nrrd"), useCompression=False)
    ann = client(server)
    project, _ = begin(ann)
    return ann, ann.add_case_on_server(project.id, "large.nrrd")


def test_a_request_that_is_repeated_has_the_same_reply_and_one_effect(server, client, begin, tmp_path):
    project, (case,) = begin(client(server), [image_file(tmp_path / "image.nrrd", 0)])
    path = f"/v1/projects/{project.id}/patches"
    body = {"case": case.id, "box": {"start": [0, 0, 0], "size": [2, 2, 2]}}
    together = threading.Barrier(8)

    def ask(_):
        together.wait()
        return server.call("POST", path, json=body, headers={"Idempotency-Key": "one"})

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, range(8)))
    assert {one.status_code for one in replies} == {201}
    assert len({one.content for one in replies}) == 1
    server.kill()
    server.start()
    again = server.call("POST", path, json=body, headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.content) == (201, replies[0].content)
    other = server.call("POST", path, json={**body, "group": "x"}, headers={"Idempotency-Key": "one"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency-conflict")
    # Another person's key of the same name is another key.
    theirs = server.call("POST", path, "ben", json=body, headers={"Idempotency-Key": "one"})
    assert theirs.status_code == 201
    assert len(client(server).patches(project.id)) == 2


def _begun(server, head: bytes) -> bool:
    """Whether a reply began; 429 while the server has not yet noticed that those before are gone."""
    with dial(server) as line:
        line.sendall(head)
        first = line.recv(100)
    assert first.startswith((b"HTTP/1.1 200", b"HTTP/1.1 429")), first
    return first.startswith(b"HTTP/1.1 200")


def test_clients_that_leave_in_the_middle_of_a_reply_take_nothing_with_them(server, large):
    ann, case = large
    head = request_head(server, "GET", f"/v1/cases/{case.id}/image")
    for _ in range(30):  # more than may be on their way at a time
        wait_until(lambda: _begun(server, head))
        wait_until(lambda: server.call("HEAD", f"/v1/cases/{case.id}/image").status_code in (200, 405))
    whole = wait_until(lambda: fetched(ann, case))
    np.testing.assert_array_equal(whole.values.ravel()[:100], np.arange(100))
    assert "Traceback" not in server.log(), server.log()


def fetched(client, case):
    try:
        return client.image(case.id)
    except ServerProblem as problem:
        assert problem.status == 429  # somebody who left is not noticed yet
        return None


def test_others_are_served_while_slow_clients_read_byte_by_byte(server, large, client, begin, tmp_path):
    _, case = large
    with ExitStack() as slow:
        lines = [slow.enter_context(dial(server)) for _ in range(8)]
        for line in lines:
            line.sendall(request_head(server, "GET", f"/v1/cases/{case.id}/image"))
        for _ in range(5):
            for line in lines:
                assert len(line.recv(1)) == 1
            reply = server.call("GET", "/v1/projects", "ben", timeout=10)
            assert reply.status_code == 200
        rev = client(server, "rev")
        assert rev.image(case.id).values.shape == SHAPE
        project, (small,) = begin(client(server), [image_file(tmp_path / "image.nrrd", 0)])
        rev.place_patch(project.id, small.id, Box((0, 0, 0), (2, 2, 2)))
    with Store(server.data) as store:
        assert store.check() == []


def test_a_body_that_dawdles_is_given_up(serve):
    server = serve(program=ODD)
    head = request_head(server, "POST", "/v1/projects", Content_Type="application/json", Content_Length=500)
    with dial(server) as line:
        line.sendall(head + b'{"name": "')
        reply = line.recv(10_000)
        assert reply.startswith(b"HTTP/1.1 408")
        assert json.loads(reply.partition(b"\r\n\r\n")[2] or line.recv(10_000))["code"] == "too-slow"
        while line.recv(10_000):
            pass  # the server closes the line
    assert server.call("GET", "/v1/projects").json() == []
    assert "Traceback" not in server.log(), server.log()


def test_many_half_open_connections_do_not_keep_others_out(server, client, begin, tmp_path):
    ann = client(server)
    with ExitStack() as held:
        head = request_head(
            server, "POST", "/v1/projects", Content_Type="application/json", Content_Length=500
        )
        for number in range(HALF_OPEN):
            line = held.enter_context(dial(server))
            # Silent ones, heads that stop short, and bodies that do.
            line.sendall([b"", head[:50], head + b"{"][number % 3])
        project, (case,) = begin(ann, [image_file(tmp_path / "image.nrrd", 0)])
        patch = ann.place_patch(project.id, case.id, Box((0, 0, 0), (2, 2, 2)))
        assert ann.image(case.id).values.shape == (8, 10, 12)
        assert ann.patches(project.id) == (patch,)
    assert len(ann.projects()) == 1
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def test_more_new_cases_at_once_than_the_server_has_threads(server, client, begin, tmp_path):
    """Each waits for a process that reads its image; everybody else is served meanwhile."""
    ann = client(server)
    project, _ = begin(ann)
    hashes = [ann.upload(image_file(tmp_path / f"{n}.nrrd", n)) for n in range(44)]
    stop, served = threading.Event(), []

    def add(sha256):
        return server.call(
            "POST", f"/v1/projects/{project.id}/cases", json={"channels": [sha256]}, timeout=120
        )

    def others():
        while not stop.is_set():
            reply = server.call("GET", "/v1/projects", "ben", timeout=20)
            served.append(reply.status_code)

    with ThreadPoolExecutor(45) as pool:
        looking = pool.submit(others)
        replies = list(pool.map(add, hashes))
        stop.set()
        looking.result()
    assert set(served) == {200}
    assert {one.status_code for one in replies} <= {201, 429}
    made = [one for one in replies if one.status_code == 201]
    assert len(ann.cases(project.id)) == len(made) > 0
