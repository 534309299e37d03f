"""Each way in which a connection fails has its own name and a sentence that says what to do."""

import gzip
import logging
import socket
import threading
import time

import pytest

from faulty_proxy import BAD_GATEWAY, Fault, FaultyProxy
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.errors import (
    BadAddress,
    Cancelled,
    ClientError,
    ConnectionLost,
    ConnectionRefused,
    Forbidden,
    HostNotFound,
    NotAuthorised,
    NotNNActive,
    ProtocolError,
    ProxyPage,
    Redirected,
    ServerProblem,
    TimedOut,
    TlsProblem,
    TooLarge,
    WrongVersion,
)
from NNActiveLogic.client.transport import Call, Limits, Transport
from standin import Reply, Running


def raised(kind, client):
    with pytest.raises(kind) as caught:
        client.health()
    assert caught.value.what
    assert caught.value.advice
    return caught.value


def once(url, connect):
    return connect(url, limits=Limits(0.5, 0.4, 0.8, attempts=1))


def always(fault):
    return lambda: fault


def test_an_unknown_name_is_the_dns_layer(connect):
    problem = raised(HostNotFound, connect("https://no-such-host.invalid"))
    assert problem.layer == "DNS"
    assert "no-such-host.invalid" in problem.what


def test_a_closed_port_is_refused(connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert f":{port}" in raised(ConnectionRefused, connect(f"http://127.0.0.1:{port}")).what


def test_a_server_that_accepts_and_never_answers_does_not_hang_the_caller(proxy, connect):
    proxy.plan = always(Fault(silent=True))
    raised(TimedOut, connect(proxy.url))
    assert proxy.connections == 3


def test_a_server_whose_queue_is_full_does_not_hang_the_caller(connect):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        raised(TimedOut, once(f"http://127.0.0.1:{listener.getsockname()[1]}", connect))


def test_an_answer_that_trickles_does_not_hang_the_caller(proxy, connect):
    # Every byte comes within the read time-out; the headers alone would take half a minute.
    proxy.plan = always(Fault(trickle=0.1))
    raised(TimedOut, once(proxy.url, connect))


def test_a_body_that_trickles_does_not_hang_the_caller(connect):
    head = b"HTTP/1.1 200 OK\r\nNNActive-Protocol: 1\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(1 << 16)
                connection.sendall(head)
                try:
                    while True:
                        connection.sendall(b" ")
                        time.sleep(0.05)
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        raised(TimedOut, once(f"http://127.0.0.1:{listener.getsockname()[1]}", connect))
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_server_that_does_not_take_the_request_does_not_hang_the_caller(connect):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        transport = connect(f"http://127.0.0.1:{listener.getsockname()[1]}").transport
        with pytest.raises(TimedOut):
            transport.json(Call("PUT", "/v1/uploads/x", body=bytes(32 << 20)), attempts=1)


def test_a_request_that_leaves_slowly_but_steadily_is_not_given_up(connect):
    def serve():
        connection, _ = listener.accept()
        with connection:
            left = 24 << 20  # and a little, the headers
            while left > 0:
                left -= len(connection.recv(1 << 18))
                time.sleep(0.01)
            body = b'{"received": 1, "done": true}'
            head = b"HTTP/1.1 200 OK\r\nNNActive-Protocol: 1\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 18):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        limits = Limits(0.3, 3.0, 30.0, attempts=1)
        transport = connect(f"http://127.0.0.1:{listener.getsockname()[1]}", limits=limits).transport
        assert transport.json(Call("PUT", "/v1/uploads/x", body=bytes(24 << 20)))["done"]
        transport.close()
        thread.join()


def test_a_connection_that_is_reset_is_lost(proxy, connect):
    proxy.plan = always(Fault(reset_after=60))
    raised(ConnectionLost, connect(proxy.url))


@pytest.mark.parametrize("count", range(0, 330, 6))
def test_an_answer_that_ends_early_is_lost_and_never_taken_for_whole(proxy, connect, count):
    proxy.plan = always(Fault(cut_after=count))
    raised(ConnectionLost, once(proxy.url, connect))


def test_an_answer_without_a_stated_end_is_never_taken_for_whole(proxy, connect):
    proxy.plan = always(Fault(instead=b"HTTP/1.1 200 OK\r\nNNActive-Protocol: 1\r\n\r\n[]"))
    raised(ConnectionLost, once(proxy.url, connect))


def test_an_html_page_of_a_proxy_is_named(proxy, connect):
    proxy.plan = always(Fault(instead=BAD_GATEWAY))
    assert "502" in raised(ProxyPage, connect(proxy.url)).what


def test_a_log_in_page_with_status_200_is_a_proxy_page_too(standin, client):
    standin.app.protocol = None
    standin.app.before = lambda _: Reply(200, headers={"Content-Type": "text/html"}, body=b"<html>log in")
    raised(ProxyPage, client)


def test_garbage_is_lost_or_foreign(proxy, connect):
    proxy.plan = always(Fault(instead=b"\x00\x01SSH-2.0-hello\r\n\r\n"))
    raised((ConnectionLost, NotNNActive), connect(proxy.url))


def test_another_program_at_the_address_is_not_taken_for_a_server(standin, client):
    standin.app.protocol = None
    raised(NotNNActive, client)


@pytest.mark.parametrize("version", ["2", "0", "1\u00bd"])
def test_another_version_of_the_protocol_is_refused(standin, client, version):
    standin.app.protocol = version
    assert "extension version 1" in raised(WrongVersion, client).what


def test_the_client_tells_its_version_with_every_request(standin, client):
    client.health()
    assert standin.app.seen[-1].headers["nnactive-protocol"] == "1"


def test_a_self_signed_certificate_names_the_tls_layer(connect, certificate):
    context, _ = certificate()
    running = Running(context=context)
    problem = raised(TlsProblem, connect(running.url))
    running.stop()
    assert problem.layer == "TLS"
    assert "self-signed" in problem.what


def test_a_certificate_that_was_chosen_is_trusted(connect, certificate):
    context, path = certificate()
    running = Running(context=context)
    assert connect(running.url, ca_file=path).health().protocol == 1
    running.stop()


def test_a_certificate_for_another_name_is_named(connect, certificate):
    context, path = certificate("DNS:other.example", "other")
    running = Running(context=context)
    problem = raised(TlsProblem, connect(running.url, ca_file=path))
    running.stop()
    assert "another name" in problem.what


def test_https_to_a_server_without_tls_names_the_tls_layer(standin, connect):
    raised(TlsProblem, connect(f"https://127.0.0.1:{standin.port}"))


def test_an_encrypted_server_that_is_silent_in_the_handshake_does_not_hang_the_caller(proxy, connect):
    proxy.plan = always(Fault(silent=True))
    raised(TimedOut, once(proxy.url.replace("http:", "https:"), connect))


def test_a_missing_certificate_file_is_named(tmp_path, connect):
    with pytest.raises(BadAddress, match=r"missing\.pem"):
        connect("https://127.0.0.1:1", ca_file=tmp_path / "missing.pem")


def test_a_redirect_to_another_host_is_not_followed_and_the_token_stays(standin, client):
    elsewhere = Running()
    standin.app.before = lambda _: Reply(307, headers={"Location": elsewhere.url + "/v1/health"})
    raised(Redirected, client)
    elsewhere.stop()
    assert elsewhere.app.seen == []


def test_a_reply_over_the_limit_is_refused_before_it_is_loaded(standin, connect):
    standin.app.before = lambda _: Reply(200, headers={"Content-Length": str(10**15)}, body=bytes(1 << 18))
    raised(TooLarge, connect(standin.url))


def test_a_reply_that_unpacks_to_more_than_the_limit_is_refused(standin, connect):
    packed = gzip.compress(bytes(64 << 20))
    standin.app.before = lambda _: Reply(200, headers={"Content-Encoding": "gzip"}, body=packed)
    limits = Limits(attempts=1, reply_bytes=1 << 20)
    raised(TooLarge, connect(standin.url, limits=limits))


@pytest.mark.parametrize("body", [b"not json", b"[" * 100_000, b"\xff\xfe"])
def test_an_answer_that_is_not_json_is_a_protocol_error(standin, client, body):
    standin.app.before = lambda _: Reply(200, body=body)
    raised(ProtocolError, client)


def test_a_missing_key_is_named(standin, client):
    standin.app.before = lambda _: Reply(200, {"version": "1"})
    assert "'protocol'" in raised(ProtocolError, client).what


def test_a_problem_of_the_server_speaks_with_its_own_sentence(standin, client):
    document = {"detail": "The graphics card\nis \x1b[31mgone.", "code": "gpu"}
    standin.app.before = lambda _: Reply(500, document)
    problem = raised(ServerProblem, client)
    assert problem.what == "The graphics card is [31mgone."
    assert (problem.status, problem.code) == (500, "gpu")


@pytest.mark.parametrize("body", [b"", b"[1]", b"<p>", b'{"detail": 7, "code": {}}', b'{"detail": null}'])
def test_a_problem_without_a_good_document_is_still_told(standin, client, body):
    standin.app.before = lambda _: Reply(403, body=body)
    assert raised(Forbidden, client).status == 403


@pytest.mark.parametrize("token", ["", "with blank", "line\r\nbreak", "ü"])
def test_a_token_that_cannot_be_one_is_refused_without_being_shown(token):
    with pytest.raises(NotAuthorised) as caught:
        Transport("http://127.0.0.1:1", token)
    assert not token or token not in str(caught.value)


def test_the_token_is_in_no_text_log_or_error(standin, connect, caplog):
    token = "s3cr3t-token"
    caplog.set_level(logging.DEBUG)
    client = connect(standin.url, token)
    with pytest.raises(NotAuthorised) as caught:
        client.me()
    standin.app.tokens[token] = ("eve", "annotator")
    client.me()
    standin.app.before = lambda _: Reply(503, {"detail": "busy"})
    raised(ServerProblem, client)
    texts = [repr(client), repr(client.transport), str(caught.value), repr(caught.value), caplog.text]
    assert standin.app.seen[-1].headers["authorization"].endswith(token)
    assert "attempt" in caplog.text
    assert not any(token in text for text in texts)


def test_what_was_answered_is_in_no_log(client, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Exception, match="nothing of this id"):
        client.annotate("no-such-patch", Answer(Kind.EMPTY, comment="the patient's name"), 0)
    assert "patient" not in caplog.text


def test_neither_netrc_nor_proxy_nor_cookies_get_between_this_machine_and_itself(
    standin, connect, monkeypatch, tmp_path
):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = connect(standin.url)
    standin.app.before = lambda _: Reply(200, {"name": "n", "role": "viewer"}, {"Set-Cookie": "a=b"})
    client.me()
    client.me()
    assert standin.app.seen[-1].headers["authorization"] == "Bearer token-ann"
    assert "cookie" not in standin.app.seen[-1].headers


def test_several_threads_may_use_one_client(standin, connect):
    client, found = connect(standin.url), []
    threads = [threading.Thread(target=lambda: found.append(client.me().name)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["ann"] * 8


def test_close_ends_the_pause_between_attempts(connect):
    limits = Limits(first_pause=600, longest_pause=600)
    with FaultyProxy(1) as proxy:
        proxy.plan = always(Fault(instead=BAD_GATEWAY))
        client, caught = connect(proxy.url, limits=limits), []

        def ask():
            try:
                client.health()
            except ClientError as problem:
                caught.append(problem)

        thread = threading.Thread(target=ask)
        thread.start()
        while not proxy.connections:
            time.sleep(0.001)
        client.close()
        thread.join(10)
    assert len(caught) == 1
    assert isinstance(caught[0], Cancelled | ProxyPage)
