"""What the parts of this room tell each other and the presenter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

DISTRIBUTION = "nnactive-server"
COMMAND = "nnactive"


class Stage(StrEnum):
    """What goes on, in this order; some are left out where nothing is to be done."""

    PYTHON = "python"
    ENVIRONMENT = "environment"
    DOWNLOAD = "download"
    INSTALL = "install"
    CHECK = "check"
    START = "start"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a set-up or a start is.

    Attributes:
        stage: see `Stage`.
        detail: what is done just now, such as the name of a file; may be empty.
        fraction: of the whole, 0 to 1; None when nobody knows.
    """

    stage: Stage
    detail: str = ""
    fraction: float | None = None


Report = Callable[[Progress], None]
"""Called from the thread that does the work, many times a second at most."""
Wish = Callable[[], bool]
"""Whether the user asked to stop."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to download, and what it must be.

    Attributes:
        url: where it is.
        sha256: of its bytes, hexadecimal.
    """

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """File name for it on the disk, its own for every content."""
        return f"{self.sha256[:16]}.tar.gz"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the server comes from: the first of these that is given.

    Attributes:
        wheels: folder of wheel files with everything; nothing is downloaded then.
        checkout: folder of the server's source (it holds `pyproject.toml`).
        requirement: name, or address of a wheel, for pip.
        constraints: file of versions that fit together.
        command: a server that is installed already; used before any other.
    """

    wheels: Path | None = None
    checkout: Path | None = None
    requirement: str = DISTRIBUTION
    constraints: Path | None = None
    command: Path | None = None

    @classmethod
    def beside(cls, root: Path) -> Sources:
        """Of a module in a checkout of the repository (`root`); otherwise the package index."""
        server, constraints = root / "server", root / "constraints.txt"
        command = root / ".venv" / "bin" / COMMAND  # as `make venv` makes it
        return cls(
            command=command if command.is_file() else None,
            checkout=server if (server / "pyproject.toml").is_file() else None,
            constraints=constraints if constraints.is_file() else None,
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A server that is installed on this computer.

    Attributes:
        command: program and first arguments; what follows are arguments of `nnactive`.
        version: of the server.
        private: it lies in our own folder.
    """

    command: tuple[str, ...]
    version: str
    private: bool


@dataclass(frozen=True, slots=True)
class Needs:
    """What a set-up takes; for the question whether it may begin.

    Attributes:
        folder: everything is put there.
        download_bytes: about as much is downloaded; 0 when nothing is.
        disk_bytes: about as much room it takes.
        free_bytes: there is so much room.
        graphics: name of the graphics card that it will use; empty for none.
        source: where the server comes from, for people.
    """

    folder: Path
    download_bytes: int
    disk_bytes: int
    free_bytes: int
    graphics: str
    source: str

    @property
    def enough(self) -> bool:
        """Whether there is enough room."""
        return self.free_bytes >= self.disk_bytes


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers on this computer.

    Attributes:
        address: for clients.
        token: of this computer's user; an administrator of this server.
        log: file of what it writes.
        ours: it was started for Slicer, and ends with the last Slicer that uses it.
    """

    address: str
    token: str = field(repr=False)
    log: Path
    ours: bool
