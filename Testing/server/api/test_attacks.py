"""What somebody with bad intentions tries: each of these did harm once, or would if a check were missing."""

import json
import socket
import stat
import subprocess
import sys
import threading
import time
import uuid

import pytest

from nnactive_server.api import Settings
from nnactive_server.api.bodies import MAX_PATCH_VOXELS
from nnactive_server.api.connection import Connection
from nnactive_server.api.crowd import Crowd
from nnactive_server.api.problems import Problem, public
from nnactive_server.api.server import Server
from nnactive_server.store import JobState, Role, Store
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.values import Box, Label
from testkit.live_server import LiveServer
from testkit.small_case import crop

JSON = {"Content-Type": "application/json"}


def raw(live, sent, wait=10.0):
    """Send bytes as they are; all that comes back until the server closes."""
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        found = b""
        try:
            connection.sendall(sent)
            while piece := connection.recv(65536):
                found += piece
        except OSError:
            pass
        return found.decode("latin-1")


def create(live, document="", **more):
    """A new project; `document` is JSON for the terminology of its class."""
    body = {"name": f"a-{uuid.uuid4().hex[:8]}", "labels": [{"name": "a"}], "channels": ["CT"], **more}
    text = json.dumps(body)
    if document:
        text = text.replace('{"name": "a"}', f'{{"name": "a", "terminology": {document}}}')
    return live.call("POST", "/v1/projects", data=text.encode(), headers=JSON)


def health(live):
    """Seconds until the server answers something small."""
    began = time.monotonic()
    live.call("GET", "/v1/health").raise_for_status()
    return time.monotonic() - began


# --- documents ---


@pytest.mark.parametrize(
    "document",
    ["[" * 300 + "]" * 300, "[" * 900 + "]" * 900, "[" * 10_000 + "]" * 10_000, "NaN", "-Infinity", "1e400",
     '"\\ud800"', '{"\\udfff": 1}', json.dumps("x" * 9000), json.dumps([0] * 9000), "1" * 5000],
)  # fmt: skip
def test_a_terminology_that_cannot_be_kept_is_refused(live, document):
    assert create(live, document).status_code in (400, 413, 422)
    assert live.call("GET", "/v1/projects").status_code == 200


def test_a_terminology_comes_back_as_it_was(live):
    said = {"category": {"scheme": "SCT", "value": "123037004", "meaning": "\u00dcbung"}, "n": [1, 2.5, None]}
    assert create(live, json.dumps(said)).json()["labels"][0]["terminology"] == said


@pytest.mark.parametrize("text", ["a\nb", "a\x00", "\u202egnp.exe", "a\u200b", " a", "\ud800", "a\x1b[31m"])
def test_names_that_could_deceive_a_reader_or_a_log_are_refused(live, text):
    assert create(live, name=text).status_code == 422
    assert create(live, channels=[text]).status_code == 422
    assert create(live, labels=[{"name": text}]).status_code == 422


@pytest.mark.parametrize("value", [10**400, -(10**30), "x" * 201, [1], {}])
def test_parameters_of_absurd_size_are_refused(live, value):
    assert create(live, strategy="power-pe", strategy_parameters={"beta": value}).status_code == 422
    assert create(live, profile="smoke", profile_overrides={"members": value}).status_code == 422


@pytest.mark.parametrize("many", [b'{"a":[' + b"[]," * 600_000 + b"[]]}", None])
def test_a_document_of_a_million_values_is_refused_before_it_is_parsed(live, many):
    body = many or b"{" + b",".join(b'"%d":1' % n for n in range(170_000)) + b"}"
    reply = live.call("POST", "/v1/projects", who="vic", data=body, headers=JSON)
    assert (reply.status_code, reply.json()["code"]) == (413, "too-large")


def test_only_answers_may_be_long(live, patch):
    long = json.dumps({"kind": "empty", "comment": "x" * (3 << 20)}).encode()
    assert live.call("POST", "/v1/projects", data=long, headers=JSON).status_code == 413
    reply = live.call(
        "PUT", f"/v1/patches/{patch.id}/annotation", data=long, headers={**JSON, "If-Match": '"0"'}
    )
    assert reply.status_code == 422  # the comment, not the body


