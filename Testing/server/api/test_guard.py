"""What every request passes: token, Host, sizes, time, headers of the reply."""

import asyncio
import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from nnactive_server.api.app import create_app
from nnactive_server.api.settings import Settings
from nnactive_server.core.errors import ServerError
from nnactive_server.store import Role, Store


def address(live):
    parts = urlsplit(live.url)
    return parts.hostname, parts.port


def raw(live, text, wait=5.0):
    """Send bytes as they are; what comes back until the server closes or falls silent."""
    with socket.create_connection(address(live), timeout=wait) as connection:
        connection.sendall(text)
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except TimeoutError:
            pass
        return found.decode("latin-1")


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/v1/health", "/v1/projects", "/nowhere"])
def test_nothing_is_said_without_a_token(live, path):
    reply = live.call("GET", path, who="")
    assert reply.status_code == 401
    assert reply.json()["code"] == "unauthorised"
    assert reply.headers["NNActive-Protocol"] == "1"


@pytest.mark.parametrize("token", ["x", "nna_1_2", "Bearer", "\xe9\xff" * 5, "a" * 5000])
def test_a_wrong_token_opens_nothing_and_is_not_repeated(live, token):
    reply = live.call("GET", "/v1/health", headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 401
    assert token == "x" or token == "Bearer" or token not in reply.text


def test_a_token_does_not_count_in_the_address(live):
    assert live.call("GET", f"/v1/health?token={live.tokens['ann']}", who="").status_code == 401


def test_basic_passwords_open_pages_only(live):
    for path, status in {"/openapi.json": 200, "/v1/health": 401}.items():
        reply = live.call("GET", path, who="", auth=("anybody", live.tokens["vic"]))
        assert reply.status_code == status
    assert live.call("GET", "/", who="").headers["WWW-Authenticate"].startswith("Basic")
    assert live.call("GET", "/v1/health", who="").headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "127.0.0.1.nip.io"]
)
def test_a_foreign_host_name_is_refused(live, host):
    reply = live.call("GET", "/v1/health", headers={"Host": host})
    assert reply.status_code in (400, 421)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9", "127.0.0.1", "[::1]:80", "::1", "10.1.2.3:8000"]
)
def test_addresses_and_localhost_are_answered(live, host):
    assert live.call("GET", "/v1/health", headers={"Host": host}).ok


def test_every_reply_says_protocol_and_keeps_browsers_from_guessing(live):
    for method, path in [
        ("GET", "/v1/health"),
        ("GET", "/none"),
        ("POST", "/v1/health"),
        ("HEAD", "/v1/blobs/x"),
    ]:
        headers = live.call(method, path).headers
        assert headers["NNActive-Protocol"] == "1"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "server" not in headers


def test_a_body_that_is_announced_too_large_is_refused_unread(live):
    host, port = address(live)
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.putrequest("POST", "/v1/projects")
    connection.putheader("Authorization", f"Bearer {live.tokens['ann']}")
    connection.putheader("Content-Length", str(10**15))
    connection.endheaders()
    reply = connection.getresponse()
    assert reply.status == 413
    assert json.loads(reply.read())["code"] == "too-large"
    connection.close()


def test_a_body_that_grows_too_large_without_saying_so_is_refused(live):
    def endless():
        piece = b" " * (1 << 20)
        for _ in range(64):
            yield piece

    try:
        reply = live.call(
            "POST", "/v1/projects", data=endless(), headers={"Content-Type": "application/json"}
        )
    except OSError:
        return  # the server hung up while we were sending, which is as good
    assert reply.status_code == 413


def test_a_compressed_body_is_not_unpacked(live):
    reply = live.call("POST", "/v1/projects", data=b"x", headers={"Content-Encoding": "gzip"})
    assert reply.status_code == 415


def test_a_body_without_a_token_is_not_waited_for(live):
    head = "POST /v1/projects HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    # The body never comes: a server that waited for it would say nothing.
    assert " 401 " in raw(live, head.encode(), wait=10)


@pytest.mark.parametrize(
    "line", ["GET /\x00 HTTP/1.1", "NONSENSE", "GET /v1/health HTTP/9.9", "GET " + "a" * 70000]
)
def test_nonsense_does_not_disturb_the_server(live, line):
    raw(live, line.encode("latin-1") + b"\r\nHost: localhost\r\n\r\n", wait=2)
    assert live.call("GET", "/v1/health").ok


@pytest.mark.parametrize(
    "path",
    [
        "/v1/projects/..%2f..%2fetc%2fpasswd",
        "/v1/cases/%2e%2e/image",
        "/v1/jobs/" + "a" * 3000,
        "/v1/patches/%00",
        "/v1/projects/CON/statistics",
        "/v1/cases/\u00fcber\u20ac/image",
        "/v1/blobs/" + "g" * 64,
    ],
)
def test_strange_ids_are_unknown_and_nothing_else(live, path):
    reply = live.call("HEAD" if "blobs" in path else "GET", path)
    assert reply.status_code in (404, 422)


def test_unknown_keys_are_refused(live):
    body = {"name": "x", "labels": [{"name": "a"}], "channels": ["CT"], "environment": {"PATH": "/"}}
    reply = live.call("POST", "/v1/projects", json=body)
    assert reply.status_code == 422
    assert "environment" in reply.json()["detail"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gpu.example"])
def test_other_machines_cannot_connect_without_tls_unless_somebody_says_so(tmp_path, host):
    with pytest.raises(ServerError, match="tunnel"):
        Settings(tmp_path, host=host)
    assert Settings(tmp_path, host=host, plain_http=True).scheme == "http"


def test_tls_needs_both_files_and_existing_ones(tmp_path):
    with pytest.raises(ServerError, match="both"):
        Settings(tmp_path, certificate=tmp_path)
    with pytest.raises(ServerError, match="no such"):
        Settings(tmp_path, certificate=tmp_path / "a", key=tmp_path / "b")


def test_a_fault_of_ours_is_numbered_and_says_nothing_else(tmp_path, caplog):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    with Store(tmp_path) as store:
        _, secret = store.tokens.create("vic", Role.VIEWER)
        app = create_app(Settings(tmp_path), store)

        def broken():
            raise ZeroDivisionError("secret of the server")

        app.add_api_route("/v1/broken", broken)
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {secret}".encode())]
        scope = {
            "type": "http", "method": "GET", "path": "/v1/broken", "raw_path": b"/v1/broken",
            "query_string": b"", "headers": headers,
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "scheme": "http",
            "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0"},
        }  # fmt: skip
        with pytest.raises(ZeroDivisionError):  # for the log of whoever runs the server
            asyncio.run(app(scope, receive, send))
        app.state.server.folders.close()
    start, body = sent
    document = json.loads(body["body"])
    assert start["status"] == document["status"] == 500
    assert (b"nnactive-protocol", b"1") in start["headers"]
    assert "secret" not in body["body"].decode()
    number = document["detail"].split()[-1].rstrip(".")
    assert number in caplog.text
    assert "secret of the server" in caplog.text


def test_a_named_host_is_answered_in_any_case_of_its_letters(tmp_path):
    settings = Settings(tmp_path, names=frozenset({"GPU.clinic.example"}))
    assert settings.answers_to("gpu.CLINIC.example")
    assert not settings.answers_to("gpu2.clinic.example")
