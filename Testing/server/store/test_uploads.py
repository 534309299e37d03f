from __future__ import annotations

import hashlib
import itertools
import os
import resource
import signal
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import Conflict, InvalidInput, NoSpace, NotFound, TooLarge
from nnactive_server.store import Blobs, Limits, Upload, Uploads

CONTENT = bytes(range(256)) * 40


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def files(tmp_path) -> Blobs:
    return Blobs(tmp_path / "files", Limits(blob_bytes=1 << 20, chunk_bytes=1 << 16, reserve_bytes=0))


@pytest.fixture
def uploads(files) -> Uploads:
    return Uploads(files)


def send(uploads: Uploads, upload: str, offset: int, chunk: bytes) -> Upload:
    return uploads.append(upload, offset, chunk, sha(chunk))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_a_file_in_any_pieces_arrives_whole_although_the_server_restarts_between_them(files, content, cuts):
    edges = sorted({0, len(content), *(min(c, len(content)) for c in cuts)})
    for a, b in itertools.pairwise(edges):
        uploads = Uploads(Blobs(files.root, files.limits))
        state = uploads.begin(sha(content), len(content), "anna")
        if state.complete:
            break  # an earlier example stored it
        assert state.received == a
        send(uploads, state.id, a, content[a:b])
    uploads = Uploads(files)
    upload = uploads.begin(sha(content), len(content), "anna")
    assert upload.complete
    assert uploads.finish(upload.id) == sha(content)
    assert files.read(sha(content)) == content
    assert list(files.temporary.glob("*.part")) == []


def test_a_piece_at_the_wrong_place_is_refused_with_the_right_place(uploads):
    upload = uploads.begin(sha(CONTENT), len(CONTENT), "anna").id
    send(uploads, upload, 0, CONTENT[:100])
    for wrong in (0, 99, 101, len(CONTENT)):
        with pytest.raises(Conflict, match="go on at 100") as caught:
            send(uploads, upload, wrong, CONTENT[100:200])
        assert caught.value.current == 100
    assert uploads.get(upload).received == 100


def test_a_damaged_piece_is_refused_and_can_be_sent_again(uploads):
    upload = uploads.begin(sha(CONTENT), len(CONTENT), "anna").id
    with pytest.raises(InvalidInput, match="damaged"):
        uploads.append(upload, 0, b"X" + CONTENT[1:100], sha(CONTENT[:100]))
    assert uploads.get(upload).received == 0
    assert send(uploads, upload, 0, CONTENT[:100]).received == 100


def test_more_than_was_announced_is_refused(uploads):
    upload = uploads.begin(sha(CONTENT), len(CONTENT), "anna").id
    with pytest.raises(TooLarge, match="announced"):
        send(uploads, upload, 0, CONTENT + b"!")
    assert uploads.get(upload).received == 0


def test_limits_hold_before_anything_is_written(uploads, files):
    with pytest.raises(TooLarge):
        uploads.begin(sha(b""), files.limits.blob_bytes + 1, "anna")
    with pytest.raises(InvalidInput):
        uploads.begin(sha(b""), -1, "anna")
    with pytest.raises(InvalidInput):
        uploads.begin("../../x", 10, "anna")
    assert list(files.temporary.iterdir()) == []
    upload = uploads.begin(sha(CONTENT), files.limits.blob_bytes, "anna").id
    with pytest.raises(TooLarge, match="at a time"):
        send(uploads, upload, 0, bytes(files.limits.chunk_bytes + 1))


def test_content_that_is_not_what_was_announced_is_never_stored(uploads, files):
    upload = uploads.begin(sha(CONTENT), 100, "anna").id
    send(uploads, upload, 0, bytes(100))
    with pytest.raises(InvalidInput, match="another SHA-256"):
        uploads.finish(upload)
    assert uploads.get(upload).received == 0
    assert list(files.all()) == []


def test_an_upload_with_missing_bytes_is_not_finished(uploads):
    upload = uploads.begin(sha(CONTENT), len(CONTENT), "anna").id
    send(uploads, upload, 0, CONTENT[:-1])
    with pytest.raises(Conflict, match="send the rest") as caught:
        uploads.finish(upload)
    assert caught.value.current == len(CONTENT) - 1


def test_a_stored_file_need_not_be_sent_again(uploads, files):
    files.put(CONTENT)
    upload = uploads.begin(sha(CONTENT), len(CONTENT), "anna")
    assert upload.complete
    with pytest.raises(Conflict) as caught:
        send(uploads, upload.id, 0, CONTENT[:10])
    assert caught.value.current == len(CONTENT)
    assert uploads.finish(upload.id) == sha(CONTENT)