def test_a_patch_is_no_whole_body(live, project, case):
    side = round(MAX_PATCH_VOXELS ** (1 / 3))
    assert create(live, patch_size=[side, side, side]).status_code == 201
    assert create(live, patch_size=[side, side, side + 1]).status_code == 422
    huge = {"case": case.id, "box": {"start": [0, 0, 0], "size": [1 << 10] * 3}}
    assert live.call("POST", f"/v1/projects/{project.id}/patches", json=huge).status_code == 422


# --- requests ---


@pytest.mark.parametrize(
    "host",
    [
        "[::1]/v1/me?",
        "[::1].evil.example",
        "[::1",
        "127.0.0.1/x",
        "a b",
        "localhost:1:2",
        "localhost:x",
        "@localhost",
    ],
)
def test_a_host_header_that_is_no_host_is_refused(live, host):
    sent = f"GET /v1/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert raw(live, sent.encode()).split(" ")[1] in ("400", "421")


def test_nobody_is_sent_elsewhere_by_the_host_they_gave(live):
    reply = live.call("GET", "/v1/projects/", headers={"Host": "10.9.8.7"}, allow_redirects=False)
    assert reply.status_code == 404
    assert "Location" not in reply.headers


@pytest.mark.parametrize(
    "lines",
    ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Content-Length: 4\r\nContent-Length: 5",
     "Transfer-Encoding: chunked, identity", "Content-Length: +4", "Content-Length : 4", " Host: localhost"],
)  # fmt: skip
def test_a_body_of_two_lengths_is_no_request(live, lines):
    head = f"POST /v1/projects HTTP/1.1\r\nHost: localhost\r\n{lines}\r\nAuthorization: Bearer"
    said = raw(live, f"{head} {live.tokens['ann']}\r\n\r\n0\r\n\r\nGET /v1/me HTTP/1.1\r\n\r\n".encode())
    assert said.startswith("HTTP/1.1 400 ")
    assert said.count("HTTP/1.1 ") == 1
    assert "nnactive-protocol: 1" in said
    assert "application/problem+json" in said


def test_a_header_without_an_end_is_cut_off(live):
    said = raw(live, b"GET / HTTP/1.1\r\nX: " + b"a" * (8 << 20))
    assert said == "" or said.startswith("HTTP/1.1 431 ")
    many = b"".join(b"X-%d: 1\r\n" % n for n in range(200_000))
    said = raw(live, b"GET / HTTP/1.1\r\n" + many)
    assert said == "" or said.startswith("HTTP/1.1 431 ")
    assert health(live) < 30


def test_a_connection_that_says_nothing_is_ended(tmp_path):
    program = ["-c", "import sys\nfrom nnactive_server.api.connection import Connection\n"
               "Connection.head_seconds, Connection.most = 0.5, 8\n"
               "from nnactive_server.cli import main\nsys.argv[0] = 'nnactive'\nmain()"]  # fmt: skip
    with LiveServer(tmp_path / "data", program=program) as server:
        assert raw(server, b"").startswith("HTTP/1.1 408 ")
        assert raw(server, b"GET /v1/health HTTP/1.1\r\nHost: ").startswith("HTTP/1.1 408 ")
        with server.call("GET", "/v1/events/stream", stream=True) as waiting:
            next(waiting.iter_lines(chunk_size=1))
            time.sleep(1)  # an answer that takes its time is no silent connection
            assert health(server) < 30
        host, port = server.url.removeprefix("http://").split(":")
        crowd = [socket.create_connection((host, int(port))) for _ in range(30)]
        said = raw(server, b"")
        assert "HTTP/1.1 503 " in said or "HTTP/1.1 408 " in said
        for one in crowd:
            one.close()
    assert Connection.head_seconds >= 10


def test_methods_and_origins_are_taken_at_their_word(live):
    for method in ("OPTIONS", "TRACE", "HEAD", "PURGE"):
        reply = live.call(method, "/v1/health", headers={"Origin": "https://evil.example"})
        assert reply.status_code == 405
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert live.call("POST", "/v1/health", headers={name: "GET"}).status_code == 405


def test_a_range_of_no_bytes_is_refused(live, case):
    reply = live.call("GET", f"/v1/cases/{case.id}/image", headers={"Range": "bytes=-0"})
    assert reply.status_code == 416


