"""Downloading a Python: gone on with, checked, unpacked whole or not at all."""

import errno
import hashlib
import http.server
import io
import os
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from NNActiveLogic.local import Archive, Cancelled, Damaged, NoSpace, Offline
from NNActiveLogic.local.download import fetch, unpack
from NNActiveLogic.local.environment import clean
from NNActiveLogic.local.interpreter import STANDALONE, VERSIONS, find_python, get_python, standalone
from NNActiveLogic.local.machine import Card, Machine, graphics_card, this_machine


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        site = self.server
        site.asked.append(self.headers.get("Range"))
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start and start >= len(site.content):
            self.send_error(416)
            return
        body = site.content[start:]
        self.send_response(site.status or (206 if start else 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: site.breaks_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.status, server.breaks_after, server.asked = os.urandom(1 << 20), 0, None, []
    server.url = f"http://127.0.0.1:{server.server_port}/python%2B1.tar.gz"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def archive_of(site, content=None):
    return Archive(site.url, hashlib.sha256(content or site.content).hexdigest())


def packed(**files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size, member.mode = len(text), 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


def ignore(*_):
    pass


def test_an_interrupted_download_goes_on_where_it_was(site, tmp_path, never):
    archive = archive_of(site)
    site.breaks_after = 300_000
    with pytest.raises(Offline):
        fetch(archive, tmp_path, ignore, never)
    site.breaks_after = None
    seen = []
    file = fetch(archive, tmp_path, lambda *numbers: seen.append(numbers), never)
    assert file.read_bytes() == site.content
    assert site.asked[0] is None
    there = int(site.asked[1][len("bytes=") : -1])
    assert 0 < there <= 300_000
    assert seen[-1] == (len(site.content), len(site.content))
    fetch(archive, tmp_path, ignore, never)
    assert len(site.asked) == 2  # it is there


def test_a_wish_to_stop_keeps_what_is_there(site, tmp_path, never):
    seen = []
    with pytest.raises(Cancelled):
        fetch(archive_of(site), tmp_path, lambda *numbers: seen.append(numbers), lambda: bool(seen))
    assert fetch(archive_of(site), tmp_path, ignore, never).read_bytes() == site.content
    assert site.asked[1] is not None


def test_what_has_another_checksum_is_thrown_away(site, tmp_path, never):
    archive = archive_of(site, b"something else")
    with pytest.raises(Damaged, match="another checksum"):
        fetch(archive, tmp_path, ignore, never)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_too_long_does_not_stay_for_ever(site, tmp_path, never):
    archive = archive_of(site)
    (tmp_path / archive.name).with_suffix(".part").write_bytes(bytes(len(site.content) + 5))
    with pytest.raises(Damaged):
        fetch(archive, tmp_path, ignore, never)
    assert fetch(archive, tmp_path, ignore, never).read_bytes() == site.content


def test_no_way_to_the_network_is_said_plainly(site, tmp_path, never):
    with pytest.raises(Offline, match="offline"):
        fetch(Archive("http://127.0.0.1:9/x", "0" * 64), tmp_path, ignore, never)
    site.status = 503
    with pytest.raises(Offline, match="503"):
        fetch(archive_of(site), tmp_path, ignore, never)


def test_a_full_disk_is_called_so(site, tmp_path, never):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NoSpace, match="is full"):
        fetch(archive_of(site), tmp_path, full, never)


def test_an_archive_is_unpacked_whole_or_not_at_all(tmp_path, never):
    file = tmp_path / "a.tar.gz"
    data = packed(python__bin__python3="#!/bin/sh\n", python__lib__x="y" * 100_000)
    file.write_bytes(data)
    asked = []
    with pytest.raises(Cancelled):
        unpack(file, tmp_path / "out", lambda: asked.append(1) or len(asked) > 1)
    assert [*tmp_path.iterdir()] == [file]
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(Damaged):
        unpack(file, tmp_path / "out", never)
    file.write_bytes(packed(python__x="1", other__y="2"))
    with pytest.raises(Damaged):
        unpack(file, tmp_path / "out", never)
    file.write_bytes(packed(**{"..__outside": "1"}))
    with pytest.raises(Damaged):
        unpack(file, tmp_path / "out", never)
    assert [*tmp_path.iterdir()] == [file]
    file.write_bytes(data)
    unpack(file, tmp_path / "out", never)
    assert os.access(tmp_path / "out" / "bin" / "python3", os.X_OK)


def test_a_python_is_taken_from_the_folder_of_wheels_when_it_is_there(site, tmp_path, never):
    site.content = packed(python__bin__python3="#!/bin/sh\n")
    archive, near = archive_of(site), tmp_path / "wheels"
    near.mkdir()
    (near / "python+1.tar.gz").write_bytes(site.content)
    program = get_python(tmp_path, tmp_path / "downloads", archive, near, ignore, never)
    assert program.is_file()
    assert site.asked == []
    (near / "python+1.tar.gz").unlink()
    assert get_python(tmp_path, tmp_path / "downloads", archive, near, ignore, never) == program  # once
    other = tmp_path / "other"
    assert get_python(other, other, archive, near, ignore, never).is_file()
    assert len(site.asked) == 1


def test_a_python_of_this_computer_is_found_and_slicers_own_is_not(environment, tmp_path):
    here = this_machine(environment)
    slicer = Path(environment["SLICER_HOME"]) / "bin" / "python3.12"
    slicer.write_text(f'#!/bin/sh\ntouch {tmp_path}/asked\nexec {sys.executable} "$@"\n')
    slicer.chmod(0o755)
    found = find_python(clean(environment), here)
    assert found is not None
    assert not (tmp_path / "asked").exists()
    assert find_python(clean(environment), here, [(3, 9)]) is None
    assert find_python(clean(environment), Machine("linux", "riscv64")) is None


def test_there_is_a_python_for_every_computer_the_server_runs_on():
    for machine in (Machine("linux", "x86_64"), Machine("linux", "arm64"), Machine("darwin", "arm64")):
        machine.check()
        archive = standalone(machine)
        assert archive.url.startswith("https://")
        assert f"cpython-{VERSIONS[0][0]}.{VERSIONS[0][1]}." in archive.url
        assert len(archive.sha256) == 64
    assert len({one.sha256 for one in STANDALONE.values()}) == len(STANDALONE)


@pytest.mark.parametrize(
    ("says", "card"),
    [
        ("NVIDIA RTX A5000, 580.95.05", Card("NVIDIA RTX A5000", 580)),
        ("NVIDIA GeForce GTX 970, 470.223.02", Card("NVIDIA GeForce GTX 970", 470)),
        ("No devices were found", None),
        ("", None),
    ],
)
def test_the_graphics_card_is_what_its_driver_says(says, card, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "{says}"\n')
    program.chmod(0o755)
    found = graphics_card({"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert found == card
    assert found is None or found.usable == (found.driver >= 525)
