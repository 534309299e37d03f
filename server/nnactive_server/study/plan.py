"""What a study is to do, read from a YAML file.

    datasets:
      hippocampus:
        path: ../data/Dataset004      # nnU-Net's raw layout, from the file's folder; or:
        # phantoms: {cases: 12}       # made volumes; also seed
        patch: [20, 20, 20]           # voxels (z, y, x)
        regimes:                      # patches of a query; or {query_size: 20, start_size: 40, cycles: 3,
          low: 20                     #                         patches_per_image: 5}
    strategies: [random, clasp-pe, {name: power-pe, label: power-pe-5, with: {beta: 5}}]
    seeds: [12345, 12346]
    profiles: [fast-cpu]              # or {name: fast-cpu, label: quick, with: {members: 3}}
    cycles: 5
    full: true                        # the reference trained on all labels, for each seed; or a list of seeds
    workers: 1                        # experiments at the same time; one, or one a GPU, when not given
    keep: results                     # or all: also members, maps and preprocessed images
    test_fraction: 0.25
    stride: [1, 1, 1]
    overlap: 0
    views: 8                          # proposals of each query of which slices are kept

Only datasets, strategies, seeds and profiles have to be there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.patch import Index3, index3
from nnactive_server.query import get_strategy
from nnactive_server.segmentation import get_profile
from nnactive_server.study.settings import TEST_FRACTION
from nnactive_server.study.units import Choice, Unit
from nnactive_server.study.yaml_lines import Entry, read_yaml

KEEP = ("results", "all")
CYCLES, VIEWS = 5, 8
ALL_LABELS = Choice("all-labels", "random")
"""Stands where a strategy would; no query is made."""
_REQUIRED = ("datasets", "strategies", "seeds", "profiles")
_OPTIONAL = ("cycles", "full", "workers", "keep", "test_fraction", "stride", "overlap", "views")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Phantoms:
    """Made volumes, see `phantom.make_phantoms`.

    Attributes:
        cases: how many.
        seed: another seed gives other patients.
    """

    cases: int
    seed: int


@dataclass(frozen=True, slots=True)
class Data:
    """A data set of a study.

    Attributes:
        name: in the study.
        path: where it lies; None for phantoms.
        phantoms: to be made.
    """

    name: str
    path: Path | None
    phantoms: Phantoms | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A study that is valid as far as its file tells.

    Attributes:
        name: of the file.
        data: the data sets.
        units: all experiments; those of one seed stand together, so that a part of a study is paired.
        workers: experiments at the same time; None for one, or one a GPU.
        keep_all: also members, maps and preprocessed images.
    """

    name: str
    data: tuple[Data, ...]
    units: tuple[Unit, ...]
    workers: int | None
    keep_all: bool

    def to_json(self) -> dict[str, Any]:
        """What is to be done, with every setting spelled out."""
        profiles = {unit.profile.label: unit.profile.profile().to_json() for unit in self.units}
        return {
            "name": self.name,
            "data": {d.name: {"phantoms": d.phantoms is not None} for d in self.data},
            "profiles": profiles,
            "units": [unit.to_json() for unit in self.units],
            "workers": self.workers,
            "keep": KEEP[self.keep_all],
        }


def read_plan(file: Path) -> Plan:
    """Read a plan.

    Raises:
        LoopError: not valid; the message gives the line.
    """
    top = read_yaml(file).mapping((*_REQUIRED, *_OPTIONAL), _REQUIRED)
    seeds = _different(top["seeds"], [entry.integer(0) for entry in top["seeds"].entries()])
    strategies = _choices(top["strategies"], get_strategy)
    profiles = _choices(top["profiles"], get_profile)
    sets = [_dataset(name, entry, file.parent) for name, entry in _named(top["datasets"])]
    cycles, shared = top["cycles"].integer(1) if "cycles" in top else CYCLES, _shared(top)
    blanks = [
        replace(blank, **shared, cycles=blank.cycles or cycles, profile=profile)
        for _, regimes in sets
        for blank in regimes
        for profile in profiles
    ]
    for blank in blanks:
        _checked(top["datasets"], blank.settings)
    references = _full_seeds(top.get("full"), seeds)
    units = [unit for seed in seeds for unit in _of_seed(blanks, strategies, seed, seed in references)]
    return Plan(
        name=file.stem,
        data=tuple(data for data, _ in sets),
        units=tuple(units),
        workers=top["workers"].integer(1) if "workers" in top else None,
        keep_all="keep" in top and top["keep"].word(KEEP) == "all",
    )


def _of_seed(blanks: Sequence[Unit], strategies: Sequence[Choice], seed: int, full: bool) -> list[Unit]:
    made = [replace(blank, strategy=strategy, seed=seed) for blank in blanks for strategy in strategies]
    if not full:
        return made
    references: dict[str, Unit] = {}
    for blank in blanks:
        unit = replace(blank, strategy=ALL_LABELS, seed=seed, all_labels=True, regime="")
        known = references.get(unit.name, unit)
        # As many training steps as the strategies get: those that go on from cycle to cycle get one a cycle.
        cycles = max(known.cycles, blank.cycles) if blank.profile.profile().warm_start else 1
        references[unit.name] = replace(known, cycles=cycles)
    return [*references.values(), *made]


