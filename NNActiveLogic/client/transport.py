"""One exchange with the server: time-outs, limits, retries, no redirects, nothing secret in logs."""

from __future__ import annotations

import io
import itertools
import json
import logging
import random
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, TypeVar

import requests

from NNActiveLogic.client.addresses import read_address
from NNActiveLogic.client.arrays import check_size
from NNActiveLogic.client.deadline import Deadline, WatchedAdapter, closing
from NNActiveLogic.client.errors import (
    BadAddress,
    Cancelled,
    ClientError,
    ConnectionLost,
    NotAuthorised,
    ProtocolError,
    ServerProblem,
)
from NNActiveLogic.client.problems import (
    PROTOCOL,
    PROTOCOL_HEADER,
    by_proxy,
    foreign,
    from_exception,
    refusal,
    timed_out,
)

T = TypeVar("T")
_log = logging.getLogger(__name__)
_PIECE = 128 << 10
_LONGEST_PROBLEM = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait and how much to take.

    Attributes:
        connect_seconds: for the connection.
        read_seconds: for each further byte.
        total_seconds: for a whole JSON reply, and for each MiB of a large one.
        reply_bytes: largest JSON reply.
        array_bytes: largest array in memory.
        attempts: of a call that may be repeated.
        first_pause: upper bound of the first random pause between attempts, in seconds; doubles each time.
        longest_pause: upper bound of every pause.
    """

    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    total_seconds: float = 60.0
    reply_bytes: int = 16 << 20
    array_bytes: int = 2 << 30
    attempts: int = 4
    first_pause: float = 0.25
    longest_pause: float = 8.0


@dataclass(frozen=True, slots=True)
class Call:
    """A request.

    Attributes:
        method: of HTTP.
        path: below the server's address, starting with a slash.
        query: of the address.
        json: body as plain JSON values; `body` is for bytes.
        headers: further ones.
        extra_seconds: that the server may take on purpose, as in a long poll.
        large: a long transfer, whose total time starts anew with each MiB.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict, hash=False)
    json: Any = field(default=None, hash=False)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    extra_seconds: float = 0.0
    large: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does what sending it once does."""
        return self.method in ("GET", "HEAD") or "Idempotency-Key" in self.headers


class Reply:
    """An answer with its body still to come; raises ConnectionLost when its headers are not whole.

    Attributes:
        status: of HTTP.
        headers: names in any case.
    """

    def __init__(self, response: requests.Response, tick: Callable[[], None], head: bool) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._tick = tick
        announced = response.headers.get("Content-Length", "")
        self._announced = int(announced) if announced.isdecimal() else None
        # Without either nobody can tell a whole body from one that broke off.
        self._framed = self._announced is not None or "Transfer-Encoding" in response.headers
        self._bodiless = head or self.status in (204, 304) or self._announced == 0
        self._pieces: Iterator[bytes] = iter(()) if self._bodiless else response.iter_content(_PIECE)
        self._first = b"" if self._bodiless else next(self._pieces, b"")
        self._check_headers()

    def pieces(self, limit: int) -> Iterator[bytes]:
        """The body; raises TooLarge as soon as it is over the limit, ConnectionLost when it ends early."""
        packed = "Content-Encoding" in self.headers  # noise grows by packing
        if self._announced is not None and not self._bodiless and not packed:
            check_size(self._announced, limit)
        received = 0
        for piece in itertools.chain([self._first] if self._first else [], self._pieces):
            received += len(piece)
            check_size(received, limit)
            self._tick()
            yield piece
        self._check_complete()

    def read(self, limit: int) -> bytes:
        """The whole body."""
        return b"".join(self.pieces(limit))

    def _check_headers(self) -> None:
        # A connection that ends among the headers looks like the end of the headers. Whatever follows them
        # shows that they are whole; where nothing follows, the last one that is always there does.
        if self._first or by_proxy(self.status, self.headers):
            return
        if not self._bodiless or PROTOCOL_HEADER not in self.headers:
            raise _broken_off()

    def _check_complete(self) -> None:
        # Older releases of urllib3 end quietly when the connection does. Counted is what came, still packed.
        short = self._announced is not None and self._response.raw.tell() < self._announced
        if not self._bodiless and (short or not self._framed):
            raise _broken_off()


def _broken_off() -> ConnectionLost:
    return ConnectionLost("The answer broke off half way.", "Check the network; nothing is lost.")


class Transport:
    """Exchanges with one server. Calls may come from several threads.

    Args:
        url: the server's address.
        token: of the user; goes nowhere but into the header of requests to this address.
        limits: time and size.
        ca_file: certificates (PEM) to trust instead of the usual ones.
        allow_plain_http: see `read_address`.

    Raises:
        BadAddress: the address or the certificate file.
        NotAuthorised: characters that no token has.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        limits: Limits | None = None,
        ca_file: Path | None = None,
        allow_plain_http: bool = False,
    ) -> None:
        self.address = read_address(url, allow_plain_http)
        self.limits = limits or Limits()
        if ca_file is not None and not ca_file.is_file():
            raise BadAddress(f"{ca_file}: no such certificate file.", "Choose it again in the settings.")
        self._verify = True if ca_file is None else str(ca_file)
        self._session = _session(_Bearer(token), trust_environment=not self.address.loopback)
        self._stopped = threading.Event()

    def __repr__(self) -> str:
        return f"Transport({self.address.url!r})"

    def stop(self) -> None:
        """End all pauses between attempts, and attempt nothing a second time any more."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and drop the connections."""
        self.stop()
        self._session.close()

    def json(self, call: Call, attempts: int | None = None) -> Any:
        """The JSON value of a reply; None when the server has nothing to say (204).

        Raises:
            ClientError: see `errors`.
        """
        return self.run(call, self._read_json, attempts)

    def run(self, call: Call, consume: Callable[[Reply], T], attempts: int | None = None) -> T:
        """Send a request and have its answer read, with retries when it may be repeated.

        Args:
            call: a request; one that changes something is given an Idempotency-Key unless it has one.
            consume: reads the reply's body; is called anew at each attempt.
            attempts: at most; `limits.attempts` when None.
        """
        call = with_key(call)
        return self.retry(lambda: self.once(call, consume), attempts if call.repeatable else 1)

    def retry(self, work: Callable[[], T], attempts: int | None = None) -> T:
        """Do something that may be repeated until it succeeds, fails for good, or was tried often enough."""
        most = self.limits.attempts if attempts is None else attempts
        for attempt in range(1, most):
            try:
                return work()
            except ClientError as problem:
                if not problem.temporary or self._stopped.is_set():
                    raise
                _log.info("attempt %d of %d failed (%s)", attempt, most, type(problem).__name__)
                self._pause(attempt, problem)
        return work()

    def once(self, call: Call, consume: Callable[[Reply], T]) -> T:
        """One attempt; raises ClientError."""
        seconds = self.limits.total_seconds + call.extra_seconds
        with Deadline(seconds) as deadline:
            try:
                with closing(self._send(call)) as response:
                    return self._receive(call, response, consume, deadline)
            except (requests.RequestException, OSError) as problem:
                if deadline.expired:
                    raise timed_out(self.address) from None
                raise from_exception(problem, self.address) from None
            except ConnectionLost:
                if deadline.expired:
                    raise timed_out(self.address) from None
                raise

    def _send(self, call: Call) -> requests.Response:
        body = json.dumps(call.json, allow_nan=False).encode() if call.json is not None else call.body
        kind = "application/json" if call.json is not None else "application/octet-stream"
        headers = {PROTOCOL_HEADER: PROTOCOL, "Accept-Encoding": "gzip, deflate", **call.headers}
        if body is not None:
            headers["Content-Type"] = kind
        return self._session.request(
            call.method,
            self.address.url + call.path,
            params=dict(call.query),
            # A file is sent block by block, each with its own time-out; bytes would have to leave in one.
            data=None if body is None else io.BytesIO(body),
            headers=headers,
            timeout=(self.limits.connect_seconds, self.limits.read_seconds + call.extra_seconds),
            # Given with each request, because requests prefers the environment to what the session says.
            verify=self._verify,
            allow_redirects=False,
            stream=True,
        )

    def _receive(
        self, call: Call, response: requests.Response, consume: Callable[[Reply], T], deadline: Deadline
    ) -> T:
        reply = Reply(response, _ticker(deadline) if call.large else _nothing, call.method == "HEAD")
        problem = foreign(reply.status, reply.headers, self.address)
        if problem is not None:
            raise problem
        if reply.status >= 400:
            body = reply.read(_LONGEST_PROBLEM)
            raise refusal(reply.status, reply.headers, body)
        return consume(reply)

    def _read_json(self, reply: Reply) -> Any:
        body = reply.read(self.limits.reply_bytes)
        if reply.status == 204 or not body:
            return None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise ProtocolError("The server's answer is not JSON.", "Tell whoever runs the server.") from None

    def _pause(self, attempt: int, problem: ClientError) -> None:
        bound = min(self.limits.longest_pause, self.limits.first_pause * 2 ** (attempt - 1))
        # Full jitter: many clients that lost the same server do not come back in step.
        seconds = random.uniform(0, bound)
        if isinstance(problem, ServerProblem) and problem.retry_after is not None:
            seconds += min(problem.retry_after, self.limits.longest_pause)
        if self._stopped.wait(seconds):
            raise Cancelled("Stopped while waiting for the server.")


class _Bearer(requests.auth.AuthBase):
    """Puts the token into each request; as an `auth` it also keeps requests from looking into ~/.netrc."""

    def __init__(self, token: str) -> None:
        # No message here may show the token, not even a wrong one.
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise NotAuthorised(
                "The token is empty or holds characters that no token has.", "Copy it again, without blanks."
            )
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _session(auth: _Bearer, trust_environment: bool) -> requests.Session:
    session = requests.Session()
    session.auth = auth
    # A proxy from the environment has no business between this machine and itself.
    session.trust_env = trust_environment
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, WatchedAdapter())
    return session


def with_key(call: Call) -> Call:
    """The call with an Idempotency-Key, if it changes something and has none."""
    if call.repeatable:
        return call
    headers = {**call.headers, "Idempotency-Key": str(uuid.uuid4())}
    return Call(
        call.method, call.path, call.query, call.json, call.body, headers, call.extra_seconds, call.large
    )


def _ticker(deadline: Deadline) -> Callable[[], None]:
    pieces = 0

    def tick() -> None:
        nonlocal pieces
        pieces += 1
        if pieces % 8 == 0:
            deadline.renew()

    return tick


def _nothing() -> None:
    pass
