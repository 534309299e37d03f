"""Large files in both directions: skipped, resumed, checked."""

import hashlib
import random

import numpy as np
import pytest

from faulty_proxy import GOOD, Fault, random_fault
from NNActiveLogic.client.download import fetch_file
from NNActiveLogic.client.errors import (
    Cancelled,
    ClientError,
    ConnectionLost,
    ProtocolError,
    ProxyPage,
    TooLarge,
)
from NNActiveLogic.client.transport import Call, Limits
from standin import Reply, _ranged

SIZE = 1_000_000
CONTENT = np.random.default_rng(1).bytes(SIZE)
STUBBORN = Limits(1.0, 1.0, 2.0, attempts=60, first_pause=0.001, longest_pause=0.002)


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.nii.gz"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def content(standin):
    """What the server serves as a file; a test may change it."""
    served = {"body": CONTENT, "headers": {}}

    def serve(request):
        if request.path != "/v1/file":
            return None
        reply = _ranged(request, served["body"], {})
        reply.headers.update(served["headers"])
        return reply

    standin.app.before = serve
    return served


def fetch(client, target, **options):
    fetch_file(client.transport, Call("GET", "/v1/file"), target, **{"limit": 10 * SIZE, **options})
    return target.read_bytes()


def leftovers(target):
    return sorted(path.name for path in target.parent.glob(target.name + ".*"))


def test_an_upload_arrives_whole_and_tells_its_progress(standin, client, big):
    told = []
    sha256 = client.upload(big, lambda done, total: told.append((done, total)))
    assert standin.app.blobs == {sha256: CONTENT}
    assert told[0] == (0, SIZE)
    assert told[-1] == (SIZE, SIZE)
    assert told == sorted(told)


