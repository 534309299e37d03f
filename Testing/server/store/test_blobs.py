from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import shutil
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import InvalidInput, NoSpace, NotFound, StoreError, TooLarge
from nnactive_server.store import Blobs, Limits, blobs
from nnactive_server.store.blobs import space_needed


@pytest.fixture
def files(tmp_path) -> Blobs:
    return Blobs(tmp_path / "files", Limits(blob_bytes=4 << 20, reserve_bytes=0))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=3000), as_stream=st.booleans())
def test_a_file_comes_back_as_it_was_stored(files, content, as_stream):
    sha256 = files.put(io.BytesIO(content) if as_stream else content)
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert files.read(sha256) == content
    assert files.read(sha256, 5, 10) == content[5:15]
    assert files.size(sha256) == len(content)
    assert files.verify(sha256)
    assert files.put(content) == sha256


def test_a_large_stream_is_stored_in_steps(files):
    content = os.urandom((2 << 20) + 17)
    assert files.read(files.put(io.BytesIO(content))) == content


def test_storing_twice_keeps_one_file_and_no_leftovers(files):
    sha256 = files.put(b"same")
    files.put(io.BytesIO(b"same"))
    files.put(b"same")
    assert list(files.all()) == [sha256]
    assert list(files.temporary.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "0" * 63 + "\n", "%2e" * 21 + "0"]
)
def test_anything_but_a_hash_is_refused_as_a_name(files, name):
    with pytest.raises(InvalidInput, match="SHA-256"):
        files.open(name)


def test_an_unknown_file_is_named(files):
    with pytest.raises(NotFound, match="0000"):
        files.read("0" * 64)
    assert not files.exists("0" * 64)


def test_a_file_is_never_seen_by_half(tmp_path):
    files, content, done = Blobs(tmp_path / "files"), os.urandom(16 << 20), threading.Event()
    sha256, sizes = hashlib.sha256(content).hexdigest(), set()
    path = files.root / sha256[:2] / sha256[2:]

    def look() -> None:
        while not done.is_set():
            with contextlib.suppress(FileNotFoundError):
                sizes.add(path.stat().st_size)

    looker = threading.Thread(target=look)
    looker.start()
    files.put(io.BytesIO(content))
    files.put(content)
    done.set()
    looker.join()
    assert sizes <= {len(content)}


class Endless(io.RawIOBase):
    """A stream that never ends, and counts what was taken."""

    taken = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.taken += size
        return bytes(size)


def test_a_stream_that_never_ends_is_cut_off_at_the_limit(files):
    stream = Endless()
    with pytest.raises(TooLarge):
        files.put(stream)
    assert stream.taken <= files.limits.blob_bytes + blobs.STEP
    assert list(files.temporary.iterdir()) == []


def test_what_would_use_up_the_reserve_is_refused_before_it_is_written(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    files = Blobs(tmp_path / "files", Limits(reserve_bytes=2 * free))
    with pytest.raises(NoSpace, match="free some space"):
        files.put(b"anything")
    assert list(files.all()) == []


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, NoSpace), (errno.EDQUOT, NoSpace), (errno.EIO, StoreError)]
)
def test_errors_of_the_disk_become_ours(tmp_path, number, kind):
    with pytest.raises(StoreError) as caught, space_needed(tmp_path):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind


def test_damage_is_found(store, world):
    sha256 = world.case.images[0]
    path = store.blobs.path(sha256)
    assert store.check() == []
    path.write_bytes(b"tampered")
    assert not store.blobs.verify(sha256)
    assert store.check() == [f"file {sha256}: damaged"]
    path.unlink()
    assert store.check() == [f"file {sha256}: named by the database and missing"]


def test_a_sweep_takes_only_what_is_old_and_unused(store, world, labelled):
    answer = labelled("anna", unsure=store.blobs.put(b"unsure"), prefill=store.blobs.put(b"prefill"))
    store.answers.record(world.patches[0].id, 0, answer)
    loose, fresh = store.blobs.put(b"nobody names me"), store.blobs.put(b"stored a moment ago")
    leftover = store.blobs.temporary / "half.put"
    leftover.write_bytes(b"half a file")
    for path in (*map(store.blobs.path, (loose, *answer.files, *world.case.images)), leftover):
        os.utime(path, (0, 0))
    assert store.sweep(age_seconds=3600) == len(b"nobody names me") + len(b"half a file")
    assert set(store.blobs.all()) == {fresh, *answer.files, *world.case.images}
    assert not leftover.exists()
    assert store.check() == []


def test_storing_an_old_file_again_saves_it_from_the_sweep(store):
    sha256 = store.blobs.put(b"old")
    for again in (
        lambda: store.blobs.put(b"old"),
        lambda: store.blobs.put(io.BytesIO(b"old")),
        lambda: store.uploads.begin(sha256, 3, "anna"),
    ):
        os.utime(store.blobs.path(sha256), (0, 0))
        again()
        store.sweep(3600)
        assert store.blobs.exists(sha256)
    os.utime(store.blobs.path(sha256), (0, 0))
    store.sweep(3600)
    assert not store.blobs.exists(sha256)
