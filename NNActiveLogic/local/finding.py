"""A server that is installed on this computer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from NNActiveLogic.local.environment import resolve
from NNActiveLogic.local.processes import ask
from NNActiveLogic.local.values import COMMAND, Found

MARKER = "server.json"
_VERSION = re.compile(r"\d+(\.\w+)+")


def find(folder: Path, environment: Mapping[str, str], command: Path | None) -> Found | None:
    """The server to use: the one that was named, our own, or one on the PATH; None when there is none.

    Servers too old to tell their version do not end with Slicer either, and are passed over.

    Args:
        folder: our own.
        environment: cleaned.
        command: a program `nnactive` that was named.
    """
    own = _own(folder)
    candidates = [*([command] if command else []), *([own] if own else []), *resolve(COMMAND, environment)]
    for candidate in candidates:
        version = version_of((str(candidate),), environment)
        if version is not None:
            return Found((str(candidate),), version, private=candidate == own)
    return None


def version_of(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """What `nnactive --version` says; None when it does not work."""
    words = (ask([*command, "--version"], environment) or "").split()
    return words[-1] if len(words) == 2 and _VERSION.fullmatch(words[-1]) else None


def program_of(place: Path, name: str = COMMAND) -> Path:
    """A program of a virtual environment."""
    return place / "Scripts" / f"{name}.exe" if os.name == "nt" else place / "bin" / name


def _own(folder: Path) -> Path | None:
    try:
        name = json.loads((folder / MARKER).read_text("utf-8"))["environment"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    program = program_of(folder / "environments" / Path(str(name)).name)
    return program if program.is_file() else None
