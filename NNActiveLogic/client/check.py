"""Test connection: from the address up to the graphics card, naming the first layer that fails."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import requests

from NNActiveLogic.client.addresses import Address, read_address
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.errors import (
    BadAddress,
    ClientError,
    NotAuthorised,
    NotNNActive,
    ProtocolError,
    ProxyPage,
)
from NNActiveLogic.client.problems import clean, from_exception
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Health, Person, Role

T = TypeVar("T")
_LITTLE_DISK = 5 << 30


class Layer(StrEnum):
    """What is checked, in this order."""

    ADDRESS = "address"
    DNS = "DNS"
    TCP = "TCP"
    TLS = "TLS"
    HTTP = "HTTP"
    NNACTIVE = "NNActive"
    TOKEN = "token"
    ROLE = "role"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Step:
    """One layer: `ok`, and a sentence; a step that is good may still have something to say (`warning`)."""

    layer: Layer
    ok: bool
    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """What was found; the last step is the one that failed, if any did."""

    steps: tuple[Step, ...]
    person: Person | None = None
    health: Health | None = None

    @property
    def ok(self) -> bool:
        """Whether one can work with this server."""
        return all(step.ok for step in self.steps)

    @property
    def failed(self) -> Layer | None:
        """The layer that failed."""
        return next((step.layer for step in self.steps if not step.ok), None)

    @property
    def sentence(self) -> str:
        """For people: what failed and what to do, or that all is well."""
        broken = [step.text for step in self.steps if not step.ok]
        if broken:
            return broken[0]
        name = f" as {clean(self.person.name, 60)}" if self.person else ""
        warnings = [step.text for step in self.steps if step.warning]
        return " ".join([f"Connected{name}.", *warnings])


def test_connection(
    url: str,
    token: str,
    *,
    needs: Role = Role.ANNOTATOR,
    ca_file: Path | None = None,
    allow_plain_http: bool = False,
    limits: Limits | None = None,
) -> ConnectionReport:
    """Check layer by layer; nothing is raised, nothing on the server changes.

    Args:
        url: the server's address, as typed.
        token: of the user.
        needs: the least role that is enough.
        ca_file: certificates (PEM) to trust instead of the usual ones.
        allow_plain_http: unencrypted connections to other machines are allowed.
        limits: time and size.
    """
    check = _Check(limits or Limits(connect_seconds=5.0, read_seconds=10.0, total_seconds=15.0))
    try:
        address = check.address(url, allow_plain_http)
        check.network(address, ca_file)
        check.layer = Layer.TOKEN
        client = Client(url, token, limits=check.limits, ca_file=ca_file, allow_plain_http=allow_plain_http)
        try:
            check.server(client, needs)
        finally:
            client.close()
    except ClientError as problem:
        check.steps.append(Step(check.layer, False, str(problem)))
    return ConnectionReport(tuple(check.steps), check.person, check.health)


# Its name would make pytest collect it wherever it is imported.
test_connection.__test__ = False  # type: ignore[attr-defined]


class _Check:
    """The steps so far, and the layer that is being looked at."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.layer = Layer.ADDRESS
        self.steps: list[Step] = []
        self.person: Person | None = None
        self.health: Health | None = None

    def good(self, layer: Layer, text: str, warning: bool = False) -> None:
        """Note a layer that works."""
        self.steps.append(Step(layer, True, text, warning))

    def address(self, url: str, allow_plain_http: bool) -> Address:
        """The address as text."""
        address = read_address(url, allow_plain_http)
        self.good(Layer.ADDRESS, f"{address.url} is an address.")
        return address

    def network(self, address: Address, ca_file: Path | None) -> None:
        """Name, port and certificate; those of the proxy when the network has one."""
        proxy = _proxy(address)
        target = proxy or address
        self.layer = Layer.DNS
        found = self._try(
            lambda: socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM), target
        )
        self.good(Layer.DNS, f"{target.host} is {found[0][4][0]}.")
        self.layer = Layer.TCP
        connection = self._try(
            lambda: socket.create_connection((target.host, target.port), self.limits.connect_seconds), target
        )
        with connection:
            self.good(Layer.TCP, f"Port {target.port} {'of the proxy ' if proxy else ''}is open.")
            if address.scheme == "https" and proxy is None:
                self.layer = Layer.TLS
                if ca_file is not None and not ca_file.is_file():
                    raise BadAddress(
                        f"{ca_file}: no such certificate file.", "Choose it again in the settings."
                    )
                connection.settimeout(self.limits.read_seconds)
                self._try(lambda: _handshake(connection, address, ca_file), address)
                self.good(Layer.TLS, "The certificate is trusted.")

    def server(self, client: Client, needs: Role) -> None:
        """What answers, who the user is, and how the server is."""
        self.layer = Layer.HTTP
        try:
            self.health = client.health()
        except ClientError as problem:
            self._place(problem)
            raise
        self._answered(self.health.version)
        self.layer = Layer.TOKEN
        self.person = client.me()
        self.good(Layer.TOKEN, f"The token belongs to {clean(self.person.name, 60)}.")
        self._role(self.person, needs)
        self._state(self.health)

    def _answered(self, version: str) -> None:
        self.good(Layer.HTTP, "The server itself answers.")
        self.good(Layer.NNACTIVE, f"It is NNActive {clean(version, 40)}.")

    def _place(self, problem: ClientError) -> None:
        """The layer that a failed first request speaks of."""
        if isinstance(problem, NotNNActive | ProtocolError):
            self.good(Layer.HTTP, "Something answers.")
            self.layer = Layer.NNACTIVE
        elif isinstance(problem, NotAuthorised):
            self.good(Layer.HTTP, "The server itself answers.")
            self.good(Layer.NNACTIVE, "It is NNActive.")
            self.layer = Layer.TOKEN
        elif not isinstance(problem, ProxyPage) and problem.layer in ("server", "role", "request"):
            self.layer = Layer.SERVER

    def _role(self, person: Person, needs: Role) -> None:
        known = person.role in list(Role)
        if known and not Role(person.role).covers(needs):
            self.layer = Layer.ROLE
            raise ClientError(
                f"The token's role is {person.role}; this work needs {needs}.",
                "Ask whoever runs the server for another token.",
            )
        self.good(Layer.ROLE, f"The role is {clean(person.role, 40)}.")

    def _state(self, health: Health) -> None:
        remarks = []
        if health.disk_free_bytes < _LITTLE_DISK:
            remarks.append(f"Only {health.disk_free_bytes / 1e9:.1f} GB of the server's disk are free.")
        if not health.devices:
            remarks.append("The server has no graphics card; training takes long.")
        text = (
            " ".join(remarks)
            or f"{health.disk_free_bytes / 1e9:.0f} GB free, {len(health.devices)} device(s)."
        )
        self.good(Layer.SERVER, text, warning=bool(remarks))

    def _try(self, work: Callable[[], T], address: Address) -> T:
        try:
            return work()
        except OSError as problem:
            raise from_exception(problem, address) from None


def _handshake(connection: socket.socket, address: Address, ca_file: Path | None) -> None:
    trusted = _trusted(address, ca_file)
    folder = trusted.is_dir()
    context = ssl.create_default_context(
        cafile=None if folder else str(trusted), capath=str(trusted) if folder else None
    )
    context.wrap_socket(connection, server_hostname=address.host).close()


def _trusted(address: Address, ca_file: Path | None) -> Path:
    """The certificates that requests would trust, wherever the environment says they are."""
    if ca_file is not None:
        return ca_file
    session = requests.Session()
    session.trust_env = not address.loopback
    named = session.merge_environment_settings(address.url, {}, None, None, None)["verify"]
    return Path(named if isinstance(named, str) else requests.utils.DEFAULT_CA_BUNDLE_PATH)


def _proxy(address: Address) -> Address | None:
    """The proxy that requests would use."""
    if address.loopback:
        return None
    proxies = requests.utils.get_environ_proxies(address.url, no_proxy=None)
    chosen = requests.utils.select_proxy(address.url, proxies)
    if not chosen:
        return None
    parts = urlsplit(chosen if "://" in chosen else f"http://{chosen}")
    return Address(chosen, parts.scheme, parts.hostname or "", parts.port or 80, False)
