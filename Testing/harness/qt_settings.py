"""`qt.QSettings` in a file of the test's own, read back as after a restart of the application."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from PySide6 import QtCore

_folder = tempfile.TemporaryDirectory(prefix="no-settings-")


def file_of_settings() -> Path:
    """Where the settings of this process lie."""
    return Path(_folder.name) / "settings.ini"


class Settings(QtCore.QSettings):
    """Values come back as text, as from the .ini file of a later session; a list of one text as that text."""

    def __init__(self, *_application: Any) -> None:
        super().__init__(str(file_of_settings()), QtCore.QSettings.Format.IniFormat)

    def value(self, key: str, default: Any = None) -> Any:
        """Text, list of texts, or the default as it was given."""
        if not QtCore.QSettings.contains(self, key):
            return default
        return _as_read(QtCore.QSettings.value(self, key))


def _as_read(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        texts = [str(_as_read(one)) for one in value]
        return texts[0] if len(texts) == 1 else texts or None
    return value


def forget() -> None:
    """Start the next test with no settings."""
    settings = Settings()
    settings.clear()
    settings.sync()
