"""Which server, as whom, and whether it can be reached just now."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.check import ConnectionReport, Step, test_connection
from NNActiveLogic.client.errors import ClientError, NotAuthorised, ServerProblem, Unreachable
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Role
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.lanes import LanesLike

_LONGEST_PAUSE = 60.0


class Settings(Protocol):
    """Where the caller keeps what belongs to this computer, such as QSettings; never in a scene."""

    def get(self, key: str) -> str | None:
        """A value, or None."""

    def set(self, key: str, value: str) -> None:
        """Keep a value."""


class State(StrEnum):
    """How the connection is."""

    NONE = "none"
    CHECKING = "checking"
    CONNECTED = "connected"
    LOST = "lost"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """What is shown of the connection.

    Attributes:
        state: see `State`.
        sentence: the same for people.
        address: as it was typed.
        steps: of the last check, layer by layer.
        name, role: whose token it is; empty before the first connection.
        version: of the server.
        can_annotate, can_administer: what the role allows.
        own: the panel itself started the server, on this very computer.
        consent: images may be sent there.
    """

    state: State
    sentence: str
    address: str
    steps: tuple[Step, ...]
    name: str
    role: str
    version: str
    can_annotate: bool
    can_administer: bool
    own: bool
    consent: bool


class Connection:
    """The connection to one server.

    Attributes:
        client: for everything else; None before the first connection.
        report: of the last check.
        regained: called when the server can be reached again.
        connected: called when a connection was made.

    Args:
        lanes: threads.
        settings: of this computer.
        changed: called when something else is to be shown.
        clock: seconds that only grow.
        limits: time and size of every call.
    """

    def __init__(
        self,
        lanes: LanesLike,
        settings: Settings,
        changed: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        limits: Limits | None = None,
    ) -> None:
        self.client: Client | None = None
        self.report: ConnectionReport | None = None
        self.regained: list[Callable[[], None]] = []
        self.connected: list[Callable[[], None]] = []
        self._lanes, self._settings, self._changed = lanes, settings, changed
        self._clock, self._limits = clock, limits
        # Of `client`: what was typed since, or did not work, is another server.
        self._used, self._own = "", False
        self._good: ConnectionReport | None = None
        self._state, self._problem = State.NONE, ""
        self._failures, self._next_try, self._asking = 0, 0.0, False

    @property
    def address(self) -> str:
        """The server's address as last typed."""
        return self._settings.get("address") or ""

    @property
    def token(self) -> str:
        """Of the user, as last typed."""
        return self._settings.get("token") or ""

    @property
    def state(self) -> State:
        """How the connection is."""
        return self._state

    @property
    def online(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._state == State.CONNECTED

    @property
    def name(self) -> str:
        """Whose token it is."""
        return self._good.person.name if self._good and self._good.person else ""

    @property
    def consent(self) -> bool:
        """Whether images may be sent: to a server of the panel's own always, elsewhere after a yes.

        An address of this computer may be the near end of a tunnel, so it says nothing.
        """
        return self._own or self._settings.get(f"consent/{self._server()}") == "yes"

    @property
    def question(self) -> str:
        """What somebody has to agree to before images are sent."""
        return words.say(words.CONSENT, address=self._server())

    def view(self) -> ConnectionView:
        """What is shown."""
        person = self._good.person if self._good else None
        role = person.role if person else ""
        known = Role(role) if role in list(Role) else None
        return ConnectionView(
            state=self._state,
            sentence=self._sentence(),
            address=self.address,
            steps=self.report.steps if self.report else (),
            name=self.name,
            role=role,
            version=self._good.health.version if self._good and self._good.health else "",
            can_annotate=known is not None and known.covers(Role.ANNOTATOR),
            can_administer=known is not None and known.covers(Role.ADMIN),
            own=self._own,
            consent=self.consent,
        )

    def agree(self, yes: bool = True) -> None:
        """Somebody answered whether images may be sent to this server."""
        self._settings.set(f"consent/{self._server()}", "yes" if yes else "no")
        self._changed()

    def connect(self, address: str, token: str, needs: Role = Role.ANNOTATOR, *, own: bool = False) -> None:
        """Check the connection layer by layer, and use it from then on when it is good.

        Args:
            address: as typed.
            token: of the user.
            needs: the least role.
            own: the panel started this server itself, so no image leaves the computer.
        """
        self._settings.set("address", address.strip())
        self._settings.set("token", token.strip())
        self._state = State.CHECKING
        url, secret = self.address, self.token

        def checked(report: ConnectionReport) -> None:
            self._checked(report, url, secret, own)

        self._lanes.submit("check", lambda _: test_connection(url, secret, needs=needs), done=checked)
        self._changed()

    def disconnect(self) -> None:
        """Forget the connection; what is typed stays."""
        if self.client is not None:
            self.client.close()
        self.client, self.report, self._state = None, None, State.NONE
        self._used, self._own, self._good = "", False, None
        self._changed()

    def failed(self, problem: Exception) -> bool:
        """A call failed. True when the server cannot be reached: then it is tried again by itself."""
        if isinstance(problem, NotAuthorised):
            self._become(State.REFUSED, problem.what)
            return False
        lost = isinstance(problem, Unreachable) or (isinstance(problem, ServerProblem) and problem.temporary)
        if lost and isinstance(problem, ClientError) and self.client is not None:
            if self._state != State.LOST:
                self._failures = 0
                self._pause()
            self._become(State.LOST, problem.what)
        return lost

    def note(self, problem: Exception) -> None:
        """As `failed`, for callbacks."""
        self.failed(problem)

    def tick(self) -> None:
        """Try again when it is time to."""
        due = self._state == State.LOST and not self._asking and self._clock() >= self._next_try
        if due and self.client is not None:
            self._asking = True
            client = self.client
            self._lanes.submit("check", lambda _: client.me(), done=self._answered, failed=self._silent)

    def try_now(self) -> None:
        """Somebody does not want to wait for the next attempt."""
        self._next_try = self._clock()
        self.tick()

    def _checked(self, report: ConnectionReport, url: str, secret: str, own: bool) -> None:
        self.report = report
        if not report.ok:
            self._state = State.NONE if self.client is None else State.LOST
            self._problem = report.sentence
            self._pause()
            self._changed()
            return
        if self.client is not None:
            self.client.close()
        self.client = Client(url, secret, limits=self._limits)
        self._used, self._own, self._good = url, own, report
        self._become(State.CONNECTED, "")
        for callback in [*self.connected]:
            callback()

    def _answered(self, _: object) -> None:
        self._asking = False
        if self._state != State.LOST:
            return
        self._failures = 0
        self._become(State.CONNECTED, "")
        for callback in [*self.regained]:
            callback()

    def _silent(self, problem: Exception) -> None:
        self._asking = False
        self._failures += 1
        self._pause()
        self.failed(problem)

    def _pause(self) -> None:
        # Many computers that lost the same server do not come back in step.
        pause = min(_LONGEST_PAUSE, 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
        self._next_try = self._clock() + pause

    def _become(self, state: State, problem: str) -> None:
        if (state, problem) != (self._state, self._problem):
            self._state, self._problem = state, problem
            self._changed()

    def _sentence(self) -> str:
        if self._state == State.CHECKING:
            return words.say(words.CONNECTING)
        if self._state == State.LOST:
            return words.say(words.LOST, what=self._problem)
        if self._state == State.REFUSED:
            return words.say(words.TOKEN_REFUSED)
        person = self._good.person if self._good else None
        if person is None:
            return words.say(words.NOT_CONNECTED) if self.report is None else self.report.sentence
        return words.say(words.CONNECTED, address=self._server(), name=person.name, role=person.role)

    def _server(self) -> str:
        return (self._used or self.address).rstrip("/")