def test_a_number_of_an_event_beyond_all_numbers_is_no_fault(live):
    before = live.log().count("Traceback")
    headers = {"Last-Event-ID": "9" * 20}
    with live.call("GET", "/v1/events/stream", headers=headers, stream=True) as reply:
        lines = reply.iter_lines(chunk_size=1)
        assert [next(lines), next(lines)] == [b"retry: 2000", b"id: %d" % 2**62]
    assert live.log().count("Traceback") == before


# --- files ---


def test_a_path_on_the_server_that_cannot_be_is_refused_like_any_other(live, project):
    (live.shelf / "circle").symlink_to(live.shelf / "circle")
    for path in ("a\x00b", "a" * 3000, "circle", "../" * 1000, "/dev/zero", "/proc/self/environ", "~root"):
        reply = live.call("POST", f"/v1/projects/{project.id}/cases", json={"server_path": path})
        assert (reply.status_code, reply.json()["code"]) == (403, "folder-not-allowed")
    (live.shelf / "circle").unlink()


def test_an_upload_belongs_to_whoever_began_it(live):
    begun = live.call("POST", "/v1/uploads", json={"sha256": "5" * 64, "size": 4}).json()
    headers = {"Content-Range": "bytes 0-3/4", "NNActive-Chunk-SHA256": "6" * 64}
    path = f"/v1/uploads/{begun['id']}"
    assert live.call("PUT", path, who="ben", data=b"evil", headers=headers).status_code == 404
    assert live.call("PUT", path, who="ann", data=b"evil", headers=headers).status_code == 422


@pytest.mark.usefixtures("case")
def test_no_other_user_of_the_machine_can_read_what_the_server_keeps(live):
    for folder in ("files", "projects"):
        assert stat.S_IMODE((live.data / folder).stat().st_mode) == 0o700
    for name in ("state.sqlite", "state.sqlite-wal", "server.json"):
        assert stat.S_IMODE((live.data / name).stat().st_mode) == 0o600


def test_a_certificate_that_cannot_be_used_is_named_before_anybody_is_told(tmp_path):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("not a certificate")
    settings = Settings(tmp_path, port=0, certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    code = (
        "from pathlib import Path; import sys; from nnactive_server.api import Settings;"
        "from nnactive_server.api.run import serve; root = Path(sys.argv[1]);"
        "serve(Settings(root, port=0, certificate=root / 'cert.pem', key=root / 'key.pem'), print)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert "ServerError" in done.stderr
    assert "cert.pem" in done.stderr
    assert not (settings.data / "server.json").exists()


# --- words ---


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/data/files/ab/cd: damaged", "cd: damaged"),
        ("cannot open '/home/dr/x.nii'", "cannot open 'x.nii'"),
        ("(/srv/a/b)", "(b)"),
        ("path=/srv/a/b.log", "path=b.log"),
        ("labels and/or images, 3 / 4, n/a", "labels and/or images, 3 / 4, n/a"),
    ],
)
def test_folders_of_the_server_are_not_shown(text, shown):
    assert public(text) == shown


def test_a_job_and_its_events_do_not_show_folders(live, project):
    with Store(live.data) as store:
        store.jobs.enqueue(project.id, "import", {})
        job = store.jobs.claim(1)
        store.jobs.beat(job.id, job.attempt, lines=["reading /home/doe/scan.nii"])
        store.jobs.finish(job.id, job.attempt, JobState.FAILED, "/home/doe/scan.nii: damaged")
    shown = live.call("GET", f"/v1/jobs/{job.id}", who="vic").text
    told = live.call("GET", f"/v1/events?project={project.id}", who="vic").text
    assert "scan.nii" in shown
    assert "scan.nii" in told
    assert "doe" not in shown + told


# --- people ---


def test_who_may_not_start_an_import_may_not_stop_one_or_go_on_with_it(live, project):
    with Store(live.data) as store:
        job = store.jobs.enqueue(project.id, "import", {})
        running = store.jobs.claim(1)
        assert running.id == job.id
    assert live.call("POST", f"/v1/jobs/{job.id}/cancel", who="rev").status_code == 403
    assert live.call("POST", f"/v1/jobs/{job.id}/cancel", who="ann").status_code == 202
    with Store(live.data) as store:
        store.jobs.finish(job.id, running.attempt, JobState.CANCELLED)
    assert live.call("POST", f"/v1/jobs/{job.id}/resume", who="ben").status_code == 403


