"""What belongs to this computer and this user: kept in the application's settings, never in a scene."""

from __future__ import annotations

from pathlib import Path

import qt

_GROUP = "NNActive"
_FOLDER = "folder"


class Settings:
    """`presenter.connection.Settings` on QSettings; values are texts."""

    def __init__(self) -> None:
        # The panel asks some twenty times for each patch, and Qt looks for the file whenever one is made.
        self._store = qt.QSettings()

    def get(self, key: str) -> str | None:
        """A value, or None."""
        found = self._store.value(f"{_GROUP}/{key}")
        return None if found is None else str(found)

    def set(self, key: str, value: str) -> None:
        """Keep a value."""
        self._store.setValue(f"{_GROUP}/{key}", value)

    def folder(self) -> Path:
        """Where unsent answers wait: in the user's own files, so that an update of Slicer loses none."""
        chosen = self.get(_FOLDER)
        home = qt.QStandardPaths.writableLocation(qt.QStandardPaths.AppDataLocation)
        return Path(chosen) if chosen else Path(home) / _GROUP
