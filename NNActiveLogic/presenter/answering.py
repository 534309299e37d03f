"""What an answer becomes, from what stands in the box and what somebody pressed."""

from __future__ import annotations

from dataclasses import dataclass

from NNActiveLogic.client.answers import Answer, Kind, Reason
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.loader import Origin, Start
from NNActiveLogic.work import Reading


@dataclass(frozen=True, slots=True)
class Said:
    """What an action came to.

    Attributes:
        ok: it is done, or under way.
        text: why not; empty when it is.
        ask: the text is a question; after a yes, do the same with `sure=True`.
    """

    ok: bool
    text: str = ""
    ask: bool = False


DONE = Said(True)


def refuse(template: str, **values: object) -> Said:
    """It is not done, for this reason."""
    return Said(False, words.say(template, **values))


def ask(template: str, **values: object) -> Said:
    """It is done after a yes only."""
    return Said(False, words.say(template, **values), ask=True)


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A patch after the work on it.

    Attributes:
        reading: what stands in the box.
        start: what the work started from.
        seconds: active time.
        edits: number of edits.
        comment: free text.
    """

    reading: Reading
    start: Start
    seconds: float
    edits: int
    comment: str = ""

    @property
    def touched(self) -> bool:
        """Whether something would be lost if the box were left without an answer."""
        return self.reading.changed or self.start.origin == Origin.DRAFT

    @property
    def drawn(self) -> bool:
        """Whether anything is marked in the box."""
        unsure = self.reading.unsure
        return bool(self.reading.labels.any() or (unsure is not None and unsure.any()))

    def accepted(self) -> Answer | Said:
        """What is drawn counts; an untouched, empty box says nothing and is no answer."""
        if self.start.origin == Origin.NOTHING and not self.reading.changed and not self.drawn:
            return refuse(words.NOTHING_DRAWN)
        return self._answer(Kind.LABELLED, labels=True)

    def confirmed(self) -> Answer | Said:
        """The prediction is right as it is."""
        if self.start.origin != Origin.PREDICTION:
            return refuse(words.NOTHING_TO_CONFIRM)
        if self.reading.changed or (self.reading.unsure is not None and self.reading.unsure.any()):
            return refuse(words.CONFIRM_CHANGED)
        return self._answer(Kind.CONFIRMED, labels=True)

    def empty(self, sure: bool) -> Answer | Said:
        """Nothing of the classes is in the box; asks before a drawing of one's own is thrown away."""
        if self.touched and self.reading.labels.any() and not sure:
            return ask(words.EMPTY_ASK)
        return self._answer(Kind.EMPTY)

    def skipped(self, reason: Reason, sure: bool) -> Answer | Said:
        """No answer is possible; asks before a drawing of one's own is thrown away."""
        if self.touched and self.drawn and not sure:
            return ask(words.SKIP_ASK)
        return Answer(
            Kind.SKIPPED,
            reason=reason,
            seconds=self.seconds,
            edits=self.edits,
            prefilled_model=self._model,
            comment=self.comment,
        )

    def referred(self, colleague: str) -> Answer | Said:
        """A colleague shall look; what was drawn goes along."""
        if not colleague.strip():
            return refuse(words.REFER_WHOM)
        return self._answer(Kind.REFERRED, labels=self.touched, refer_to=colleague.strip())

    @property
    def _model(self) -> str | None:
        return self.start.model if self.start.origin in (Origin.PREDICTION, Origin.DRAFT) else None

    def _answer(self, kind: Kind, labels: bool = False, refer_to: str | None = None) -> Answer:
        unsure = self.reading.unsure
        return Answer(
            kind,
            labels=self.reading.labels if labels else None,
            unsure=unsure if unsure is not None and unsure.any() else None,
            seconds=self.seconds,
            edits=self.edits,
            prefilled_model=self._model,
            comment=self.comment,
            refer_to=refer_to,
        )
