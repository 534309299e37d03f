"""What belongs to this computer and this user: kept in the application's settings, never in a scene."""

from __future__ import annotations

from pathlib import Path

import qt

_GROUP = "NNActive"
_FOLDER = "folder"


class Settings:
    """`presenter.connection.Settings` on QSettings; values are texts."""

    def get(self, key: str) -> str | None:
        """A value, or None."""
        found = qt.QSettings().value(f"{_GROUP}/{key}")
        return None if found is None else str(found)

    def set(self, key: str, value: str) -> None:
        """Keep a value."""
        qt.QSettings().setValue(f"{_GROUP}/{key}", value)

    def folder(self) -> Path:
        """Where unsent answers wait: in the user's own files, so that an update of Slicer loses none."""
        chosen = self.get(_FOLDER)
        home = qt.QStandardPaths.writableLocation(qt.QStandardPaths.AppDataLocation)
        return Path(chosen) if chosen else Path(home) / _GROUP
