"""A Python for the server: one of this computer's, or one that is downloaded. Never Slicer's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from NNActiveLogic.local.download import at_hand, fetch, unpack
from NNActiveLogic.local.environment import resolve
from NNActiveLogic.local.errors import Damaged, LocalError
from NNActiveLogic.local.machine import Machine
from NNActiveLogic.local.processes import ask
from NNActiveLogic.local.values import Archive, Wish

VERSIONS = ((3, 12), (3, 11))
"""The server runs on these; the first is what is downloaded."""
DOWNLOAD_BYTES, DISK_BYTES = 35 << 20, 150 << 20
_NAMES = ("python3.12", "python3.11", "python3", "python")
_PLACES = (
    "/usr/local/bin",
    "/usr/bin",
    "/opt/homebrew/bin",
    "/Library/Frameworks/Python.framework/Versions/3.12/bin",
    "/Library/Frameworks/Python.framework/Versions/3.11/bin",
)
_RELEASE = "https://github.com/astral-sh/python-build-standalone/releases/download/20260814/cpython-3.12.14%2B20260814"
STANDALONE: Mapping[Machine, Archive] = {
    Machine("linux", "x86_64"): Archive(
        f"{_RELEASE}-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz",
        "5acfa3e9ba26b51ae161c83aff278da915b590d22373a424b2ba55b8afe91fcc",
    ),
    Machine("linux", "arm64"): Archive(
        f"{_RELEASE}-aarch64-unknown-linux-gnu-install_only_stripped.tar.gz",
        "2d8e17dfd732102cfeb18e0e1fa6769b24caa034e159981129590fe409c7157a",
    ),
    Machine("darwin", "arm64"): Archive(
        f"{_RELEASE}-aarch64-apple-darwin-install_only_stripped.tar.gz",
        "dd5b76ab11451a4a4367c17c61d944dded56b425396b07f102922a7ebef7d55f",
    ),
}
"""A Python that needs nothing of the system, for each kind of computer the server runs on."""

# `-I`: neither the working folder nor variables decide what is imported. What makes an environment must be
# there: Debian leaves ensurepip out unless python3-venv is installed.
_QUESTION = """
import ensurepip, json, platform, ssl, sys, venv
print(json.dumps([list(sys.version_info[:2]), platform.machine().lower(), sys.maxsize > 2**32,
    getattr(sys, "_base_executable", None) or sys.executable]))
"""


def find_python(
    environment: Mapping[str, str], machine: Machine, versions: Collection[tuple[int, int]] = VERSIONS
) -> Path | None:
    """A Python of this computer that the server can use, the newest that fits first; None when there is none.

    Args:
        environment: cleaned, so that Slicer's Python is not on its PATH.
        machine: kind of computer; a Python for another processor does not do.
        versions: that will do.
    """
    found = (_suitable(candidate, environment, machine, versions) for candidate in _candidates(environment))
    return next((program for program in found if program is not None), None)


def get_python(
    folder: Path,
    downloads: Path,
    archive: Archive,
    near: Path | None,
    seen: Callable[[int, int], None],
    cancelled: Wish,
) -> Path:
    """A downloaded Python; at once when it is there already.

    Args:
        folder: to put it.
        downloads: to put the archive.
        archive: which one.
        near: folder that may hold it, under the name it has on the network.
        seen: called with the bytes that are there and all of them.
        cancelled: asked now and then.

    Raises:
        Offline, NoSpace, Damaged, Cancelled: see there.
    """
    target = folder / f"python-{archive.sha256[:16]}"
    if not target.is_dir():
        file = at_hand(archive, near) or fetch(archive, downloads, seen, cancelled)
        unpack(file, target, cancelled)
    program = target / ("python.exe" if sys.platform == "win32" else "bin/python3")
    if not program.is_file():
        raise Damaged(f"{archive.url} holds no Python.", "Tell whoever maintains this extension.")
    return program


def standalone(machine: Machine) -> Archive:
    """The Python to download for a kind of computer.

    Raises:
        LocalError: there is none.
    """
    if machine not in STANDALONE:
        raise LocalError(
            f"There is no Python to download for {machine.system} on {machine.processor}.",
            "Install Python 3.12, then try again.",
        )
    return STANDALONE[machine]


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    for name in _NAMES:
        yield from resolve(name, environment)
        yield from (place / name for place in map(Path, _PLACES) if (place / name).is_file())


def _suitable(
    candidate: Path,
    environment: Mapping[str, str],
    machine: Machine,
    versions: Collection[tuple[int, int]],
) -> Path | None:
    if machine.system == "darwin" and candidate.parent == Path("/usr/bin"):
        return None  # Apple's stand-in, which opens a window that offers developer tools
    answer = ask([candidate, "-I", "-c", _QUESTION], environment)
    try:
        version, processor, wide, program = json.loads(answer or "null") or ((0, 0), "", False, "")
    except ValueError:
        return None
    fits = wide and processor in _same(machine.processor) and tuple(version) in versions
    return Path(program) if fits and Path(program).is_file() else None


def _same(processor: str) -> tuple[str, ...]:
    return ("x86_64", "amd64") if processor == "x86_64" else ("arm64", "aarch64")