def test_a_stored_file_of_another_size_is_told(uploads, files):
    files.put(CONTENT)
    with pytest.raises(Conflict):
        uploads.begin(sha(CONTENT), len(CONTENT) + 1, "anna")


def test_finishing_again_after_a_lost_reply_is_harmless(uploads):
    upload = uploads.begin(sha(CONTENT), len(CONTENT), "anna").id
    send(uploads, upload, 0, CONTENT)
    assert uploads.finish(upload) == sha(CONTENT)
    assert uploads.finish(upload) == sha(CONTENT)
    again = uploads.begin(sha(CONTENT), len(CONTENT), "anna").id
    assert uploads.finish(again) == sha(CONTENT)


def test_people_who_send_the_same_file_do_not_touch_each_others_upload(uploads):
    anna = uploads.begin(sha(CONTENT), len(CONTENT), "anna").id
    ben = uploads.begin(sha(CONTENT), len(CONTENT), "ben").id
    assert anna != ben
    send(uploads, anna, 0, CONTENT)
    assert uploads.get(ben).received == 0
    uploads.finish(anna)
    assert uploads.get(ben).complete
    assert uploads.finish(ben) == sha(CONTENT)


@pytest.mark.parametrize("name", ["", "..", "0" * 31, "../" * 10 + "ab", "0" * 31 + "/", "0" * 32])
def test_an_unknown_upload_is_named(uploads, name):
    for call in (uploads.get, uploads.finish, lambda n: send(uploads, n, 0, b"x")):
        with pytest.raises(NotFound):
            call(name)


def test_an_abandoned_upload_is_gone(uploads, files):
    upload = uploads.begin(sha(CONTENT), len(CONTENT), "anna").id
    send(uploads, upload, 0, CONTENT[:10])
    uploads.abandon(upload)
    with pytest.raises(NotFound):
        uploads.get(upload)
    assert list(files.temporary.iterdir()) == []


def test_an_upload_in_use_is_not_swept_and_an_old_one_is(uploads, files):
    upload = uploads.begin(sha(CONTENT), len(CONTENT), "anna").id
    for path in files.temporary.iterdir():
        os.utime(path, (0, 0))
    send(uploads, upload, 0, CONTENT[:10])
    files.sweep((), 3600)
    assert uploads.get(upload).received == 10
    for path in files.temporary.iterdir():
        os.utime(path, (0, 0))
    files.sweep((), 3600)
    with pytest.raises(NotFound):
        uploads.get(upload)


def test_clients_that_send_the_same_pieces_at_once_end_with_one_whole_file(uploads, files):
    content = os.urandom(files.limits.blob_bytes)
    upload = uploads.begin(sha(content), len(content), "anna").id
    together = threading.Barrier(6)

    def client() -> None:
        offset = 0
        together.wait()
        while offset < len(content):
            try:
                offset = send(uploads, upload, offset, content[offset : offset + 8192]).received
            except Conflict as conflict:
                offset = conflict.current

    threads = [threading.Thread(target=client) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert uploads.finish(upload) == sha(content)
    assert files.verify(sha(content))


def test_clients_that_finish_an_upload_at_once_are_all_told_it_is_stored(uploads, files):
    for i in range(10):
        content = os.urandom(200_000) + bytes([i])
        upload = uploads.begin(sha(content), len(content), "anna").id
        for offset in range(0, len(content), 50_000):
            send(uploads, upload, offset, content[offset : offset + 50_000])
        together, told = threading.Barrier(6), []

        def finish(upload=upload, together=together, told=told) -> None:
            together.wait()
            told.append(uploads.finish(upload))

        threads = [threading.Thread(target=finish) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told == [sha(content)] * 6
        assert files.verify(sha(content))


def test_a_piece_that_does_not_fit_on_the_disk_leaves_the_upload_as_it_was(uploads, files):
    content = os.urandom(60_000)
    upload = uploads.begin(sha(content), len(content), "anna").id
    send(uploads, upload, 0, content[:10_000])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(NoSpace):
            send(uploads, upload, 10_000, content[10_000:])
        with pytest.raises(NoSpace):
            files.put(content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert uploads.get(upload).received == 10_000
    send(uploads, upload, 10_000, content[10_000:])
    assert files.read(uploads.finish(upload)) == content
