"""Starting a server on a data folder, or joining the one that works there."""

from __future__ import annotations

import getpass
import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from NNActiveLogic.local.errors import Cancelled, LocalError
from NNActiveLogic.local.files import FileLock, explained, held, private_folder, tail, write_whole
from NNActiveLogic.local.processes import end_group, launch
from NNActiveLogic.local.values import Found, Progress, Report, Running, Stage, Wish

LOG, TOKEN, USERS = "server.log", "token", "users"
ABOUT, SUPERVISOR_LOCK = "server.json", "supervisor.lock"
"""Of a server in its data folder: where it listens, and a file that it keeps locked while it works."""
START_SECONDS = 180.0
"""A training that still saves its state may keep the server before from ending for a minute."""
_LOOK_SECONDS = 0.1
_LOG_BYTES = 8 << 20
_UNKNOWN_TOKEN = 401


@dataclass(frozen=True, slots=True)
class Announced:
    """What a server says of itself in its data folder: its address, and whether it ends with its users."""

    url: str
    ends_with: str


@dataclass(frozen=True, slots=True)
class Starter:
    """What a start needs.

    Attributes:
        folder: our own; log, token and users lie there.
        data: folder of the server's data.
        environment: variables for the server.
    """

    folder: Path
    data: Path
    environment: Mapping[str, str]

    @property
    def users(self) -> Path:
        """Folder with a locked file for each Slicer that uses the server."""
        return self.folder / USERS

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self.folder / LOG

    def alive(self) -> bool:
        """Whether a server works on the data folder."""
        return held(self.data / SUPERVISOR_LOCK)

    def join(
        self, found: Found, report: Report, cancelled: Wish
    ) -> tuple[Running, subprocess.Popen[bytes] | None]:
        """The server that answers, and its process when we started it.

        The caller counts as a user already.

        Raises:
            Cancelled: the user asked to stop.
            LocalError: it does not start; says why.
        """
        with explained(self.folder), _one_at_a_time(self.folder, cancelled):
            private_folder(self.data)
            return _Attempt(self, found, report, cancelled, time.monotonic() + START_SECONDS).run()


@dataclass(slots=True)
class _Attempt:
    starter: Starter
    found: Found
    report: Report
    cancelled: Wish
    ends: float
    process: subprocess.Popen[bytes] | None = None

    def run(self) -> tuple[Running, subprocess.Popen[bytes] | None]:
        try:
            token = _kept(self.starter.folder) or self._new_token()
            while True:
                self._look()
                said = announced(self.starter.data) if self.starter.alive() else None
                answer = _health(said.url, token) if said else None
                if said is not None and answer == _UNKNOWN_TOKEN:
                    token = self._new_token()
                elif said is not None and answer == requests.codes.ok:
                    ours = bool(said.ends_with) and Path(said.ends_with) == self.starter.users
                    return Running(said.url, token, self.starter.log, ours), self.process
                time.sleep(_LOOK_SECONDS)
        except BaseException:
            if self.process is not None:
                end_group(self.process)
            raise

    def _look(self) -> None:
        """Begin a server when none works here, and see whether ours still lives."""
        if self.cancelled():
            raise Cancelled("Stopped on request.")
        if time.monotonic() > self.ends:
            raise self._died("does not answer")
        if self.process is not None:
            if self.process.poll() is not None:
                raise self._died("ended at once")
            return
        if self.starter.alive():
            self.report(Progress(Stage.START, "joining the one that runs"))
        else:
            self.report(Progress(Stage.START))
            self.process = self._launch()

    def _launch(self) -> subprocess.Popen[bytes]:
        starter = self.starter
        if starter.log.exists() and starter.log.stat().st_size > _LOG_BYTES:
            starter.log.replace(starter.log.with_suffix(".before.log"))
        options = ["--data", str(starter.data), "--port", "0", "--end-with", str(starter.users)]
        return launch([*self.found.command, "serve", *options], starter.environment, starter.log)

    def _new_token(self) -> str:
        """A token for whoever sits here; what they answer is stored under this name."""
        wanted = ["create", "--name", _user(), "--role", "admin"]
        secret, said = self._token(wanted)
        # The one of this name was lost. That of a server which somebody runs for others is left alone.
        if not secret and not self._of_others() and not self._token(["revoke", _user()])[1]:
            secret, said = self._token(wanted)
        if not secret:
            raise LocalError(
                f"The server makes no token: {said}",
                f"Look at the folder {self.starter.data}, or choose another one for the server's data.",
            )
        write_whole(self.starter.folder / TOKEN, secret)
        return secret

    def _token(self, words: Sequence[str]) -> tuple[str, str]:
        """The secret in the answer, if there is one, and what went wrong, if anything did."""
        done = subprocess.run(
            [*self.found.command, "token", *words, "--data", str(self.starter.data), "--json"],
            env=dict(self.starter.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        try:
            document = json.loads(done.stdout)
            return str(document.get("token", "")), str(document.get("error", ""))
        except (ValueError, AttributeError):
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            return "", _plain(said[-1]) if said else "no answer"

    def _of_others(self) -> bool:
        said = announced(self.starter.data) if self.starter.alive() else None
        return said is not None and not said.ends_with

    def _died(self, how: str) -> LocalError:
        lines = [line for line in tail(self.starter.log, 20) if line.strip()]
        errors = [line for line in lines if line.startswith("Error: ")]
        last = _plain(errors[-1]) if errors else " / ".join(lines[-3:])
        return LocalError(
            f"The server {how}: {last or 'it wrote nothing'}", f"Its log is {self.starter.log}."
        )


def announced(data: Path) -> Announced | None:
    """What the server of a data folder says of itself; None when it says nothing, or not yet."""
    try:
        document = json.loads((data / ABOUT).read_text("utf-8"))
        return Announced(str(document["url"]), str(document.get("end_with") or ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@contextmanager
def _one_at_a_time(folder: Path, cancelled: Wish) -> Iterator[None]:
    """Two Slicers that start at the same moment get one server."""
    lock = FileLock(private_folder(folder) / "start.lock")
    while not lock.take():
        if cancelled():
            raise Cancelled("Stopped on request.")
        time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        lock.give_back()


def _health(url: str, token: str) -> int:
    """Status of the answer; 0 when there is none."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy between this computer and itself
        try:
            headers = {"Authorization": f"Bearer {token}"}
            return session.get(
                f"{url}/v1/health", headers=headers, timeout=5.0, allow_redirects=False
            ).status_code
        except requests.RequestException:
            return 0


def _kept(folder: Path) -> str:
    try:
        return (folder / TOKEN).read_text("utf-8").strip()
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "this computer"


def _plain(line: str) -> str:
    return line.removeprefix("Error: ").strip()
