"""What a report shows, read from a run folder that may be unfinished.

Everything but `run.json` or `summary.json` is optional: what is missing or not a number is left out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json
from nnactive_server.evaluation.plots import Curve
from nnactive_server.loop import read_query
from nnactive_server.query import Query

_RESULTS = frozenset({"cycles", "versions", "labels", "aubc", "final_dice", "full_dice", "test_cases"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cycle:
    """One finished cycle; NaN stands for what nobody measured.

    Attributes:
        number: counted from 0.
        patches: patches annotated so far.
        annotated_voxels: voxels annotated so far.
        foreground: annotated share of all foreground voxels of the pool, 0..1.
        dice: Mean Dice on the test cases.
        per_class: Dice of each class, in label order.
        seconds: stage to seconds.
        pairwise_dice: mean agreement of the members.
        mutual_information: its mean over voxels, nats.
        shortages: groups of the query that found too few places: group, boxes asked for, boxes found.
    """

    number: int
    patches: float
    annotated_voxels: float
    foreground: float
    dice: float
    per_class: tuple[float, ...]
    seconds: Mapping[str, float]
    pairwise_dice: float
    mutual_information: float
    shortages: tuple[tuple[str, int, int], ...]

    @property
    def shown(self) -> int:
        """The number people read."""
        return shown_number(self.number)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One entry of `queries.json` and where its slices lie."""

    query: Query
    view: Path


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder's content.

    Attributes:
        name: the folder's name.
        settings: name to value, without results and without paths of the machine.
        versions: package to version.
        labels: class names in label order.
        cycles: finished cycles in order.
        proposals: cycle number to its queries.
        test_cases: number of held-out cases, or None when not told.
        aubc: area under the learning curve, NaN when not told.
        full_dice: Mean Dice with all labels, when told.
    """

    name: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    labels: tuple[str, ...]
    cycles: tuple[Cycle, ...]
    proposals: Mapping[int, tuple[Proposal, ...]]
    test_cases: int | None
    aubc: float
    full_dice: float | None

    def curve(self, name: str) -> Curve:
        """The learning curve under this name."""
        scored = [c for c in self.cycles if math.isfinite(c.dice)]
        return Curve(
            name,
            tuple(c.patches for c in scored),
            tuple(c.foreground for c in scored),
            tuple(c.dice for c in scored),
        )

    def setting(self, key: str, otherwise: str = "") -> str:
        """A setting as text."""
        return str(self.settings.get(key, otherwise))


def read_run(folder: Path) -> Run:
    """Read what a run has written so far.

    Raises:
        LoopError: neither `run.json` nor `summary.json`, or one of them is not a JSON object.
    """
    described, summary = (_document(folder / name) for name in ("run.json", "summary.json"))
    if not described and not summary:
        raise LoopError(f"{folder}: holds neither run.json nor summary.json; give the folder of a run")
    everything = summary | described | {"cycles": summary.get("cycles")}
    labels = _labels(everything)
    cycles = tuple(_cycle(entry, labels) for entry in _sequence(summary.get("cycles")) if _mapping(entry))
    full = number(everything.get("full_dice"))
    return Run(
        name=folder.resolve().name,
        settings=_settings(described, summary),
        versions={str(k): str(public(v)) for k, v in _mapping(everything.get("versions")).items()},
        labels=labels,
        cycles=cycles,
        proposals=_proposals(folder),
        test_cases=_count(everything.get("test_cases")),
        aubc=number(summary.get("aubc")),
        full_dice=full if math.isfinite(full) else None,
    )


def shown_number(cycle: int) -> int:
    """Files count cycles from 0, people from 1, as the progress on the command line does."""
    return cycle + 1


def number(value: Any) -> float:
    """A float, NaN for anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)


def public(value: Any) -> Any:
    """The same value with every absolute path cut to its last name: reports travel."""
    if isinstance(value, Mapping):
        return {str(key): public(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [public(entry) for entry in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name
    return value


def _document(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = read_json(path, LoopError)
    if not isinstance(content, dict):
        raise LoopError(f"{path}: must hold one JSON object; run the same command again to write it anew")
    return content


def _settings(described: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """What was asked for. Both files name the number of cycles differently: one plans, one has done."""
    planned = {"planned_cycles" if k == "cycles" else k: v for k, v in described.items() if k != "labels"}
    return {k: public(v) for k, v in (summary | planned).items() if k not in _RESULTS}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _labels(everything: Mapping[str, Any]) -> tuple[str, ...]:
    """Class names; where none are stored, those of the Dice table or plain numbers."""
    named = _sequence(everything.get("labels"))
    if named:
        return tuple(str(name) for name in named)
    for entry in _sequence(everything.get("cycles")):
        dice = _mapping(entry).get("dice_per_class")
        if isinstance(dice, Mapping):
            return tuple(str(name) for name in dice)
        if isinstance(dice, list):
            return tuple(f"class {i}" for i in range(1, len(dice) + 1))
    return ()


def _cycle(entry: Mapping[str, Any], labels: tuple[str, ...]) -> Cycle:
    dice = entry.get("dice_per_class")
    values = [dice.get(name) for name in labels] if isinstance(dice, Mapping) else list(_sequence(dice))
    values = (values + [None] * len(labels))[: len(labels)]
    members = _mapping(entry.get("members"))
    seconds = {str(k): number(v) for k, v in _mapping(entry.get("seconds")).items()}
    return Cycle(
        number=_count(entry.get("cycle")) or 0,
        patches=number(entry.get("patches")),
        annotated_voxels=number(entry.get("annotated_voxels")),
        foreground=number(entry.get("foreground_fraction")),
        dice=number(entry.get("mean_dice")),
        per_class=tuple(number(v) for v in values),
        seconds={k: v for k, v in seconds.items() if math.isfinite(v)},
        pairwise_dice=number(members.get("pairwise_dice")),
        mutual_information=number(members.get("mean_mutual_information")),
        shortages=tuple(
            (str(s.get("group", "?")), _count(s.get("asked")) or 0, _count(s.get("found")) or 0)
            for s in _sequence(entry.get("shortages"))
            if _mapping(s)
        ),
    )


def _count(value: Any) -> int | None:
    """A number of things, given as a number or as the list of them."""
    if isinstance(value, list):
        return len(value)
    found = number(value)
    return int(found) if math.isfinite(found) else None


def _proposals(folder: Path) -> dict[int, tuple[Proposal, ...]]:
    found = {}
    for path in sorted(folder.glob("cycle_*/queries.json")):
        digits = path.parent.name.removeprefix("cycle_")
        if digits.isdecimal():
            queries = (_query(entry, path) for entry in _sequence(read_json(path, LoopError)))
            views = path.parent / "views"
            found[int(digits)] = tuple(
                Proposal(query, views / f"query_{query.rank:03d}.npz") for query in queries if query
            )
    return found


def _query(entry: Any, path: Path) -> Query | None:
    try:
        return read_query(entry)
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        log.warning("left out of the report: an entry of %s (%s)", path, problem)
        return None
