"""Where the results of a cycle lie, whose they are, and that only one process works on them."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json, write_json

LOCK = ".lock"
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class CycleFolder:
    """The files of one cycle, in the order in which they appear.

    Attributes:
        root: the project.
        number: of the cycle, from 0.
    """

    root: Path
    number: int

    @property
    def path(self) -> Path:
        """The folder."""
        return self.root / f"cycle_{self.number:03d}"

    @property
    def settings(self) -> Path:
        """What was asked for; see `claim`."""
        return self.path / "settings.json"

    @property
    def costs(self) -> Path:
        """Seconds per stage and peak memory; see `Clock`."""
        return self.path / "costs.json"

    @property
    def labels(self) -> Path:
        """Written when the engine has read all new annotations."""
        return self.path / "labels.json"

    @property
    def members(self) -> Path:
        """The trained ensemble; the engine decides what is in it."""
        return self.path / "members"

    @property
    def training(self) -> Path:
        """Written when all members are trained."""
        return self.path / "training.json"

    @property
    def shortages(self) -> Path:
        """How many patches were asked for, and which groups fell short."""
        return self.path / "shortages.json"

    @property
    def queries(self) -> Path:
        """The proposal; with it the cycle is complete."""
        return self.path / "queries.json"

    def candidates(self, case: str) -> Path:
        """What a case of the pool offers; there only until the query is made."""
        return self.path / "candidates" / f"{case}.json"

    def maps(self, case: str) -> Path:
        """Prediction and predictive entropy of a case; after the query only of cases it chose."""
        return self.path / "maps" / f"{case}.npz"


def claim(path: Path, settings: Mapping[str, Any]) -> None:
    """Write down with which settings a folder was begun, or check that they are still the same.

    Raises:
        LoopError: begun with other settings, naming each that differs.
    """
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, wanted)
        return
    old, new = _flat(read_json(path, LoopError)), _flat(wanted)
    differ = [
        f"{key} was {_short(old.get(key))}, now {_short(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if differ:
        raise LoopError(
            f"{path}: begun with other settings ({'; '.join(differ)}); "
            "continue with the same ones, or choose another folder"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as one, with dots in the names."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


@contextmanager
def project_lock(root: Path) -> Iterator[None]:
    """Let no other process work on this folder inside the block; a killed one leaves no lock behind.

    Raises:
        LoopError: another process works on it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LoopError(
                f"{root}: another process is working in this folder; wait for it or choose another folder"
            ) from None
        yield
