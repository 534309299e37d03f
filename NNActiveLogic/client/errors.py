"""What can go wrong between Slicer and the server, by layer, in sentences for the person at the screen.

    ClientError
    ├── BadAddress            the address cannot be one
    ├── Unreachable           no answer came back
    │   ├── HostNotFound        the name is not known
    │   ├── ConnectionRefused   nothing listens there
    │   ├── TlsProblem          the certificate or the encryption
    │   ├── TimedOut            too slow, or silent
    │   ├── ConnectionLost      broken off half way
    │   ├── ProxyPage           something in between answered
    │   └── Redirected          somebody sends us to another address
    ├── ProtocolError         an answer that is not understood
    │   ├── NotNNActive         another program listens there
    │   ├── WrongVersion        server and extension do not fit
    │   └── TooLarge            more than may be received
    ├── Refused               the server understood and said no
    │   ├── NotAuthorised, Forbidden, NotFoundOnServer
    │   └── Conflict            the server is in another state; carries it
    │       └── Leased          somebody else works on the patch
    ├── ServerProblem         the server failed
    ├── OutboxError           the file of unsent answers
    └── Cancelled             the user asked to stop

A message has two parts: what failed, and what to do. Neither ever holds a token or voxels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class ClientError(Exception):
    """Root of every error the client raises on purpose.

    Attributes:
        what: what failed, one sentence.
        advice: what to do, one sentence; may be empty.
        layer: which layer failed, one word.
        temporary: trying the same again later may help.
    """

    layer: ClassVar[str] = "client"
    temporary: bool = False

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"{what} {advice}".strip())
        self.what = what
        self.advice = advice


class BadAddress(ClientError):
    """The server's address, or a value that goes into it, cannot be used."""

    layer = "address"


class Unreachable(ClientError):
    """No answer of the server came back."""

    layer = "network"
    temporary = True


class HostNotFound(Unreachable):
    """The name in the address is not known."""

    layer = "DNS"


class ConnectionRefused(Unreachable):
    """Nothing listens at the address."""

    layer = "TCP"


class TlsProblem(Unreachable):
    """The encrypted connection could not be set up: mostly the certificate."""

    layer = "TLS"
    temporary = False


class TimedOut(Unreachable):
    """No answer in time."""

    layer = "time-out"


class ConnectionLost(Unreachable):
    """The connection broke before the answer was complete."""

    layer = "connection"


class ProxyPage(Unreachable):
    """A program between here and the server answered in its place."""

    layer = "proxy"


class Redirected(Unreachable):
    """The answer sends the caller to another address; that is never followed, the token stays here."""

    layer = "proxy"
    temporary = False


class ProtocolError(ClientError):
    """The answer is not what was agreed; the message names the key or header."""

    layer = "protocol"


class NotNNActive(ProtocolError):
    """Something answers, but it is not an NNActive server."""


class WrongVersion(ProtocolError):
    """Server and extension speak different versions of the protocol."""

    layer = "version"


class TooLarge(ProtocolError):
    """The answer is larger than may be received."""


class Refused(ClientError):
    """The server understood the request and refuses it; the same again will be refused again.

    Attributes:
        status: HTTP status.
        code: machine word of the problem document; may be empty.
        document: the whole problem document.
    """

    layer = "request"

    def __init__(
        self,
        what: str,
        advice: str = "",
        *,
        status: int = 0,
        code: str = "",
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(what, advice)
        self.status = status
        self.code = code
        self.document: Mapping[str, Any] = document or {}


class NotAuthorised(Refused):
    """The token is missing, wrong or revoked."""

    layer = "token"


class Forbidden(Refused):
    """The token is good, but its role may not do this."""

    layer = "role"


class NotFoundOnServer(Refused):
    """There is nothing of this id on the server, or not yet."""


class Conflict(Refused):
    """The server is in another state than was thought."""

    layer = "conflict"

    @property
    def current(self) -> Any:
        """What the server holds instead, for example the newest answer; None when it did not say."""
        return self.document.get("current")


class Leased(Conflict):
    """Somebody else works on the patch."""

    @property
    def holder(self) -> str:
        """Who; empty when the server did not say."""
        return str(self.document.get("holder") or "")

    @property
    def expires(self) -> float | None:
        """When their lease ends unless it is renewed, in seconds since 1970."""
        value = self.document.get("expires")
        return float(value) if isinstance(value, int | float) else None


class ServerProblem(ClientError):
    """The server failed.

    Attributes:
        status: HTTP status.
        code: machine word of the problem document; may be empty.
        retry_after: seconds the server asks to wait, or None.
    """

    layer = "server"
    temporary = True

    def __init__(
        self,
        what: str,
        advice: str = "",
        *,
        status: int = 500,
        code: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what, advice)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class OutboxError(ClientError):
    """The file that keeps unsent answers cannot be used."""

    layer = "outbox"


class Cancelled(ClientError):
    """The user asked to stop; what was finished so far stays."""
