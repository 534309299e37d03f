"""A TCP proxy that does what bad networks do. Each new connection asks `plan` what shall go wrong with it."""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

_PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)
)


@dataclass(frozen=True)
class Fault:
    """What happens to one connection.

    Attributes:
        latency: seconds before each piece in either direction.
        reset_after: bytes of the answer after which the connection is reset.
        cut_after: bytes of the answer after which it is closed as if all were well.
        cut_request_after: bytes of the request after which it is reset.
        instead: bytes that are sent in place of the server's answer.
        swallow: the request reaches the server, its answer does not come back.
        silent: nothing is passed on and nothing is closed.
        trickle: seconds between single bytes of the answer.
    """

    latency: float = 0.0
    reset_after: int | None = None
    cut_after: int | None = None
    cut_request_after: int | None = None
    instead: bytes | None = None
    swallow: bool = False
    silent: bool = False
    trickle: float = 0.0


GOOD = Fault()


class FaultyProxy:
    """Listens on a free port of this machine and passes everything on to another one.

    Args:
        port: of the server on this machine.
        plan: is called for each connection; what it returns goes wrong.
    """

    def __init__(self, port: int, plan: Callable[[], Fault] = lambda: GOOD) -> None:
        self.plan = plan
        self.connections = 0
        self._target = port
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "FaultyProxy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Refuse connections from now on, and end those that are open."""
        # A thread that waits in accept keeps the port open until it is woken.
        _shut(self._listener)
        self._listener.close()
        for connection in list(self._open):
            _shut(connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(client)
            threading.Thread(target=self._serve, args=(client, self.plan()), daemon=True).start()

    def _serve(self, client: socket.socket, fault: Fault) -> None:
        try:
            if fault.silent:
                while client.recv(1 << 16):
                    pass
            elif fault.instead is not None:
                client.recv(1 << 16)
                client.sendall(fault.instead)
                _shut(client, socket.SHUT_WR)
                while client.recv(1 << 16):
                    pass
            else:
                self._pass_on(client, fault)
        except OSError:
            pass
        finally:
            self._open.discard(client)
            client.close()

    def _pass_on(self, client: socket.socket, fault: Fault) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            back = threading.Thread(target=self._answer, args=(server, client, fault), daemon=True)
            back.start()
            try:
                self._ask(client, server, fault)
                back.join()
            finally:
                _shut(server)

    def _ask(self, client: socket.socket, server: socket.socket, fault: Fault) -> None:
        passed = 0
        while piece := client.recv(1 << 16):
            time.sleep(fault.latency)
            if fault.cut_request_after is not None and passed + len(piece) > fault.cut_request_after:
                server.sendall(piece[: fault.cut_request_after - passed])
                _reset(client)
                break
            passed += len(piece)
            server.sendall(piece)
        _shut(server)

    def _answer(self, server: socket.socket, client: socket.socket, fault: Fault) -> None:
        passed = 0
        try:
            while piece := server.recv(1 << 16):
                time.sleep(fault.latency)
                if fault.swallow:
                    _reset(client)
                    return
                limit = fault.reset_after if fault.reset_after is not None else fault.cut_after
                if limit is not None and passed + len(piece) > limit:
                    client.sendall(piece[: limit - passed])
                    _reset(client) if fault.reset_after is not None else _shut(client)
                    return
                passed += len(piece)
                _trickle(client, piece, fault.trickle) if fault.trickle else client.sendall(piece)
            _shut(client)
        except OSError:
            _shut(client)


def _trickle(client: socket.socket, piece: bytes, pause: float) -> None:
    for byte in piece:
        client.sendall(bytes([byte]))
        time.sleep(pause)


def _reset(connection: socket.socket) -> None:
    # Closing with a linger of zero sends RST; shutting down first wakes whoever reads here.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _shut(connection, socket.SHUT_RD)


def _shut(connection: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(how)


def random_fault(rng: random.Random) -> Fault:
    """One of the faults from which a client recovers, or none."""
    return rng.choice(
        [
            GOOD,
            GOOD,
            Fault(latency=0.005),
            Fault(reset_after=rng.randrange(1, 600)),
            Fault(cut_after=rng.randrange(1, 600)),
            Fault(cut_request_after=rng.randrange(1, 600)),
            Fault(swallow=True),
            Fault(instead=BAD_GATEWAY),
        ]
    )
