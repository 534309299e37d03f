"""Any order of work, failures, restarts and colleagues: nothing is lost and nothing counts twice."""

import contextlib
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from NNActiveLogic.client.answers import Answer, Kind, Reason
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.presenter import Presenter
from standin import Problem, Reply, Running
from testkit.clinic_standin import ClinicStandIn
from testkit.fake_scene import FakeScene
from testkit.step_lanes import StepLanes

LIMITS = Limits(connect_seconds=2, read_seconds=5, total_seconds=10, attempts=1)
PATCHES = [f"p0x{n}" for n in range(1, 7)]


class Memory(dict):
    def set(self, key, value):
        self[key] = value


class Network:
    """What happens to requests that change something, or to all."""

    def __init__(self, app):
        self.app, self.state = app, "good"

    def __call__(self, request):
        if self.state == "down":
            return Reply(503, {"code": "busy", "detail": "Busy."})
        if self.state == "answers held" and request.path.endswith("/annotation"):
            return Reply(503, {"code": "busy", "detail": "Busy."})
        if self.state == "replies lost":
            # The server does it, and nobody hears of it.
            with contextlib.suppress(Problem):
                self.app.dispatch(request)
            return Reply(503, {"code": "busy", "detail": "Busy."})
        return None


class Work(RuleBasedStateMachine):
    """A clinician, a colleague, a network and a computer that crashes."""

    running = None

    @initialize()
    def begin(self):
        if Work.running is None:
            Work.running = Running()
        self.app = ClinicStandIn()
        Work.running._server.app = self.app
        self.network = self.app.before = Network(self.app)
        self.folder = Path(tempfile.mkdtemp())
        self.now = 0.0
        self.kept = Counter()
        self.given_up = 0
        # Leases of a crashed program, and those whose replies were lost, end by themselves.
        self.tidy = True
        self.drawn = 0
        self.presenter = None
        self.start()

    def start(self):
        self.scene, self.lanes = FakeScene(), StepLanes()
        self.presenter = Presenter(
            self.scene, Memory(), self.folder, lambda: None,
            lanes=self.lanes, clock=lambda: self.now, limits=LIMITS, wait=0.0,
        )  # fmt: skip
        state, self.network.state = self.network.state, "good"
        self.presenter.connection.connect(Work.running.url, "token-ann")
        self.run_all()
        assert self.presenter.open(self.app.project).ok
        self.run_all()
        assert self.presenter.opened is not None
        self.network.state = state
        self.watch()

    def watch(self):
        """Count every answer that the disk has taken."""
        outbox = self.presenter.opened.desk.outbox
        put = outbox.put

        def counted(patch, *rest):
            entry = put(patch, *rest)
            self.kept[patch] += 1
            return entry

        outbox.put = counted

    def run_all(self):
        for _ in range(200):
            if not (self.lanes.busy or self.lanes.results):
                break
            for lane in self.lanes.busy:
                self.lanes.step(lane)
            self.presenter.tick()
        else:
            raise AssertionError("it never comes to rest")

    @property
    def session(self):
        return self.presenter.opened.session

    @rule(data=st.data())
    def a_thread_does_something(self, data):
        if self.lanes.busy:
            self.lanes.step(data.draw(st.sampled_from(self.lanes.busy)))

    @rule()
    def the_timer_ticks(self):
        self.presenter.tick()

    @rule()
    def everything_comes_to_rest(self):
        self.run_all()

    @rule()
    def time_passes(self):
        self.now += 100.0
        self.lanes.beat()
        self.presenter.tick()

    @rule()
    def next(self):
        self.session.next()

    @rule(patch=st.sampled_from(PATCHES))
    def jump(self, patch):
        self.session.jump(patch)

    @rule()
    def previous(self):
        self.session.previous()

    @rule()
    def leave(self):
        self.session.leave()

    @precondition(lambda self: self.scene.is_open)
    @rule(value=st.integers(1, 2))
    def draw(self, value):
        self.drawn += 1
        self.scene.draw(value, np.unravel_index(self.drawn % 120, (4, 5, 6)))

    @rule(how=st.sampled_from(["accept", "empty", "skip", "refer", "confirm"]))
    def answer(self, how):
        given = {"empty": [True], "skip": [Reason.CANNOT_TELL, True], "refer": ["ben"]}.get(how, [])
        getattr(self.session, how)(*given)

    @rule(state=st.sampled_from(["good", "down", "answers held", "replies lost"]))
    def the_network_changes(self, state):
        self.network.state = state
        self.tidy = self.tidy and state != "replies lost"

    @rule(patch=st.sampled_from(PATCHES))
    def a_colleague_answers(self, patch):
        found = self.app.patches[patch]
        record = Answer(Kind.EMPTY).to_json() | {
            "patch": patch,
            "reading": 1,
            "annotator": "ben",
            "time": 0.0,
        }
        found["revision"] += 1
        self.app.answers.append(record | {"revision": found["revision"]})
        found.update(state="empty")

    @rule(mine=st.booleans())
    def a_dispute_is_settled(self, mine):
        for dispute in self.presenter.opened.disputes()[:1]:
            sending = self.presenter.opened.sending
            (sending.keep_mine if mine else sending.take_theirs)(dispute.entry)
            if not mine:
                # Whether it is still there when the thread comes to it is the outbox' affair.
                self.run_all()
                self.given_up = sum(self.kept.values()) - self.unsent() - self.mine_on_server()

    @rule()
    def the_computer_crashes(self):
        self.tidy = False
        self.lanes.close(0)
        self.presenter.opened.desk.outbox.close()
        self.presenter.connection.client.close()
        self.start()

    def unsent(self):
        return len(self.presenter.opened.desk.outbox.entries())

    def mine_on_server(self):
        return sum(one["annotator"] == "ann" for one in self.app.answers)

    @invariant()
    def one_patch_at_a_time(self):
        if self.presenter is None or self.presenter.opened is None:
            return
        here = self.session.patch
        shown = self.scene.view.patch.id if self.scene.view else None
        assert shown is None or (here is not None and here.id == shown)
        ahead = [one.id for one in self.session.ahead.patches]
        assert len({*ahead, shown}) == len(ahead) + 1, "a patch waits twice, or waits and is open"
        assert not set(ahead) & self.presenter.opened.sending.patches, "an answered patch waits to come again"

    @invariant()
    def nothing_is_lost(self):
        if self.presenter is None or self.presenter.opened is None:
            return
        # With lost replies an answer may be on the server and still wait here; it is the same one.
        there = self.unsent() + self.mine_on_server() + self.given_up
        assert there >= sum(self.kept.values())

    def teardown(self):
        if self.presenter is None:
            return
        self.network.state = "good"
        self.now += 1000.0
        for _ in range(4):
            self.presenter.tick()
            self.run_all()
            self.now += 1000.0
            self.lanes.beat()
            self.run_all()
        waiting = [one for one in self.presenter.opened.desk.outbox.entries() if not one.parked]
        behind = {one.patch for one in self.presenter.opened.desk.outbox.entries() if one.parked}
        assert all(one.patch in behind for one in waiting), "an answer stays although the server is there"
        assert self.unsent() + self.mine_on_server() + self.given_up == sum(self.kept.values())
        self.check_leases()
        self.presenter.opened.desk.outbox.close()
        self.presenter.connection.client.close()
        shutil.rmtree(self.folder)

    def check_leases(self):
        """Leased is what is open and what comes next, and in the end nothing."""
        needed = {one.id for one in (self.session.patch, *self.session.ahead.patches) if one}
        if self.tidy:
            assert self.app.held_by() <= needed
        self.session.leave(sure=True)
        self.run_all()
        if self.tidy:
            assert not self.app.held_by()


TestAnythingCanHappen = Work.TestCase
TestAnythingCanHappen.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
