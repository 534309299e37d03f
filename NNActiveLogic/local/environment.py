"""Environment variables for programs that are not Slicer's: its own libraries and Python must not get in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_PREFIXES = (
    "PYTHON",
    "DYLD_",
    "QT_",
    "QML",
    "VTK",
    "ITK_",
    "CTK",
    "SLICER",
    "APPLAUNCHER",
    "CONDA",
    "_CONDA",
)
_NAMES = frozenset(
    {
        "LD_PRELOAD",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
        "TCL_LIBRARY",
        "TK_LIBRARY",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_ROOT",
        "PIP_USER",
        "PIP_REQUIRE_VIRTUALENV",
        "PIP_NO_DEPS",
        "PIP_LOG",
    }
)
_LISTS = ("PATH", "LD_LIBRARY_PATH")
_OWN = {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PIP_NO_INPUT": "1"}


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """What a program outside Slicer is to see.

    Proxies and the settings of pip stay. Without `SLICER_HOME` nobody knows which libraries are Slicer's, and
    `LD_LIBRARY_PATH` goes.

    Args:
        environment: of this process, or the one that Slicer was started with.
    """
    home = environment.get("SLICER_HOME", "")
    kept = {name: value for name, value in environment.items() if _foreign(name, value, home)}
    for name in _LISTS:
        if name in kept:
            kept[name] = os.pathsep.join(part for part in kept[name].split(os.pathsep) if _apart(part, home))
    if not home or not kept.get("LD_LIBRARY_PATH"):
        kept.pop("LD_LIBRARY_PATH", None)
    return kept | _OWN


def _foreign(name: str, value: str, home: str) -> bool:
    upper = name.upper()
    if upper in _NAMES or upper.startswith(_PREFIXES):
        return False
    return name in _LISTS or os.pathsep in value or _apart(value, home)


def _apart(part: str, home: str) -> bool:
    """Whether a path does not lie in Slicer's folder."""
    if not home or not part:
        return bool(part)
    inside = os.path.normcase(os.path.normpath(home))
    path = os.path.normcase(os.path.normpath(part))
    return path != inside and not path.startswith(inside.rstrip("/\\") + os.sep)


def resolve(name: str, environment: Mapping[str, str]) -> list[Path]:
    """All programs of this name on the PATH, the first one first; none when there is none."""
    endings = environment.get("PATHEXT", ".EXE").split(os.pathsep) if os.name == "nt" else [""]
    folders = [Path(part) for part in environment.get("PATH", "").split(os.pathsep) if part]
    files = [folder / f"{name}{ending.lower()}" for folder in folders for ending in endings]
    return [file for file in dict.fromkeys(files) if file.is_file() and os.access(file, os.X_OK)]