def test_events_tell_who_did_it(live, ann, ben, project, image):
    ann.change_project(project.id, query_size=4)
    case = ben.add_case(project.id, [ben.upload(image[0])])
    patch = ben.place_patch(project.id, case.id, Box((0, 0, 0), (4, 5, 6)))
    ben.annotate(patch.id, Answer(Kind.LABELLED, crop(1)), 0)
    with Store(live.data) as store:
        job = store.jobs.enqueue(project.id, "cycle", {"cycle": 0})
        attempt = store.jobs.claim(1).attempt
    ben.cancel(job.id)
    with Store(live.data) as store:
        store.jobs.finish(job.id, attempt, JobState.CANCELLED)
    by = {}
    for one in ann.events(0, project=project.id).events:
        by.setdefault(one.kind, one.payload.get("by"))
    assert by["project.created"] == by["project.changed"] == "ann"
    assert by["case.added"] == by["patch.placed"] == by["answer.recorded"] == by["job.cancelling"] == "ben"
    assert by["job.cancelled"] is None  # the worker did that


def test_a_stream_ends_with_its_token(live, ann, project):
    with Store(live.data) as store:
        token, secret = store.tokens.create("leaver", Role.VIEWER)
        header = {"Authorization": f"Bearer {secret}"}
        with live.call("GET", "/v1/events/stream", who="", headers=header, stream=True, timeout=60) as reply:
            lines = reply.iter_lines(chunk_size=1, decode_unicode=True)
            next(lines)
            store.tokens.revoke(token.id)
            ann.change_project(project.id, query_size=5)
            assert "event: project.changed" not in list(lines)


def test_streams_beyond_the_limit_end_without_a_fault(live):
    before = live.log().count("Traceback")
    found = []

    def listen():
        try:
            with live.call("GET", "/v1/events/stream", who="rev", stream=True) as reply:
                found.append(reply.status_code)
                next(reply.iter_lines(chunk_size=1), None)
                time.sleep(1)
        except OSError:
            found.append(0)

    threads = [threading.Thread(target=listen) for _ in range(40)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert live.call("GET", "/v1/events", who="rev").status_code == 200
    assert live.log().count("Traceback") == before
    assert set(found) <= {200, 429}


def test_many_who_wait_for_a_process_do_not_stop_the_server(tmp_path, monkeypatch):
    server = Server.__new__(Server)
    server.settings, server._tasks = Settings(tmp_path), Crowd(2, 2, "read files")
    go, inside = threading.Event(), threading.Semaphore(0)

    def slow(*_args, **_more):
        inside.release()
        assert go.wait(30)
        return {}

    monkeypatch.setattr("nnactive_server.api.server.run_task", slow)
    threads = [threading.Thread(target=server.task, args=("intake", {})) for _ in range(2)]
    for one in threads:
        one.start()
        assert inside.acquire(timeout=30)
    with pytest.raises(Problem) as refused:
        server.task("intake", {})
    assert refused.value.status_code == 429
    go.set()
    for one in threads:
        one.join()
    assert server.task("intake", {}) == {}


def test_cases_without_a_name_that_come_at_once_all_get_one(live, ann, project, image):
    sha256 = ann.upload(image[0])
    ann.add_case(project.id, [sha256])
    replies = []

    def add():  # without an idempotency key, as any script does it
        body = {"channels": [sha256]}
        replies.append(live.call("POST", f"/v1/projects/{project.id}/cases", json=body).status_code)

    threads = [threading.Thread(target=add) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert replies == [201] * 12
    assert len({case.name for case in ann.cases(project.id)}) == 13


def test_a_key_is_bound_to_the_path_that_was_asked_for(live, ann, project):
    other = ann.create_project(f"o-{uuid.uuid4().hex[:8]}", [Label("a")], ["CT"])
    headers = {"Idempotency-Key": "one", **JSON}
    for one in (project.id, other.id):
        reply = live.call("PATCH", f"/v1/projects/{one}", json={"query_size": 3}, headers=headers)
        assert reply.json()["id"] == one
    for key in ("", "x" * 201, "a\tb"):
        reply = live.call(
            "PATCH", f"/v1/projects/{other.id}", json={"query_size": 3}, headers={"Idempotency-Key": key}
        )
        assert reply.status_code == 422


def test_nothing_of_this_was_a_fault_of_the_server(live):
    assert "incident" not in live.log()
    assert not [secret for secret in live.tokens.values() if secret in live.log()]
    with Store(live.data) as store:
        assert store.check() == []
