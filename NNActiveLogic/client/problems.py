"""Which layer failed: exceptions of the network and answers of the server as our errors."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from NNActiveLogic.client.addresses import Address
from NNActiveLogic.client.errors import (
    ClientError,
    Conflict,
    ConnectionLost,
    ConnectionRefused,
    Forbidden,
    HostNotFound,
    Leased,
    NotAuthorised,
    NotFoundOnServer,
    NotNNActive,
    ProxyPage,
    Redirected,
    Refused,
    ServerProblem,
    TimedOut,
    TlsProblem,
    Unreachable,
    WrongVersion,
)

PROTOCOL = "1"
PROTOCOL_HEADER = "NNActive-Protocol"
_LONGEST_TEXT = 500
_UNTRUSTED = ("is not trusted", "Choose the server's certificate file in the settings.")
_UNKNOWN_SIGNER = (
    "is signed by somebody this computer does not know",
    "Choose the certificate file of your institution in the settings.",
)
_OTHER_NAME = ("belongs to another name", "Use the name that the certificate was made for.")
_CERTIFICATE = {
    10: ("has expired", "Tell whoever runs the server to renew it; also check this computer's clock."),
    18: ("is self-signed", "Choose the server's certificate file in the settings."),
    19: _UNKNOWN_SIGNER,
    20: _UNKNOWN_SIGNER,
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
"""What OpenSSL's verification codes mean."""


def from_exception(problem: BaseException, address: Address) -> ClientError:
    """The layer that an exception of requests, ssl or the socket came from."""
    where = f"{address.host}:{address.port}"
    causes = tuple(_causes(problem))
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return tls_problem(cause, where)
        if isinstance(cause, socket.gaierror):
            return HostNotFound(
                f"The name '{address.host}' is not known on this network.",
                "Check the address for typing errors, and whether the VPN is on.",
            )
        if isinstance(cause, ConnectionRefusedError):
            return ConnectionRefused(
                f"Nothing listens at {where}.", "Start the NNActive server there, or correct the port."
            )
    if any(isinstance(cause, requests.exceptions.SSLError) for cause in causes):
        # Older releases of urllib3 compare the names themselves.
        other = any(type(cause).__name__ == "CertificateError" for cause in causes)
        return _certificate(_OTHER_NAME, where) if other else _no_tls(where)
    if any(isinstance(cause, TimeoutError | requests.Timeout) for cause in causes):
        return timed_out(address)
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        return ProxyPage(
            "The network's proxy does not let the connection through.", "Ask your IT department."
        )
    if any(isinstance(cause, ConnectionError) or _broken(cause) for cause in causes):
        return ConnectionLost(
            f"The connection to {where} broke before the answer was complete.",
            "Check the network; nothing is lost.",
        )
    return Unreachable(f"{where} cannot be reached.", "Check the network and the address.")


def timed_out(address: Address) -> TimedOut:
    """The server did not answer in time."""
    return TimedOut(
        f"{address.host}:{address.port} did not answer in time.",
        "The server may be busy, or a firewall drops the connection; try again.",
    )


def tls_problem(problem: ssl.SSLError, where: str) -> ClientError:
    """What is wrong with an encrypted connection."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return _certificate(_CERTIFICATE.get(problem.verify_code, _UNTRUSTED), where)
    if isinstance(problem, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ConnectionLost(
            f"{where} ended the encrypted connection.", "Check the network; nothing is lost."
        )
    return _no_tls(where)


def _certificate(fault: tuple[str, str], where: str) -> TlsProblem:
    what, advice = fault
    return TlsProblem(f"The certificate of {where} {what}.", advice)


def _no_tls(where: str) -> TlsProblem:
    return TlsProblem(
        f"No encrypted connection to {where} can be set up.",
        "Check the port, and whether the server speaks https:// at all.",
    )


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    """The exception and what is wrapped in it; the wrappers keep it in different places."""
    seen: list[BaseException] = []
    waiting: list[Any] = [problem]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            yield one
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]


def _broken(cause: BaseException) -> bool:
    kinds = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, EOFError)
    return isinstance(cause, (*kinds, requests.exceptions.ContentDecodingError))


def foreign(status: int, headers: Mapping[str, str], address: Address) -> ClientError | None:
    """What a reply shows that no NNActive server of this version sent; None when one did."""
    where = f"{address.host}:{address.port}"
    version = headers.get(PROTOCOL_HEADER)
    if 300 <= status < 400 and status != 304:
        return Redirected(
            f"{where} sends us on to another address, which is not followed.",
            "Ask for the server's own address; a network log-in page may also be the cause.",
        )
    if version is None and by_proxy(status, headers):
        return _proxy_page(status, where)
    if version is None:
        return NotNNActive(
            f"Something answers at {where}, but it is not an NNActive server.",
            "Check the address and the port.",
        )
    if version != PROTOCOL:
        return WrongVersion(
            f"The server speaks protocol version {clean(version, 20)}, this extension version {PROTOCOL}.",
            "Update the older of the two.",
        )
    return None


def by_proxy(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a reply without our header looks like one of a program in between."""
    return status in (407, 413, 502, 503, 504) or "html" in headers.get("Content-Type", "").lower()


def _proxy_page(status: int, where: str) -> ProxyPage:
    if status == 413:
        advice = "It refuses requests of this size; ask whoever runs it for a larger limit."
    elif status == 407:
        advice = "It wants a log-in of its own; ask your IT department."
    else:
        advice = "The NNActive server behind it may be off; ask whoever runs it."
    return ProxyPage(f"A proxy answered in place of the server at {where} (status {status}).", advice)


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> ClientError:
    """The error that a problem document of the server stands for."""
    document = _document(body)
    code = clean(document.get("code") or "", 60)
    what = clean(document.get("detail") or document.get("title") or f"The server answered {status}.")
    if status >= 500 or status in (408, 425, 429):
        return ServerProblem(
            what,
            _server_advice(status),
            status=status,
            code=code,
            retry_after=_seconds(headers.get("Retry-After")),
        )
    kind, advice = _KINDS.get(status, (Refused, ""))
    if kind is Conflict and code == "leased":
        kind, advice = Leased, "Take another patch, or wait until it is free again."
    return kind(what, advice, status=status, code=code, document=document)


_KINDS: Mapping[int, tuple[type[Refused], str]] = {
    401: (NotAuthorised, "Enter the token again, or ask whoever runs the server for a new one."),
    403: (Forbidden, "Ask whoever runs the server for a token with the right role."),
    404: (NotFoundOnServer, "Fetch the list again."),
    409: (Conflict, ""),
    412: (Conflict, ""),
}


def _server_advice(status: int) -> str:
    if status == 507:
        return "The server's disk is full; tell whoever runs it."
    if status in (429, 503):
        return "The server is busy; it is tried again."
    return "Tell whoever runs the server; nothing is lost here."


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and re.fullmatch(r"\d{1,5}", text) else None


def clean(text: object, longest: int = _LONGEST_TEXT) -> str:
    """Text of the server as one line of visible characters, not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
