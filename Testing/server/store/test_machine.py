"""Random work of three annotators, step by step against a model in a few dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nnactive_server.core.errors import Conflict
from nnactive_server.store import Answer, Kind, Reason, Store

SECONDS = 60
people = st.sampled_from(["anna", "ben", "carl"])
places = st.integers(0, 3)
STATES = {
    Kind.LABELLED: "answered",
    Kind.EMPTY: "empty",
    Kind.SKIPPED: "skipped",
    Kind.REFERRED: "referred",
    Kind.REOPENED: "open",
}


@dataclass
class Model:
    """What a patch should be."""

    state: str = "open"
    referred_to: str | None = None
    said: list[Answer] = field(default_factory=list)
    second: list[Answer] = field(default_factory=list)
    holder: str | None = None
    expires: float = 0.0

    def held_by(self, now: float) -> str | None:
        return self.holder if self.expires > now else None

    def waits_for(self, person: str, now: float) -> bool:
        mine = self.state == "open" or (self.state == "referred" and self.referred_to == person)
        return mine and self.held_by(now) in (None, person)


@pytest.fixture
def machine(make_clock, make_world):
    class Work(RuleBasedStateMachine):
        @initialize()
        def open(self) -> None:
            self.folder = Path(tempfile.mkdtemp())
            self.clock = make_clock()
            self.store = Store(self.folder / "store", clock=self.clock)
            self.world = make_world(self.store)
            self.ids = [p.id for p in self.world.patches]
            self.models = [Model() for _ in self.ids]
            self.labels = self.store.blobs.put(b"labels")
            self.seen, self.changed = self.store.events.last(), set()

        @rule()
        def restart(self) -> None:
            self.store.close()
            self.store = Store(self.folder / "store", clock=self.clock)

        @rule(seconds=st.sampled_from([1, SECONDS - 1, SECONDS]))
        def wait(self, seconds: int) -> None:
            self.clock.move(seconds)

        @rule(person=people)
        def next(self, person: str) -> None:
            free = [i for i, m in enumerate(self.models) if m.waits_for(person, self.clock())]
            found = self.store.leases.next_open(self.world.project.id, person, SECONDS)
            assert (found and found.id) == (self.ids[free[0]] if free else None)
            if free:
                self.hold(self.models[free[0]], person)

        @rule(i=places, person=people)
        def take(self, i: int, person: str) -> None:
            model = self.models[i]
            if model.held_by(self.clock()) in (None, person):
                self.store.leases.take(self.ids[i], person, SECONDS)
                self.hold(model, person)
            else:
                with pytest.raises(Conflict) as caught:
                    self.store.leases.take(self.ids[i], person, SECONDS)
                assert caught.value.current.holder == model.holder

        @rule(i=places, person=people)
        def renew(self, i: int, person: str) -> None:
            model = self.models[i]
            if model.held_by(self.clock()) == person:
                self.store.leases.renew(self.ids[i], person, SECONDS)
                self.hold(model, person)
            else:
                with pytest.raises(Conflict):
                    self.store.leases.renew(self.ids[i], person, SECONDS)

        @rule(i=places, person=people)
        def release(self, i: int, person: str) -> None:
            self.store.leases.release(self.ids[i], person)
            self.drop(self.models[i], person)

        @rule(i=places, person=people, colleague=people, kind=st.sampled_from(sorted(STATES)))
        def answer(self, i: int, person: str, colleague: str, kind: Kind) -> None:
            model, answer = self.models[i], self.make(kind, person, colleague)
            if kind == Kind.REOPENED and model.state == "open":
                with pytest.raises(Conflict):
                    self.store.answers.record(self.ids[i], len(model.said), answer)
                return
            self.store.answers.record(self.ids[i], len(model.said), answer)
            model.said.append(answer)
            model.state, model.referred_to = STATES[kind], answer.referred_to
            self.drop(model, person)
            self.changed.add(self.ids[i])

        @rule(i=places, person=people, off=st.sampled_from([-1, 1]))
        def answer_to_another_revision(self, i: int, person: str, off: int) -> None:
            said = self.models[i].said
            with pytest.raises(Conflict) as caught:
                self.store.answers.record(self.ids[i], len(said) + off, Answer(Kind.EMPTY, person))
            current = caught.value.current
            assert (current and current.answer) == (said[-1] if said else None)

        @rule(i=places, person=people)
        def read_again(self, i: int, person: str) -> None:
            model, answer = self.models[i], self.make(Kind.LABELLED, person)
            if model.second:
                allowed = model.second[-1].annotator == person
            else:
                allowed = model.state in ("answered", "empty") and model.said[-1].annotator != person
            if allowed:
                self.store.answers.record(self.ids[i], len(model.second), answer, reading=2)
                model.second.append(answer)
                self.drop(model, person)
            else:
                with pytest.raises(Conflict):
                    self.store.answers.record(self.ids[i], len(model.second), answer, reading=2)

        @precondition(lambda self: self.changed)
        @rule()
        def catch_up(self) -> None:
            changes = self.store.answers.changed_since(self.world.project.id, self.seen)
            assert {c.patch for c in changes} == self.changed
            assert len(changes) == len(self.changed)
            for change in changes:
                assert change.state == self.models[self.ids.index(change.patch)].state
            self.seen, self.changed = changes[-1].seq, set()

        @invariant()
        def store_and_model_agree(self) -> None:
            if not hasattr(self, "models"):
                return
            for patch, model in zip(self.store.patches.list(self.world.project.id), self.models, strict=True):
                assert (patch.state, patch.revision) == (model.state, len(model.said))
                assert patch.referred_to == model.referred_to
                assert (patch.lease and patch.lease.holder) == model.held_by(self.clock())
                history = self.store.answers.history(patch.id)
                assert [record.answer for record in history] == model.said + model.second

        def make(self, kind: Kind, person: str, colleague: str = "") -> Answer:
            more = {
                Kind.LABELLED: {"labels": self.labels},
                Kind.SKIPPED: {"reason": Reason.CANNOT_TELL},
                Kind.REFERRED: {"referred_to": colleague},
            }.get(kind, {})
            return Answer(kind, person, **more)

        def hold(self, model: Model, person: str) -> None:
            model.holder, model.expires = person, self.clock() + SECONDS

        def drop(self, model: Model, person: str) -> None:
            if model.held_by(self.clock()) == person:
                model.holder = None

        def teardown(self) -> None:
            if hasattr(self, "store"):
                assert self.store.check() == []
                self.store.close()
                shutil.rmtree(self.folder)

    return Work


def test_random_work_of_three_annotators_always_leaves_what_the_model_says(machine):
    case = machine.TestCase()
    case.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
    case.runTest()
