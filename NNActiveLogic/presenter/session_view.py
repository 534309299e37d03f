"""What is shown of the work on patches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from NNActiveLogic.client.values import Patch
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.loader import Origin


class State(StrEnum):
    """Where the work stands."""

    IDLE = "idle"
    FETCHING = "fetching"
    LOADING = "loading"
    EDITING = "editing"
    KEEPING = "keeping"
    WAITING = "waiting"
    DONE = "done"


_SENTENCES = {
    State.IDLE: words.IDLE,
    State.FETCHING: words.FETCHING,
    State.KEEPING: words.KEEPING,
    State.WAITING: words.WAITING,
}


@dataclass(frozen=True, slots=True)
class SessionView:
    """What is shown of the work.

    Attributes:
        state: see `State`; the editor takes no strokes unless it is `EDITING`.
        sentence: the same for people; while editing only what is to be known of what is shown.
        notice: something that needs attention; empty when nothing does.
        patch: the open one, or the one being loaded.
        origin: what the work on it started from.
        stale: what is shown comes from an older model than the newest.
        can_answer, can_confirm: which answers are possible.
        can_go_back: whether there is a box before.
        seconds: active time on this patch.
        drafts: patches that were left with a drawing.
    """

    state: State
    sentence: str
    notice: str
    patch: Patch | None
    origin: Origin | None
    stale: bool
    can_answer: bool
    can_confirm: bool
    can_go_back: bool
    seconds: float
    drafts: frozenset[str]


def sentence(state: State, case: str, passed: int) -> str:
    """A state for people: `case` is being loaded, `passed` patches were left for later."""
    if state == State.LOADING:
        return words.say(words.LOADING, case=case)
    if state == State.DONE and passed:
        return words.count(passed, words.ALL_DONE_BUT, words.ALL_DONE_BUT_SOME)
    if state == State.DONE:
        return words.say(words.ALL_DONE)
    return words.say(_SENTENCES.get(state, ""))
