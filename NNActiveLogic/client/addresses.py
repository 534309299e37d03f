"""The server's address: what may be typed, and what may be appended to it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from NNActiveLogic.client.errors import BadAddress

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_EXAMPLE = "Write it like https://gpu.example.org:8765 or http://127.0.0.1:8765."


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        url: without a slash at the end.
        scheme: `http` or `https`.
        host: name or number.
        port: the usual one of the scheme when none is given.
        loopback: whether it is this very machine.
    """

    url: str
    scheme: str
    host: str
    port: int
    loopback: bool


def read_address(text: str, allow_plain_http: bool = False) -> Address:
    """Check an address.

    Args:
        text: as it was typed.
        allow_plain_http: unencrypted connections to other machines are allowed, for example because a tunnel
            encrypts them.

    Raises:
        BadAddress: says what is wrong with it.
    """
    text = text.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadAddress("The server's address is not understood.", _EXAMPLE) from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\\]", text):
        raise BadAddress("The server's address is not understood.", _EXAMPLE)
    if parts.username is not None or parts.query or parts.fragment:
        raise BadAddress("The server's address holds more than a name, a port and a folder.", _EXAMPLE)
    if host in ("0.0.0.0", "::"):
        raise BadAddress(f"{host} means 'every network' to a server and is no address.", "Use 127.0.0.1.")
    loopback = _is_loopback(host)
    if parts.scheme == "http" and not (loopback or allow_plain_http):
        raise BadAddress(
            f"http:// to {host} would send images and the token unencrypted.",
            "Use https://, or an SSH tunnel to 127.0.0.1.",
        )
    usual = 443 if parts.scheme == "https" else 80
    return Address(text, parts.scheme, host, usual if port is None else port, loopback)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def part(value: str) -> str:
    """An id or name as one step of a path; raises BadAddress when it could lead elsewhere."""
    if not _PART.fullmatch(value):
        raise BadAddress(f"'{value[:40]}' cannot be an id.", "Fetch the list again.")
    return value
