"""The server on this computer: found, set up, started, and ended with the last Slicer that uses it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from NNActiveLogic.local import installing, starting
from NNActiveLogic.local.environment import clean
from NNActiveLogic.local.errors import Busy, LocalError
from NNActiveLogic.local.files import FileLock, Users, explained, private_folder, remove, tail
from NNActiveLogic.local.finding import find
from NNActiveLogic.local.interpreter import find_python
from NNActiveLogic.local.machine import graphics_card, this_machine
from NNActiveLogic.local.values import Found, Needs, Report, Running, Sources, Wish

_LOOK_SECONDS = 0.05
_BURY_SECONDS = 10.0
"""Between giving its lock back and its end a server has nothing left to do."""


class LocalServer:
    """A server in a folder of its own. All methods may take long, except where it says otherwise.

    Several Slicers of one user share the folder and one running server. It ends by itself soon after the last
    of them stopped using it or died.

    Args:
        folder: everything is put there; it is made when missing. Not inside Slicer's own folder.
        environment: variables, best those that Slicer was started with; what is Slicer's is taken out.
        sources: where the server comes from.
        data: folder of the server's data; `folder/data` when not given.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        sources: Sources | None = None,
        data: Path | None = None,
    ) -> None:
        self.folder, self.sources = folder.resolve(), sources or Sources()
        self.data = (data or folder / "data").resolve()
        self.environment = clean(environment)
        self._starter = starting.Starter(self.folder, self.data, self.environment)
        self._users = Users(self._starter.users)
        self._process: subprocess.Popen[bytes] | None = None
        self._found: Found | None = None
        self._log: Path | None = None

    @property
    def log_file(self) -> Path | None:
        """What set-up or server write; None before either. At once."""
        return self._log

    def tail(self, lines: int) -> tuple[str, ...]:
        """The last lines of the log."""
        return tail(self._log, lines)

    def find(self) -> Found | None:
        """A server that is installed and works; None when there is none."""
        self._found = find(self.folder, self.environment, self.sources.command)
        return self._found

    def needs(self) -> Needs:
        """What a set-up takes.

        Raises:
            LocalError: the server does not run on this kind of computer.
        """
        return self._plan().needs()

    def set_up(self, report: Report, cancelled: Wish) -> Found:
        """Install a server in our folder; a running one goes on with what it has.

        An attempt that was interrupted, even by a power cut, is never taken for a finished one; the next one
        uses what was downloaded.

        Args:
            report: told of the progress, on this thread.
            cancelled: asked several times a second.

        Raises:
            Busy: another Slicer sets it up just now.
            Offline, NoSpace, Damaged, Cancelled, LocalError: see there.
        """
        plan = self._plan()
        with explained(self.folder):
            lock = FileLock(private_folder(self.folder) / "set-up.lock")
            if not lock.take():
                raise Busy("Another Slicer on this computer sets the server up just now.", "Wait for it.")
        try:
            self._log = self.folder / installing.LOG
            self._tidy()
            self._found = installing.install(plan, report, cancelled)
            return self._found
        finally:
            lock.give_back()

    def start(self, report: Report, cancelled: Wish) -> Running:
        """Start the server that was found or set up, or join the one that works on the data folder.

        Args:
            report: told of the progress, on this thread.
            cancelled: asked several times a second.

        Raises:
            Cancelled: the user asked to stop.
            LocalError: nothing is installed, or it does not start; says why, with the end of its log.
        """
        found = self._found or self.find()
        if found is None:
            raise LocalError("No server is installed on this computer.", "Set one up first.")
        self._log = self._starter.log
        with explained(self.folder):
            private_folder(self.folder)
            self._users.enter()
        try:
            running, process = self._starter.join(found, report, cancelled)
        except BaseException:
            self._users.leave()
            raise
        self._process = process or self._process
        return running

    def alive(self) -> bool:
        """Whether the server still works. Quick."""
        if self._process is not None:
            self._process.poll()  # buries it
        return self._starter.alive()

    def stop(self, seconds: float) -> bool:
        """Use the server no more, and wait for its end; a training saves its state first.

        Returns:
            Whether it has ended. It goes on while another Slicer uses it, or when none started it.
        """
        self.release()
        ends = time.monotonic() + seconds
        while self._ending() and time.monotonic() < ends:
            time.sleep(_LOOK_SECONDS)
        ended = not self.alive()
        if ended and self._process is not None:
            self._process.wait(_BURY_SECONDS)
            self._process = None
        return ended

    def release(self) -> None:
        """Use the server no more; it ends by itself unless another Slicer uses it. At once."""
        self._users.leave()

    def _ending(self) -> bool:
        said = starting.announced(self.data)
        stays = said is not None and said.ends_with != str(self._starter.users)
        return self.alive() and not stays and not self._users.others()

    def _plan(self) -> installing.Plan:
        machine = this_machine(self.environment)
        machine.check()
        card = graphics_card(self.environment)
        return installing.Plan(
            folder=self.folder,
            environment=self.environment,
            sources=self.sources,
            machine=machine,
            card=card if card is not None and card.usable else None,
            python=find_python(self.environment, machine, installing.versions(self.sources)),
        )

    def _tidy(self) -> None:
        # A running server may be one of an environment before; nobody can tell which.
        if not self._starter.alive():
            for one in installing.leftovers(self.folder):
                remove(one)
