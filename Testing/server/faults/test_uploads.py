"""Files on their way up: broken off, repeated, out of order, twice at once, over a restart."""

import hashlib
import itertools
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nnactive_server.store import Store
from testkit.faults import dial, image_file, piece_headers, request_head, wait_until
from testkit.live_server import LiveServer

PIECE = 300_000
_seeds = itertools.count()


@pytest.fixture
def content():
    """A file of a bit more than three pieces; nobody has sent it before."""
    return np.random.default_rng(next(_seeds)).bytes(3 * PIECE + 1234)


@pytest.fixture
def own(serve):
    """A server to be ended, or with nothing in it."""
    return serve()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for all who only send files."""
    with LiveServer(tmp_path_factory.mktemp("uploads").resolve() / "data") as live:
        yield live


def announce(server, content, who="ann"):
    wanted = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return server.call("POST", "/v1/uploads", who, json=wanted).json()


def send(server, upload, content, first, end, who="ann"):
    """A piece; status and document of the answer."""
    headers = piece_headers(content, first, end)
    reply = server.call("PUT", f"/v1/uploads/{upload}", who, data=content[first:end], headers=headers)
    return reply.status_code, reply.json()


def send_rest(server, content, who="ann"):
    """As a client does: from where the server is, until it is done."""
    known = announce(server, content, who)
    for _ in range(20):
        if known["done"]:
            break
        first = known["received"]
        end = min(first + PIECE, len(content))
        known = {**known, **send(server, known["id"], content, first, end, who)[1]}
    return known


def stored(server, content):
    """Whether the file is there as it was sent, with nothing else."""
    with Store(server.data) as store:
        sha256 = hashlib.sha256(content).hexdigest()
        return store.blobs.exists(sha256) and store.blobs.read(sha256) == content and not store.check()


@pytest.mark.parametrize("sent", [0, 1, 70_000, PIECE - 1])
def test_a_piece_that_breaks_off_leaves_the_upload_as_it_was(server, content, sent):
    known = announce(server, content)
    assert send(server, known["id"], content, 0, PIECE)[1]["received"] == PIECE
    headers = piece_headers(content, PIECE, 2 * PIECE)
    head = request_head(server, "PUT", f"/v1/uploads/{known['id']}", Content_Length=PIECE, **headers)
    with dial(server) as line:
        line.sendall(head + content[PIECE : PIECE + sent])
        line.shutdown(socket.SHUT_RDWR)
    assert announce(server, content)["received"] == PIECE
    assert send_rest(server, content)["done"]
    assert stored(server, content)
    assert "Traceback" not in server.log(), server.log()


def test_a_head_that_breaks_off_is_nothing(server, content):
    known = announce(server, content)
    head = request_head(server, "PUT", f"/v1/uploads/{known['id']}", **piece_headers(content, 0, PIECE))
    for length in range(0, len(head), 40):
        with dial(server) as line:
            line.sendall(head[:length])
    assert announce(server, content)["received"] == 0
    assert send_rest(server, content)["done"]


def test_repeated_pieces_and_pieces_out_of_order_are_refused_with_the_right_place(server, content):
    upload = announce(server, content)["id"]
    assert send(server, upload, content, PIECE, 2 * PIECE)[1]["received"] == 0
    assert send(server, upload, content, 0, PIECE)[1]["received"] == PIECE
    status, told = send(server, upload, content, 0, PIECE)
    assert (status, told["code"], told["received"]) == (409, "offset", PIECE)
    status, told = send(server, upload, content, 3 * PIECE, len(content))
    assert (status, told["received"]) == (409, PIECE)
    # Overlapping, and more than was announced.
    assert send(server, upload, content, PIECE // 2, PIECE)[0] == 409
    longer = content + b"more"
    assert send(server, upload, longer, PIECE, len(longer))[0] == 413
    assert send_rest(server, content)["done"]
    assert stored(server, content)


def test_the_last_piece_again_is_done_again(server, content):
    """Its reply may have got lost, or somebody with the same token sent it at the same time."""
    known = announce(server, content)
    for first in range(0, len(content), PIECE):
        end = min(first + PIECE, len(content))
        assert send(server, known["id"], content, first, end)[0] == 200
    status, told = send(server, known["id"], content, 3 * PIECE, len(content))
    assert (status, told["done"]) == (200, True)
    assert stored(server, content)


def test_a_damaged_piece_is_refused_and_nothing_of_it_stays(server, content):
    known = announce(server, content)
    headers = piece_headers(content, 0, PIECE)
    damaged = content[: PIECE - 1] + bytes([content[PIECE - 1] ^ 1])
    reply = server.call("PUT", f"/v1/uploads/{known['id']}", data=damaged, headers=headers)
    assert reply.status_code == 422
    assert announce(server, content)["received"] == 0


def test_a_file_that_is_not_what_was_announced_begins_anew(server, content):
    """Each piece was whole, but they came from another file."""
    other = bytes(len(content))
    known = announce(server, content)
    for first in range(0, len(content), PIECE):
        end = min(first + PIECE, len(content))
        status, _ = send(server, known["id"], other, first, end)
    assert status == 422
    assert not stored(server, content)
    assert announce(server, content)["received"] == 0
    assert send_rest(server, content)["done"]
    assert stored(server, content)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_upload_goes_on_after_the_server_began_anew(own, content, end):
    known = announce(own, content)
    send(own, known["id"], content, 0, PIECE)
    getattr(own, end)()
    own.start()
    again = announce(own, content)
    assert (again["id"], again["received"]) == (known["id"], PIECE)
    assert send(own, known["id"], content, PIECE, 2 * PIECE)[1]["received"] == 2 * PIECE
    assert send_rest(own, content)["done"]
    assert stored(own, content)


def test_two_send_the_same_file_at_once(server, content):
    """With two tokens, and twice with the same one."""
    together = threading.Barrier(4)

    def work(who):
        together.wait()
        return send_rest(server, content, who)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, ["ann", "ann", "ben", "ben"]))
    assert all(one["done"] for one in found)
    assert stored(server, content)


def test_several_clients_bring_the_same_image_at_once(own, client, begin, tmp_path):
    """Each in a project of its own: the first one to finish must not take the file from the others."""
    file = image_file(tmp_path / "image.nrrd", 7, (20, 64, 64))
    people = ["ann", "ann", "rev", "ben"]
    clients = [client(own, who) for who in people]
    projects = [begin(clients[0])[0] for _ in people]
    together = threading.Barrier(len(people))

    def work(one):
        mine, project = one
        together.wait()
        return mine.add_case(project.id, [mine.upload(file)])

    with ThreadPoolExecutor(len(people)) as pool:
        cases = list(pool.map(work, zip(clients, projects, strict=True)))
    images = [clients[0].image(case.id).values for case in cases]
    assert all(np.array_equal(one, images[0]) for one in images)
    with Store(own.data) as store:
        assert store.check() == []
        assert not store.blobs.exists(hashlib.sha256(file.read_bytes()).hexdigest())


def test_uploads_that_nobody_finishes_are_swept(own, content, client, begin, tmp_path):
    project, cases = begin(client(own), [image_file(tmp_path / "image.nrrd", 3)])
    known = announce(own, content)
    send(own, known["id"], content, 0, PIECE)
    other = content[:-1]
    assert send_rest(own, other)["done"]  # stored, and no case is made of it
    with Store(own.data) as store:
        assert store.sweep(3600.0) == 0
        assert announce(own, content)["received"] == PIECE
        wait_until(lambda: store.sweep(0.0) >= 0 and not list(store.blobs.temporary.iterdir()))
        assert not store.blobs.exists(hashlib.sha256(other).hexdigest())
        assert store.check() == []
    assert send(own, known["id"], content, PIECE, 2 * PIECE)[0] == 404
    assert send_rest(own, content)["done"]
    assert stored(own, content)
    assert client(own).image(cases[0].id).values.shape == (8, 10, 12)
    assert [one.id for one in client(own).cases(project.id)] == [cases[0].id]