def _shared(top: dict[str, Entry]) -> dict[str, Any]:
    """What all experiments share."""
    return {
        "test_fraction": top["test_fraction"].share() if "test_fraction" in top else TEST_FRACTION,
        "stride": _voxels(top["stride"]) if "stride" in top else (1, 1, 1),
        "overlap": top["overlap"].share() if "overlap" in top else 0.0,
        "views": top["views"].integer(0) if "views" in top else VIEWS,
    }


def _dataset(name: str, entry: Entry, folder: Path) -> tuple[Data, list[Unit]]:
    """A data set, and a unit for each of its regimes in which the rest is still to be filled in."""
    keys = entry.mapping(("path", "phantoms", "patch", "regimes"), ("patch", "regimes"))
    if ("path" in keys) == ("phantoms" in keys):
        raise entry.error("needs either 'path' or 'phantoms'")
    patch = _voxels(keys["patch"])
    regimes = [_regime(name, patch, regime, found) for regime, found in _named(keys["regimes"])]
    if "path" in keys:
        path = folder / keys["path"].word()
        if not path.is_dir():
            raise keys["path"].error(f"{path} is no folder; give one in nnU-Net's raw layout")
        return Data(name, path.resolve(), None), regimes
    made = keys["phantoms"].mapping(("cases", "seed"), ("cases",))
    seed = made["seed"].integer(0) if "seed" in made else 12345
    return Data(name, None, Phantoms(made["cases"].integer(2), seed)), regimes


def _regime(dataset: str, patch: Index3, name: str, entry: Entry) -> Unit:
    keys = {"query_size": entry}
    if entry.is_mapping:
        known = ("query_size", "start_size", "cycles", "patches_per_image")
        keys = entry.mapping(known, ("query_size",))
    numbers = {key: value.integer(1) for key, value in keys.items()}
    size = numbers["query_size"]
    return Unit(
        dataset=dataset,
        regime=name,
        profile=ALL_LABELS,
        strategy=ALL_LABELS,
        seed=0,
        patch=patch,
        query_size=size,
        start_size=numbers.get("start_size", size),
        cycles=numbers.get("cycles", 0),
        patches_per_image=numbers.get("patches_per_image"),
        stride=(1, 1, 1),
        overlap=0.0,
        test_fraction=TEST_FRACTION,
        views=VIEWS,
    )


def _choices(entry: Entry, known: Callable[..., object]) -> list[Choice]:
    found = [_choice(item, known) for item in entry.entries()]
    _different(entry, [choice.label for choice in found])
    return found


def _choice(entry: Entry, known: Callable[..., object]) -> Choice:
    if not entry.is_mapping:
        name = entry.word()
        _checked(entry, lambda: known(name))
        return Choice(name, name)
    keys = entry.mapping(("name", "label", "with"), ("name",))
    name = keys["name"].word()
    _checked(keys["name"], lambda: known(name))
    changes = {key: value.plain() for key, value in keys["with"].mapping().items()} if "with" in keys else {}
    if "with" in keys:
        _checked(keys["with"], lambda: known(name, **changes))
    label = keys["label"].word() if "label" in keys else name
    _require_name(keys.get("label", entry), label)
    return Choice(label, name, changes)


def _full_seeds(entry: Entry | None, seeds: Sequence[int]) -> Collection[int]:
    if entry is None or not entry.is_list:
        return seeds if entry is None or entry.boolean() else ()
    chosen = [item.integer(0) for item in entry.entries()]
    foreign = sorted(set(chosen) - set(seeds))
    if foreign:
        raise entry.error(f"{foreign[0]} is none of the study's seeds")
    return chosen


def _voxels(entry: Entry) -> Index3:
    sizes = [item.integer(1) for item in entry.entries()]
    if len(sizes) != 3:
        raise entry.error("needs three numbers of voxels: z, y, x")
    return index3(sizes)


def _named(entry: Entry) -> list[tuple[str, Entry]]:
    found = list(entry.mapping().items())
    if not found:
        raise entry.error("is empty; name at least one")
    for name, value in found:
        _require_name(value, name)
    return found


def _require_name(entry: Entry, name: str) -> None:
    """It names a folder."""
    if not _NAME.fullmatch(name):
        raise entry.error(
            f"'{name}' names a folder: letters, digits, '.', '_' and '-', one of the first two ahead"
        )


def _different(entry: Entry, values: list[T]) -> list[T]:
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        raise entry.error(f"'{twice[0]}' is there twice; remove one, or give it another label")
    return values


def _checked(entry: Entry, action: Callable[[], object]) -> None:
    """Do this; its error is one of this line."""
    try:
        action()
    except NNActiveError as problem:
        raise entry.error(str(problem)) from problem
