"""How a server runs: where its data lies, who may connect, and what it refuses."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from nnactive_server.api.simulations import Simulations, read_simulations
from nnactive_server.core.errors import ServerError

LOOPBACK_NAMES = frozenset({"localhost"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before anything is allocated.

    Attributes:
        body_bytes: largest JSON body that carries label maps.
        short_body_bytes: any other JSON body.
        body_values: strings, numbers, lists and so on in a JSON body.
        held_bytes: bodies in memory at a time, of all callers.
        chunk_bytes: largest piece of an upload.
        image_voxels: largest image that is taken in.
        task_bytes: address space of a process that reads what clients sent.
        streams: open event streams and waiting polls, of all callers.
        streams_each: likewise, of one caller.
        wait_seconds: longest wait of a poll.
        body_seconds: a body must arrive in this time.
        lease_seconds: a lease without a heartbeat.
        transfers: arrays of many megabytes on their way, of all callers; each holds some megabytes of memory.
        transfers_each: likewise, of one caller.
        tasks: requests that wait for a process of their own, of all callers; each holds a thread.
    """

    body_bytes: int = 32 << 20
    short_body_bytes: int = 2 << 20
    body_values: int = 20_000
    held_bytes: int = 512 << 20
    chunk_bytes: int = 4 << 20
    image_voxels: int = 1 << 30
    task_bytes: int = 12 << 30
    streams: int = 200
    streams_each: int = 16
    wait_seconds: float = 60.0
    body_seconds: float = 60.0
    lease_seconds: float = 300.0
    transfers: int = 24
    transfers_each: int = 8
    tasks: int = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """A server's settings.

    Attributes:
        data: folder that holds everything.
        host: address to listen on.
        port: likewise; 0 for any free one.
        names: host names under which clients may call, besides addresses and localhost.
        import_roots: folders of this machine from which cases may be added.
        certificate, key: PEM files for TLS.
        plain_http: other machines may connect without TLS.
        end_with: folder of locked files; the server ends when none is locked any more; see `users`.
        limits: sizes and times.
        study: a study's folder, or its `saving.json`: what strategies save in simulations.
        simulations: what `study` says, read once; None without one.

    Raises:
        ServerError: others could connect without TLS, a file or folder is missing, or the study's is not
            valid.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    names: frozenset[str] = frozenset()
    import_roots: tuple[Path, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    plain_http: bool = False
    end_with: Path | None = None
    limits: Limits = field(default_factory=Limits)
    study: Path | None = None
    simulations: Simulations | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(name.lower() for name in self.names))
        object.__setattr__(self, "import_roots", tuple(root.resolve() for root in self.import_roots))
        if (self.certificate is None) != (self.key is None):
            raise ServerError("TLS needs both files: --tls-cert and --tls-key")
        missing = [path for path in (self.certificate, self.key) if path is not None and not path.is_file()]
        missing += [root for root in self.import_roots if not root.is_dir()]
        if missing:
            raise ServerError(f"{missing[0]}: no such file or folder")
        if not (is_loopback(self.host) or self.certificate or self.plain_http):
            raise ServerError(
                f"--host {self.host} lets other machines connect, and nothing would encrypt images and "
                "tokens. Give --tls-cert and --tls-key, or keep 127.0.0.1 and use an SSH tunnel; only where "
                "something else encrypts, such as a proxy on this machine, say --plain-http"
            )
        if self.study is not None:
            object.__setattr__(self, "simulations", read_simulations(self.study))

    @property
    def scheme(self) -> str:
        """`https` with TLS, `http` without."""
        return "https" if self.certificate else "http"

    def answers_to(self, host: str) -> bool:
        """Whether a request with this Host header (without port) is meant for this server.

        A page in a browser can point a name of its own at this machine (DNS rebinding), but not an address.
        """
        host = host.strip("[]").lower()
        return is_address(host) or host in LOOPBACK_NAMES or host in self.names or host == self.host.lower()


def is_address(host: str) -> bool:
    """Whether this is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach this address."""
    return host in LOOPBACK_NAMES or (is_address(host) and ipaddress.ip_address(host).is_loopback)
