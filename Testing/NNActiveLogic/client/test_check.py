"""Test connection names the first layer that fails, and says when all is well."""

import json
import socket
import ssl

import pytest

from faulty_proxy import BAD_GATEWAY, Fault
from NNActiveLogic.client import check
from NNActiveLogic.client.check import Layer
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Role
from standin import Reply, Running

LIMITS = Limits(0.5, 0.5, 1.0, attempts=1)


def found(url, token="token-ben", **options):
    report = check.test_connection(url, token, **{"limits": LIMITS, **options})
    if not report.ok:
        assert report.steps[-1].layer == report.failed
        assert report.sentence == report.steps[-1].text
        assert all(step.ok for step in report.steps[:-1])
    return report


def test_a_good_server_passes_every_layer(standin):
    report = found(standin.url)
    assert report.ok
    assert [step.layer for step in report.steps] == [layer for layer in Layer if layer != Layer.TLS]
    assert report.sentence.startswith("Connected as ben.")
    assert "no graphics card" in report.sentence
    assert report.person.role == "annotator"


def test_a_good_server_with_tls_passes_every_layer(certificate):
    context, path = certificate()
    running = Running(context=context)
    report = found(running.url, ca_file=path)
    running.stop()
    assert [step.layer for step in report.steps] == list(Layer)


def test_the_address_is_the_first_layer():
    assert found("gpu:8765").failed == Layer.ADDRESS


def test_an_unknown_name_is_dns():
    assert found("https://no-such-host.invalid").failed == Layer.DNS


def test_a_closed_port_is_tcp():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert found(f"http://127.0.0.1:{port}").failed == Layer.TCP


def test_an_unknown_certificate_is_tls(certificate):
    context, _ = certificate()
    running = Running(context=context)
    report = found(running.url)
    running.stop()
    assert report.failed == Layer.TLS
    assert "self-signed" in report.sentence


def test_a_port_without_tls_is_tls(standin):
    assert found(f"https://127.0.0.1:{standin.port}").failed == Layer.TLS


def test_a_silent_handshake_is_tls(proxy):
    proxy.plan = lambda: Fault(silent=True)
    assert found(f"https://127.0.0.1:{proxy.port}").failed == Layer.TLS


@pytest.mark.parametrize("fault", [Fault(instead=BAD_GATEWAY), Fault(silent=True), Fault(reset_after=20)])
def test_a_proxy_page_silence_and_a_broken_answer_are_http(proxy, fault):
    proxy.plan = lambda: fault
    assert found(proxy.url).failed == Layer.HTTP


def test_another_program_is_not_nnactive(standin):
    standin.app.protocol = None
    assert found(standin.url).failed == Layer.NNACTIVE


def test_another_version_is_told(standin):
    standin.app.protocol = "9"
    report = found(standin.url)
    assert report.failed == Layer.NNACTIVE
    assert "version 9" in report.sentence


@pytest.mark.parametrize("token", ["wrong", "", "  ", "with blank"])
def test_a_bad_token_is_the_token(standin, token):
    assert found(standin.url, token).failed == Layer.TOKEN


def test_a_viewer_cannot_answer_but_may_look(standin):
    report = found(standin.url, "token-vic")
    assert report.failed == Layer.ROLE
    assert "viewer" in report.sentence
    assert found(standin.url, "token-vic", needs=Role.VIEWER).ok


def test_a_server_that_fails_is_the_server(standin):
    standin.app.before = lambda _: Reply(500, {"detail": "The database is damaged."})
    report = found(standin.url)
    assert report.failed == Layer.SERVER
    assert "database" in report.sentence


def test_a_full_disk_is_a_warning(standin):
    full = json.loads(standin.app.health(None).body) | {"disk_free_bytes": 10**9, "devices": ["card"]}
    standin.app.before = lambda request: Reply(json=full) if request.path == "/v1/health" else None
    report = found(standin.url)
    assert report.ok
    assert "1.0 GB" in report.sentence


def test_a_missing_certificate_file_is_told(standin, tmp_path):
    missing = tmp_path / "missing.pem"
    report = found(f"https://127.0.0.1:{standin.port}", ca_file=missing)
    assert report.failed == Layer.TLS
    assert "missing.pem" in report.sentence


def test_a_file_that_holds_no_certificate_is_told(standin, tmp_path):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("hello")
    assert found(f"https://127.0.0.1:{standin.port}", ca_file=wrong).failed == Layer.TLS


def test_the_proxy_of_the_network_is_checked_in_place_of_the_server(proxy, monkeypatch):
    # The real proxy would be asked to connect; this one only shows that it was.
    proxy.plan = lambda: Fault(instead=BAD_GATEWAY)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    report = found("http://no-such-host.invalid", allow_plain_http=True)
    assert report.failed == Layer.HTTP
    assert "of the proxy" in report.steps[2].text


def test_the_certificates_of_the_environment_count_for_other_machines(monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert check._trusted(check.read_address("https://gpu.example.org"), None) == tmp_path
    assert check._trusted(check.read_address("https://localhost"), None) != tmp_path
    assert isinstance(ssl.create_default_context(), ssl.SSLContext)
