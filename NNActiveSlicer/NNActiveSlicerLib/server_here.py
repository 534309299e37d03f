"""Where a server on this computer lies, and what it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import qt
import slicer

from NNActiveLogic.local import LocalServer, Sources
from NNActiveSlicerLib.settings import Settings

_WHEELS = "local/wheels"
_MODULE = Path(__file__).resolve().parents[1]
_SOURCES = (_MODULE / "NNActiveServer", _MODULE.parent)
"""Where the source of the server lies: beside the module when packaged, one folder up in a checkout."""


def serverHere(settings: Settings) -> LocalServer:
    """The server of this computer's user: large files, so not among those that move with a user's profile."""
    home = qt.QStandardPaths.writableLocation(qt.QStandardPaths.AppLocalDataLocation)
    # As Slicer was started: its own variables would lead another Python astray.
    return LocalServer(
        Path(home) / "NNActive" / "server", slicer.util.startupEnvironment(), _sources(settings)
    )


def useFolder(server: LocalServer, settings: Settings, wheels: Path) -> None:
    """Set the server up from a folder of wheel files, without the internet, from now on."""
    settings.set(_WHEELS, str(wheels))
    server.sources = _sources(settings)


def _sources(settings: Settings) -> Sources:
    root = next((one for one in _SOURCES if (one / "server").is_dir()), _SOURCES[0])
    found = Sources.beside(root)
    wheels = settings.get(_WHEELS)
    return replace(found, wheels=Path(wheels)) if wheels and Path(wheels).is_dir() else found
