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
from nnactive_server.core.features import Embedding
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.mapfiles import QUERIES, cycle_path
from nnactive_server.dataset import RawDataset
from nnactive_server.loop.outputs import OutputFolder

LOCK = ".lock"
RUN = "run.json"
"""Of a simulation: its settings, of which `profile` says how the members are trained and predicted."""
SPLIT = "split.json"
"""Of a project that holds cases out for testing: `pool` and `test`, lists of cases."""
_LONGEST = 60


class BusyProject(LoopError):
    """Another process works in the project's folder."""


@dataclass(frozen=True, slots=True)
class CycleFolder:
    """The files of one cycle, in the order in which they appear.

    What the members say about the cases of the pool is kept for the newest queried cycle, so that another
    strategy can be asked without predicting again. When the query of a later cycle is complete, only the
    maps are left of the cases this one chose, and of those of which the later one has none.

    Attributes:
        root: the project.
        number: of the cycle, from 0.
    """

    root: Path
    number: int

    @property
    def path(self) -> Path:
        """The folder."""
        return cycle_path(self.root, self.number)

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
    def besides(self) -> Path:
        """Boxes the query kept free besides those of the loop files, if there were any."""
        return self.path / "besides.json"

    @property
    def shortages(self) -> Path:
        """How many patches were asked for, and which groups fell short."""
        return self.path / "shortages.json"

    @property
    def queries(self) -> Path:
        """The proposal; with it the cycle is complete."""
        return self.path / QUERIES

    @property
    def own(self) -> OutputFolder:
        """What the members say about the cases of the pool: all for the newest queried cycle."""
        return OutputFolder(self.path)

    @property
    def asked(self) -> OutputFolder:
        """The same for what was asked beside the cycle's own work, see `requery`; goes as the features do."""
        return OutputFolder(self.path / "asked")

    @property
    def early(self) -> EarlyFolder:
        """What is proposed while the training still goes on; gone after the query."""
        return EarlyFolder(self.root, self.number)

    def candidates(self, case: str) -> Path:
        """What a case of the pool offers; there only until the query is made."""
        return self.path / "candidates" / f"{case}.json"

    def maps(self, case: str) -> Path:
        """Folder with the maps of a case, see `core.mapfiles`; there before they are complete."""
        return self.own.maps(case)

    def features(self, case: str, kind: Embedding) -> Path:
        """Features of a case, if the strategy asks for them; gone after the query of a later cycle."""
        return self.own.features(case, kind)


class EarlyFolder(CycleFolder):
    """The same files, of the proposal that is made from the first part of the training.

    The time it takes is in the account of the cycle.
    """

    @property
    def path(self) -> Path:
        """The folder, inside the cycle's."""
        return cycle_path(self.root, self.number) / "early"

    @property
    def costs(self) -> Path:
        """Of the cycle."""
        return CycleFolder(self.root, self.number).costs


def pool_cases(project: RawDataset) -> tuple[str, ...]:
    """The cases patches are proposed from: all but those held out for testing.

    Raises:
        LoopError: `split.json` is malformed, or names cases that are not there.
    """
    path = project.root / SPLIT
    if not path.exists():
        return project.cases
    document = read_json(path, LoopError)
    pool = document.get("pool") if isinstance(document, dict) else None
    if not isinstance(pool, list) or not set(pool) <= set(project.cases):
        raise LoopError(f"{path}: 'pool' must be a list of cases of {project.root}")
    return tuple(pool)


def claim(path: Path, settings: Mapping[str, Any], absent: Mapping[str, Any] | None = None) -> None:
    """Write down with which settings a folder was begun, or check that they are still the same.

    Args:
        path: the file.
        settings: plain values; may be nested.
        absent: what it means when a folder begun by an older version does not tell a setting.

    Raises:
        LoopError: begun with other settings, naming each that differs.
    """
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, wanted)
        return
    meant = _flat(json.loads(json.dumps(absent or {})))
    old, new = meant | _flat(read_json(path, LoopError)), _flat(wanted)
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
        BusyProject: another process works on it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyProject(
                f"{root}: another process is working in this folder; wait for it or choose another folder"
            ) from None
        yield
