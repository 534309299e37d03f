"""Runs the application with uvicorn: address, TLS, the first token, an orderly end."""

from __future__ import annotations

import errno
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from nnactive_server import __version__
from nnactive_server.api.app import create_app, open_store
from nnactive_server.api.connection import Connection
from nnactive_server.api.settings import Settings
from nnactive_server.api.users import ends_with
from nnactive_server.core.errors import ServerError
from nnactive_server.core.files import atomic_path, write_json
from nnactive_server.store import Role, Store

TOKEN = "token"
"""File with the secret of the first token; readable by the server's user alone."""
ABOUT = "server.json"
"""File that says where the running server listens."""
GRACE_SECONDS = 5
SWITCH_SECONDS = 0.001
"""Longest turn of a thread while others wait; see Testing/benchmarks."""
_FIRST = "admin"


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that is about to answer.

    Attributes:
        url: its address.
        new_token: secret of the token that was just made; None when there was one already.
        token_file: where the secret of the first token lies.
    """

    url: str
    new_token: str | None
    token_file: Path


def serve(settings: Settings, tell: Callable[[Listening], None]) -> None:
    """Serve until SIGINT or SIGTERM, or until nobody uses the server (`Settings.end_with`).

    Args:
        settings: how.
        tell: called once, when the address is known and before the first request.

    Raises:
        ServerError: the address is in use or not one of this machine.
        LoopError: another server works in the folder.
        StoreError: the database cannot be used.
    """
    # Images of patients: nothing that this process and its children make is for other users of the machine.
    os.umask(0o077)
    # A request changes threads several times; each time it waits so long for a thread that is at work.
    sys.setswitchinterval(SWITCH_SECONDS)
    _check_tls(settings)
    with _bound(settings) as listener, open_store(settings) as store:
        port = listener.getsockname()[1]
        url = f"{settings.scheme}://{_shown(settings.host)}:{port}"
        secret = first_token(store, settings.data)
        app = create_app(settings, store)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            # Slicer's calls come minutes apart; a connection that is kept saves a handshake.
            timeout_keep_alive=75,
            http=Connection,
            ws="none",
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            proxy_headers=False,
        )
        about = _Announcement(settings, url)
        with app.state.server.working(), about, ends_with(settings.end_with, about.hide, about.show) as watch:
            tell(Listening(url, secret, settings.data / TOKEN))
            if watch is not None:
                watch.start(lambda: os.kill(os.getpid(), signal.SIGTERM))
            _Server(config, app.state.server.closing.set).run(sockets=[listener])


def first_token(store: Store, data: Path) -> str | None:
    """Make the first token, an admin's, and keep its secret in a file; None when there are tokens already."""
    if any(token.revoked is None for token in store.tokens.list()):
        return None
    _, secret = store.tokens.create(_FIRST, Role.ADMIN)
    write_secret(data / TOKEN, secret)
    return secret


def write_secret(path: Path, secret: str) -> None:
    """A file that only its owner can read."""
    with atomic_path(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secret + "\n")


class _Server(uvicorn.Server):
    """Tells waiting requests to end before uvicorn waits for them."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in order; at once when somebody presses Ctrl-C again.

        uvicorn's own handler raises the signal once more in the end, which would hide that all went well.
        """
        del frame
        self._on_exit()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _check_tls(settings: Settings) -> None:
    """Whether the certificate and its key can be used, before anybody is told that we listen."""
    if settings.certificate is None:
        return
    try:
        # A password is never asked for: nobody may sit at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.certificate, settings.key, password=lambda: ""
        )
    except (ssl.SSLError, OSError, ValueError) as problem:
        raise ServerError(
            f"{settings.certificate}, {settings.key}: no certificate in PEM with its key, without a password "
            f"({problem})"
        ) from problem


@contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as problem:
            raise ServerError(_no_address(settings, problem)) from problem
        listener.listen(1024)
        yield listener


def _no_address(settings: Settings, problem: OSError) -> str:
    where = f"{_shown(settings.host)}:{settings.port}"
    if problem.errno == errno.EADDRINUSE:
        return f"{where}: another program listens there; give another --port, or 0 for a free one"
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"{where}: not allowed; ports below 1024 belong to the administrator"
    return f"{where}: cannot be listened on ({problem.strerror}); give an address of this machine with --host"


class _Announcement:
    """Says in a file where the server listens, as long as it runs."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._path = settings.data / ABOUT
        ends = None if settings.end_with is None else str(settings.end_with)
        self._about = {"url": url, "pid": os.getpid(), "version": __version__, "end_with": ends}

    def show(self) -> None:
        write_json(self._path, self._about)

    def hide(self) -> None:
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> None:
        self.show()

    def __exit__(self, *_: object) -> None:
        self.hide()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