def test_an_upload_goes_on_where_it_was_stopped(standin, client, big):
    def stop(done, total):
        if done > total / 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        client.upload(big, stop)
    sent = sum(request.method == "PUT" for request in standin.app.seen)
    client.upload(big)
    pieces = sum(request.method == "PUT" for request in standin.app.seen)
    assert 0 < sent < pieces == -(-SIZE // standin.app.chunk_bytes)
    assert list(standin.app.blobs.values()) == [CONTENT]


def test_a_piece_that_was_damaged_is_sent_again(standin, client, big):
    original, damaged = standin.app.upload, []

    def damage(request):
        if request.method == "PUT" and len(damaged) < 3:
            damaged.append(1)
            request.body = b"x" + request.body[1:]

    standin.app.before = damage
    client.upload(big)
    assert original
    assert list(standin.app.blobs.values()) == [CONTENT]


class Forgetful(dict):
    """A server that keeps no replies."""

    def __setitem__(self, key, value):
        pass


def test_a_piece_that_got_through_though_its_reply_was_lost_is_not_sent_again(standin, proxy, connect, big):
    standin.app.keep_alive, standin.app.replies = False, Forgetful()
    faults = [GOOD, GOOD, Fault(swallow=True), GOOD, Fault(swallow=True)]
    proxy.plan = lambda: faults.pop(0) if faults else GOOD
    sha256 = connect(proxy.url).upload(big)
    assert standin.app.blobs == {sha256: CONTENT}


def test_a_server_that_never_takes_a_piece_is_given_up(standin, client, big):
    standin.app.before = lambda request: (
        Reply(422, {"detail": "damaged"}) if request.method == "PUT" else None
    )
    with pytest.raises(ProtocolError, match="does not take"):
        client.upload(big)


def test_an_upload_that_a_proxy_finds_too_large_says_so(standin, client, big):
    standin.app.protocol = None
    page = Reply(413, headers={"Content-Type": "text/html"}, body=b"<html>too large")
    standin.app.before = lambda _: page
    with pytest.raises(ProxyPage, match="larger limit"):
        client.upload(big)


def test_a_file_that_cannot_be_read_is_named(client, tmp_path):
    with pytest.raises(ClientError, match=r"missing\.nii"):
        client.upload(tmp_path / "missing.nii")


def test_a_file_that_shrinks_while_it_is_read_is_noticed(client, big):
    def shrink(done, _):
        if done:
            big.write_bytes(b"")

    with pytest.raises(ClientError, match="shorter"):
        client.upload(big, shrink)


@pytest.mark.parametrize("seed", range(4))
def test_files_survive_a_bad_line_in_both_directions(standin, proxy, connect, content, big, seed, tmp_path):
    rng = random.Random(seed)
    standin.app.keep_alive = False
    proxy.plan = lambda: random_fault(rng)
    client = connect(proxy.url, limits=STUBBORN)
    sha256 = client.upload(big)
    assert standin.app.blobs == {sha256: CONTENT}
    assert fetch(client, tmp_path / "copy", sha256=sha256) == content["body"]


def test_a_download_goes_on_where_the_line_broke(standin, proxy, connect, content, tmp_path):
    assert content
    faults = [Fault(reset_after=300_000), Fault(cut_after=300_000)]
    proxy.plan = lambda: faults.pop(0) if faults else GOOD
    assert fetch(connect(proxy.url), tmp_path / "copy") == CONTENT
    starts = [request.headers.get("range") for request in standin.app.seen]
    assert starts[0] is None
    assert all(start is not None for start in starts[1:])
    assert leftovers(tmp_path / "copy") == []


def test_a_download_goes_on_after_a_restart_of_the_program(standin, proxy, connect, content, tmp_path):
    assert content
    proxy.plan = lambda: Fault(cut_after=200_000)
    once = Limits(attempts=1)
    with pytest.raises(ConnectionLost):
        fetch(connect(proxy.url, limits=once), tmp_path / "copy")
    assert leftovers(tmp_path / "copy") == ["copy.part", "copy.part.etag"]
    assert not (tmp_path / "copy").exists()
    assert fetch(connect(standin.url), tmp_path / "copy") == CONTENT
    assert standin.app.seen[-1].headers["range"].startswith("bytes=1")


def test_a_file_that_changed_meanwhile_is_loaded_from_its_start(standin, proxy, connect, content, tmp_path):
    proxy.plan = lambda: Fault(cut_after=200_000)
    with pytest.raises(ConnectionLost):
        fetch(connect(proxy.url, limits=Limits(attempts=1)), tmp_path / "copy")
    content["body"] = CONTENT[::-1]
    assert fetch(connect(standin.url), tmp_path / "copy") == CONTENT[::-1]


def test_what_is_left_of_a_longer_file_does_no_harm(client, content, tmp_path):
    etag = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    (tmp_path / "copy.part").write_bytes(bytes(SIZE + 5))
    (tmp_path / "copy.part.etag").write_text(etag)
    assert fetch(client, tmp_path / "copy") == content["body"]


def test_damaged_content_is_refused_and_not_kept(client, content, tmp_path):
    content["headers"] = {"NNActive-SHA256": "0" * 64}
    with pytest.raises(ProtocolError, match="damaged"):
        fetch(client, tmp_path / "copy")
    assert leftovers(tmp_path / "copy") == []
    assert not (tmp_path / "copy").exists()


def test_content_of_another_hash_than_expected_is_refused(client, content, tmp_path):
    assert content
    with pytest.raises(ProtocolError, match="damaged"):
        fetch(client, tmp_path / "copy", sha256="0" * 64)


def test_a_file_over_the_limit_is_refused(client, content, tmp_path):
    assert content
    with pytest.raises(TooLarge):
        fetch(client, tmp_path / "copy", limit=SIZE - 1)


def test_without_an_etag_nothing_is_resumed(standin, proxy, connect, content, tmp_path):
    content["headers"] = {"ETag": 'W/"weak"'}
    faults = [Fault(cut_after=300_000)]
    proxy.plan = lambda: faults.pop(0) if faults else GOOD
    assert fetch(connect(proxy.url), tmp_path / "copy") == CONTENT
    assert [request.headers.get("range") for request in standin.app.seen] == [None, None]


def test_a_download_can_be_stopped_and_goes_on_later(client, content, tmp_path):
    def stop(done, total):
        if done > total / 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        fetch(client, tmp_path / "copy", progress=stop)
    told = []
    assert fetch(client, tmp_path / "copy", progress=lambda *now: told.append(now)) == content["body"]
    assert told[0][0] > SIZE / 2
    assert told[-1] == (SIZE, SIZE)
