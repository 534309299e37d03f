"""The table of patches: what each is, why it was chosen, how it stands, who works on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from NNActiveLogic.client.outbox import Entry
from NNActiveLogic.client.values import Case, Patch, PatchState
from NNActiveLogic.presenter import words

_STATES = {
    "labelled": PatchState.ANSWERED,
    "confirmed": PatchState.CONFIRMED,
    "empty": PatchState.EMPTY,
    "skipped": PatchState.SKIPPED,
    "referred": PatchState.REFERRED,
}


class Filter(StrEnum):
    """Which rows are shown."""

    ALL = "all"
    OPEN = "open"
    DONE = "done"
    SKIPPED = "skipped"
    REFERRED = "referred"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Row:
    """A patch in the table.

    Attributes:
        number: place in the whole list, from 1.
        patch: id.
        case: name.
        why: a sentence.
        class_name: class at stake, or that the box was placed for; empty when none is.
        state: machine word, with answers counted in that are not sent yet.
        state_words: the same for people.
        minutes: active time, as far as known here.
        holder: who else works on it; empty when nobody does.
        mark: `not sent yet`, `waits for your decision`, `open now`, or empty.
        unsent: an answer is on its way.
        here: it is the open one.
        cycle: batch it belongs to.
    """

    number: int
    patch: str
    case: str
    why: str
    class_name: str
    state: str
    state_words: str
    minutes: float | None
    holder: str
    mark: str
    unsent: bool
    here: bool
    cycle: int

    @property
    def is_open(self) -> bool:
        """Whether it waits for an answer."""
        return self.state in (PatchState.OPEN, PatchState.REFERRED)


def rows(
    patches: Sequence[Patch],
    cases: Sequence[Case],
    entries: Sequence[Entry],
    here: str = "",
    minutes: Mapping[str, float] | None = None,
) -> tuple[Row, ...]:
    """The whole table, by cycle and rank.

    Args:
        patches: all of the project.
        cases: likewise.
        entries: what is not sent.
        here: id of the open patch.
        minutes: active time by patch, as far as known.
    """
    names = {case.id: case.name for case in cases}
    unsent = {entry.patch: entry for entry in entries}
    ordered = sorted(patches, key=lambda patch: (patch.cycle, patch.rank, patch.id))
    return tuple(
        _row(number, patch, names, unsent.get(patch.id), here, minutes or {})
        for number, patch in enumerate(ordered, 1)
    )


def shown(table: Sequence[Row], wanted: Filter) -> tuple[Row, ...]:
    """The rows of a filter."""
    states = {
        Filter.OPEN: (PatchState.OPEN, PatchState.REFERRED),
        Filter.DONE: (PatchState.ANSWERED, PatchState.CONFIRMED, PatchState.EMPTY),
        Filter.SKIPPED: (PatchState.SKIPPED,),
        Filter.REFERRED: (PatchState.REFERRED,),
    }
    if wanted == Filter.UNSENT:
        return tuple(row for row in table if row.unsent)
    return tuple(row for row in table if wanted == Filter.ALL or row.state in states[wanted])


def neighbour(table: Sequence[Row], patch: str, step: int, avoid: Collection[str] = ()) -> str | None:
    """The patch so many rows below (or above, when negative) in a table as shown; None at its end.

    Rows that somebody else holds, and those to be avoided, are stepped over. When the patch is not in the
    table, the first or last row comes.
    """
    usable = [row.patch for row in table if row.patch == patch or not (row.holder or row.patch in avoid)]
    if not usable:
        return None
    if patch not in usable:
        return usable[0] if step > 0 else usable[-1]
    place = usable.index(patch) + step
    return usable[place] if 0 <= place < len(usable) else None


def _row(
    number: int,
    patch: Patch,
    names: Mapping[str, str],
    entry: Entry | None,
    here: str,
    minutes: Mapping[str, float],
) -> Row:
    state = patch.state if entry is None else _STATES.get(str(entry.body.get("kind")), patch.state)
    return Row(
        number=number,
        patch=patch.id,
        case=names.get(patch.case, ""),
        why=patch.sentence,
        class_name=patch.class_name or (patch.group if patch.origin == "placed" else ""),
        state=state,
        state_words=words.say(getattr(words.STATE, state, words.STATE.unknown), state=state),
        minutes=_minutes(patch, entry, minutes),
        holder=patch.lease.holder if patch.lease is not None and patch.taken else "",
        mark=_mark(patch, entry, here),
        unsent=entry is not None,
        here=patch.id == here,
        cycle=patch.cycle,
    )


def _minutes(patch: Patch, entry: Entry | None, minutes: Mapping[str, float]) -> float | None:
    seconds = entry.body.get("seconds") if entry is not None else None
    return seconds / 60 if isinstance(seconds, int | float) else minutes.get(patch.id)


def _mark(patch: Patch, entry: Entry | None, here: str) -> str:
    if patch.id == here:
        return words.say(words.OPEN_HERE)
    if entry is None:
        return ""
    return words.say(words.DECISION_MARK if entry.parked else words.UNSENT_MARK)
