"""What this computer is: its kind, its graphics card, and whether the server can run on it at all."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from NNActiveLogic.local.environment import resolve
from NNActiveLogic.local.errors import LocalError
from NNActiveLogic.local.processes import ask

OLDEST_DRIVER = 525
"""CUDA 12 needs it on Linux; CUDA 13, which the package index has, needs `NEW_DRIVER`."""
NEW_DRIVER = 580
_ELSEWHERE = "Use a server on another computer (Linux with a graphics card is best), or ask whoever runs one."


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of computer: `system` as in `sys.platform`, and the processor, `x86_64` or `arm64`."""

    system: str
    processor: str

    def check(self) -> None:
        """Whether the server can run here.

        Raises:
            LocalError: it cannot, and why.
        """
        if self.system not in ("linux", "darwin"):
            raise LocalError("The server runs on Linux and macOS, not on Windows.", _ELSEWHERE)
        if self == Machine("darwin", "x86_64"):
            raise LocalError("The server does not run on Macs with an Intel processor.", _ELSEWHERE)
        if self.processor not in ("x86_64", "arm64"):
            raise LocalError(
                f"The server does not run on processors of the kind {self.processor}.", _ELSEWHERE
            )


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card by NVIDIA: its name, and the first number of its driver's version."""

    name: str
    driver: int

    @property
    def usable(self) -> bool:
        """Whether training can use it with this driver."""
        return self.driver >= OLDEST_DRIVER


def this_machine(environment: Mapping[str, str]) -> Machine:
    """The computer we are on; an Apple processor is one even for programs made for Intel's."""
    processor = {"amd64": "x86_64", "aarch64": "arm64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if sys.platform == "darwin" and processor == "x86_64":
        found = ask(["/usr/sbin/sysctl", "-n", "hw.optional.arm64"], environment)
        processor = "arm64" if found and found.strip() == "1" else processor
    return Machine(sys.platform, processor)


def graphics_card(environment: Mapping[str, str]) -> Card | None:
    """The first NVIDIA card that its driver knows; None without card or driver."""
    places = resolve("nvidia-smi", environment)
    windows = Path(environment.get("SYSTEMROOT", "C:\\Windows")) / "System32" / "nvidia-smi.exe"
    if not places and os.name == "nt" and windows.is_file():
        places = [windows]
    if not places:
        return None
    text = ask([places[0], "--query-gpu=name,driver_version", "--format=csv,noheader"], environment)
    found = re.match(r"\s*(.+?),\s*(\d+)", text or "")
    return Card(found[1], int(found[2])) if found else None
