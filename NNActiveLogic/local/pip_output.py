"""What pip says while it works: how far it is, and why it gave up."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from pathlib import Path

from NNActiveLogic.local.download import offline
from NNActiveLogic.local.errors import Damaged, LocalError
from NNActiveLogic.local.files import full
from NNActiveLogic.local.values import Progress, Report, Sources, Stage

BEGIN, DOWNLOADED, INSTALLED = 0.1, 0.7, 0.95
"""Share of the whole set-up that is done when pip begins, when all is there, and when it ends."""
_KEPT = 400
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_COLLECTING = re.compile(r"Collecting ([\w.-]+)")
_FILE = re.compile(r"\s*(Downloading|Using cached) (\S+) \(([\d.]+) ([kMG]?B)\)")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_FULL = re.compile(
    r"No space left on device|Errno 28\b|Disk quota exceeded|not enough space on the disk", re.I
)
_OFFLINE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|Max retries exceeded"
    r"|ProxyError|Network is unreachable|Could not fetch URL|ConnectionResetError|SSLError"
    r"|CERTIFICATE_VERIFY_FAILED"
)
_MISSING = re.compile(r"(?:No matching distribution found for|satisfies the requirement) (\S+)")
_DAMAGED = re.compile(
    r"DO NOT MATCH THE HASHES|is invalid|invalid wheel|BadZipFile|not a supported wheel|not a zip file"
    r"|Error -3 while decompressing|is not a valid wheel|bad CRC",
    re.I,
)
_ERROR = re.compile(r"^(?:ERROR|error): (.*)")


class PipOutput:
    """Listens to pip.

    Args:
        report: told of the progress.
        expected_bytes: about as much is downloaded in all; 0 when nothing is.
    """

    def __init__(self, report: Report, expected_bytes: int) -> None:
        self._report, self._expected = report, expected_bytes
        self._stage, self._detail = Stage.DOWNLOAD, ""
        self._before, self._file, self._file_bytes = 0, 0, 0
        self._lines: deque[str] = deque(maxlen=_KEPT)

    def heard(self, line: str) -> None:
        """One line of output."""
        if found := _PROGRESS.match(line):
            self._file = int(found[1])
        else:
            self._lines.append(line)
            self._read(line)
        self._report(Progress(self._stage, self._detail, self._fraction()))

    def problem(self, sources: Sources, folder: Path) -> LocalError:
        """Why it failed, for people.

        Args:
            sources: where the server was to come from.
            folder: that was written to.
        """
        text = "\n".join(self._lines)
        if _FULL.search(text):
            return full(folder)
        if sources.wheels is None and _OFFLINE.search(text):
            return offline("The package index")
        if found := _DAMAGED.search(text):
            line = next(line for line in self._lines if found[0] in line)
            return Damaged(f"A package cannot be used: {_plain(line)}", _again(sources))
        if missing := _MISSING.search(text):
            return _not_there(missing[1], sources)
        errors = [found[1] for line in self._lines if (found := _ERROR.match(line))]
        last = errors[-1] if errors else next((line for line in reversed(self._lines) if line.strip()), "")
        return LocalError(f"The server could not be installed: {last.strip()}", "The log says more.")

    def _read(self, line: str) -> None:
        if found := _FILE.match(line):
            self._end_file()
            self._detail, self._file_bytes = found[2].split("-")[0], _octets(found[3], found[4])
            if found[1] == "Using cached":
                self._end_file()
        elif found := _COLLECTING.match(line):
            self._end_file()
            self._detail = found[1]
        elif line.startswith("Installing collected packages"):
            self._end_file()
            self._stage, self._detail = Stage.INSTALL, ""

    def _end_file(self) -> None:
        self._before += max(self._file_bytes, self._file)
        self._file = self._file_bytes = 0

    def _fraction(self) -> float | None:
        if self._stage == Stage.INSTALL:
            return DOWNLOADED
        if not self._expected:
            return None
        return BEGIN + (DOWNLOADED - BEGIN) * min(1.0, (self._before + self._file) / self._expected)


def octets_reporter(report: Report, stage: Stage, begin: float, end: float) -> Callable[[int, int], None]:
    """A callback for downloads that tells the progress of a stage between two shares of the whole."""

    def seen(there: int, total: int) -> None:
        share = begin + (end - begin) * there / total if total else None
        report(Progress(stage, f"{there / 1e6:.0f} MB", share))

    return seen


def _octets(number: str, unit: str) -> int:
    return round(float(number) * _UNITS[unit.upper()])


def _plain(line: str) -> str:
    return re.sub(r"^\s*(ERROR|WARNING): ", "", line).strip()


def _again(sources: Sources) -> str:
    if sources.wheels is not None:
        return f"Check the files in {sources.wheels}; copy them anew."
    return "Try again: it is downloaded anew."


def _not_there(name: str, sources: Sources) -> LocalError:
    name = name.split("(")[0].rstrip(",;")
    if sources.wheels is not None:
        return LocalError(
            f"The folder {sources.wheels} lacks {name}, or has it for another computer or Python only.",
            "Fill the folder with 'pip wheel' on a computer of the same kind, with the same Python.",
        )
    return LocalError(
        f"The package index does not offer {name} for this computer.",
        "Set the server up from a folder of wheel files, or use a server on another computer.",
    )
