"""The table of structures and channels of a new project, checked while it is typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from NNActiveLogic.client.values import Label
from NNActiveLogic.presenter import words

MOST_LABELS, MOST_CHANNELS, LONGEST = 200, 16, 200
RESERVED = ("background", "ignore", "unsure")
"""The first two have a label value of their own on the server; the third names a segment in the editor."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_PALETTE = ("#d62728", "#2ca02c", "#1f77b4", "#ffbf00", "#9467bd", "#17becf", "#e377c2", "#8c564b", "#bcbd22")


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A structure as typed."""

    name: str = ""
    colour: str = ""
    terminology: Any = None

    def label(self) -> Label:
        """The same for the server."""
        return Label(self.name.strip(), self.colour.lower() or None, self.terminology)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something to be changed: the row (from 0; None for the whole table), the column, and a sentence."""

    row: int | None
    column: str
    text: str


def next_colour(rows: Sequence[LabelRow]) -> str:
    """A colour for a new row that no other row has, as long as there are some."""
    taken = {row.colour.lower() for row in rows}
    free = [colour for colour in _PALETTE if colour not in taken]
    return free[0] if free else _PALETTE[len(rows) % len(_PALETTE)]


def check_labels(rows: Sequence[LabelRow]) -> tuple[Fault, ...]:
    """What is wrong with a table of structures; empty when nothing is."""
    if not rows:
        return (Fault(None, "name", words.say(words.NO_LABELS)),)
    if len(rows) > MOST_LABELS:
        return (Fault(None, "name", words.say(words.TOO_MANY_LABELS, n=MOST_LABELS)),)
    faults = [_name_fault(rows, place) for place in range(len(rows))]
    faults += [_colour_fault(rows, place) for place in range(len(rows))]
    return tuple(fault for fault in faults if fault is not None)


def check_channels(names: Sequence[str]) -> tuple[Fault, ...]:
    """What is wrong with the names of channels; empty when nothing is."""
    if not names:
        return (Fault(None, "channel", words.say(words.NO_CHANNELS)),)
    if len(names) > MOST_CHANNELS:
        return (Fault(None, "channel", words.say(words.TOO_MANY_CHANNELS, n=MOST_CHANNELS)),)
    faults = []
    for place, name in enumerate(names):
        if not name.strip():
            faults.append(Fault(place, "channel", words.say(words.CHANNEL_UNNAMED, row=place + 1)))
        elif name.strip() in [other.strip() for other in names[:place]]:
            faults.append(Fault(place, "channel", words.say(words.CHANNEL_TWICE, name=name.strip())))
    return tuple(faults)


def _name_fault(rows: Sequence[LabelRow], place: int) -> Fault | None:
    name = rows[place].name.strip()
    # Two names that differ in case only would be one file or one row for some programs, and for most people.
    before = [row.name.strip().casefold() for row in rows[:place]]
    if not name:
        text = words.say(words.LABEL_UNNAMED, row=place + 1)
    elif len(name) > LONGEST:
        text = words.say(words.LABEL_LONG, row=place + 1, n=LONGEST)
    elif name.casefold() in RESERVED:
        text = words.say(words.LABEL_RESERVED, name=name)
    elif name.casefold() in before:
        text = words.say(words.LABEL_TWICE, name=name)
    else:
        return None
    return Fault(place, "name", text)


def _colour_fault(rows: Sequence[LabelRow], place: int) -> Fault | None:
    row = rows[place]
    if not row.colour:
        return None
    if not _COLOUR.fullmatch(row.colour):
        return Fault(place, "colour", words.say(words.COLOUR_WRONG, name=row.name.strip()))
    same = [other for other in rows[:place] if other.colour.lower() == row.colour.lower()]
    if same:
        text = words.say(words.COLOUR_TWICE, name=row.name.strip(), other=same[0].name.strip())
        return Fault(place, "colour", text)
    return None
