"""Which cases each member of an ensemble is trained on, and what a training has written down of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.files import read_json
from nnactive_server.core.rng import generator
from nnactive_server.segmentation.profiles import Ensemble

TRAINING = "training.json"
"""In a folder of members: what `EnsembleTraining` wrote down before it began."""


@dataclass(frozen=True, slots=True)
class MemberSplit:
    """Training cases of one member.

    Attributes:
        train: case ids, sorted; a bootstrap may repeat a case.
        held_out: annotated cases the member never sees.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]


def member_splits(
    classes_by_case: Mapping[str, Sequence[int]], members: int, seed: int
) -> tuple[MemberSplit, ...]:
    """Training cases for each member: k folds, or bootstrap samples when cases are fewer than members.

    Every class that is annotated at all is in the training cases of at least two members (of the one
    member there is): where folds leave a class out, a case that holds it is moved into training.

    Args:
        classes_by_case: annotated foreground classes of each annotated case.
        members: ensemble size.
        seed: decides the folds, together with the case ids, never with their order.

    Raises:
        SegmentationError: no case.
    """
    cases = sorted(classes_by_case)
    if not cases:
        raise SegmentationError("no annotated case; annotate at least one patch first")
    order = generator(seed, "folds").permutation(len(cases))
    if members == 1:
        train = [set(cases)]
    elif len(cases) < members:
        return _with_every_class(_bootstrap(cases, members, seed), classes_by_case)
    else:
        held_out = [{cases[i] for i in order[m::members]} for m in range(members)]
        train = [set(cases) - out for out in held_out]
    return _with_every_class([sorted(chosen) for chosen in train], classes_by_case)


def _bootstrap(cases: Sequence[str], members: int, seed: int) -> list[list[str]]:
    """As many cases as there are, drawn with replacement, for each member."""
    return [
        sorted(
            np.array(cases)[generator(seed, "bootstrap", m).integers(len(cases), size=len(cases))].tolist()
        )
        for m in range(members)
    ]


def _with_every_class(
    train: list[list[str]], classes_by_case: Mapping[str, Sequence[int]]
) -> tuple[MemberSplit, ...]:
    wanted = min(2, len(train))
    for label in sorted({c for classes in classes_by_case.values() for c in classes}):
        holders = sorted(case for case, classes in classes_by_case.items() if label in classes)
        lacking = [chosen for chosen in train if not set(holders) & set(chosen)]
        missing = wanted - (len(train) - len(lacking))
        for chosen in lacking[: max(0, missing)]:
            chosen.append(holders[0])
    everything = set(classes_by_case)
    return tuple(
        MemberSplit(tuple(sorted(chosen)), tuple(sorted(everything - set(chosen)))) for chosen in train
    )


@dataclass(frozen=True, slots=True)
class Training:
    """What a training wrote down before it began.

    Attributes:
        held_out: for each member the annotated cases it was not trained on.
        independent: each member began from random weights.
    """

    held_out: tuple[tuple[str, ...], ...]
    independent: bool


def read_training(members: Path) -> Training:
    """What is written down in a folder of members.

    Raises:
        SegmentationError: missing or damaged.
    """
    path = members / TRAINING
    if not path.exists():
        raise SegmentationError(f"{path}: no such model; train this cycle first")
    document = read_json(path, SegmentationError)
    try:
        held_out = tuple(tuple(split["held_out"]) for split in document["splits"])
        alone = len(held_out) == 1 or document["profile"]["ensemble"] == Ensemble.FOLDS
        return Training(held_out, alone and not document["warm_start"])
    except (KeyError, TypeError) as problem:
        raise SegmentationError(
            f"{path}: not what a training writes ({type(problem).__name__}: {problem}); train again"
        ) from problem
