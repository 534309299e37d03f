"""The button "Use this computer": what is shown at each step, and what may be done."""

from pathlib import Path

import pytest

from NNActiveLogic.local import Cancelled, Found, Needs, NoSpace, Progress, Running, Stage
from NNActiveLogic.presenter.local import Local, LocalState
from testkit.step_lanes import StepLanes

FOUND = Found(("nnactive",), "1.0.0", private=True)
RUNNING = Running("http://127.0.0.1:5000", "secret", Path("server.log"), ours=True)


class Here:
    """Stands for the server on this computer; each step does what the test says."""

    def __init__(self):
        self.found, self.running, self.installed = FOUND, True, FOUND
        self.room = 10**12
        self.card = ""
        self.problem = None
        self.released = 0
        self.others = False
        self.log_file = None
        self.meanwhile = lambda *_: None

    def find(self):
        return self.found

    def needs(self):
        return Needs(
            Path("/home/ann/NNActive"), 450_000_000, 2_500_000_000, self.room, self.card, "nnactive-server"
        )

    def set_up(self, report, cancelled):
        self._work(report, cancelled)
        return self.installed

    def start(self, report, cancelled):
        self._work(report, cancelled)
        return RUNNING

    def alive(self):
        return self.running

    def stop(self, seconds):
        assert seconds > 0
        self.release()
        return not self.others

    def release(self):
        self.released += 1

    def tail(self, lines):
        return ("one", "two")[:lines]

    def _work(self, report, cancelled):
        self.log_file = Path("set-up.log")
        self.meanwhile(report, cancelled)
        if self.problem:
            raise self.problem


class Connection:
    def __init__(self):
        self.said = []

    def connect(self, address, token, *, own):
        self.said.append((address, token, own))

    def disconnect(self):
        self.said.append("disconnect")


class Memory(dict):
    set = dict.__setitem__


class Panel:
    def __init__(self):
        self.server, self.connection, self.lanes, self.settings = Here(), Connection(), StepLanes(), Memory()
        self.changes = 0
        self.local = Local(self.server, self.connection, self.lanes, self.settings, self._changed)

    def _changed(self):
        self.changes += 1

    def step(self):
        self.lanes.step("local")
        self.lanes.drain()
        return self.view

    @property
    def view(self):
        return self.local.view()


@pytest.fixture
def panel():
    return Panel()


def test_an_installed_server_is_started_and_connected_to(panel):
    assert (panel.view.can_start, panel.view.busy) == (True, False)
    assert panel.local.use().ok
    assert panel.view.sentence.startswith("Looking")
    assert (panel.view.can_start, panel.view.busy) == (False, True)
    assert not panel.local.use().ok
    view = panel.step()
    assert (view.state, view.stage, view.can_cancel) == (LocalState.STARTING, "Starting the server", True)
    view = panel.step()
    assert panel.connection.said == [("http://127.0.0.1:5000", "secret", True)]
    assert (view.state, view.can_stop, view.busy, view.stage) == (LocalState.RUNNING, True, False, "")
    assert "secret" not in repr(view)
    assert panel.local.wanted


def test_nothing_is_downloaded_before_somebody_agrees(panel):
    panel.server.found = None
    panel.local.use()
    view = panel.step()
    assert view.state == LocalState.ASKING
    for word in ("450 MB", "2.5 GB", "/home/ann/NNActive", "nnactive-server", "No suitable graphics card"):
        assert word in view.question
    assert panel.lanes.busy == []
    assert panel.local.agree(False).ok
    assert (panel.view.state, panel.view.question) == (LocalState.OFF, "")
    assert panel.lanes.busy == []
    assert not panel.local.agree().ok  # there is no question any more


def test_after_a_yes_it_is_set_up_with_progress_and_started(panel):
    panel.server.found, panel.server.card = None, "RTX A5000"
    panel.local.use()
    assert "RTX A5000" in panel.step().question
    panel.local.agree()
    assert panel.view.stage == "Getting Python"
    seen = []

    def meanwhile(report, cancelled):
        assert not cancelled()
        report(Progress(Stage.DOWNLOAD, "torch", 0.5))
        seen.append((panel.view.stage, panel.view.fraction))

    panel.server.meanwhile = meanwhile
    assert panel.step().state == LocalState.STARTING
    assert seen == [("Downloading the server: torch", 0.5)]
    assert panel.step().state == LocalState.RUNNING


def test_too_little_room_is_said_instead_of_asking(panel):
    panel.server.found, panel.server.room = None, 10**9
    panel.local.use()
    view = panel.step()
    assert (view.state, view.question, view.can_start) == (LocalState.FAILED, "", True)
    assert "2.5 GB" in view.sentence
    assert "1.0 GB" in view.sentence


def test_what_fails_is_said_and_may_be_tried_again(panel):
    panel.local.use()
    panel.step()
    panel.server.problem = NoSpace("The disk is full.", "Make room.")
    view = panel.step()
    assert (view.state, view.sentence, view.can_start) == (
        LocalState.FAILED,
        "The disk is full. Make room.",
        True,
    )
    assert view.log_file == "set-up.log"
    panel.server.problem = RuntimeError("of no kind we know")
    panel.local.use()
    panel.step()
    assert "of no kind we know" in panel.step().sentence
    assert panel.connection.said == []
    panel.server.problem = None
    panel.local.use()
    panel.step()
    assert panel.step().state == LocalState.RUNNING


def test_a_wish_to_stop_reaches_the_set_up(panel):
    panel.server.found = None
    panel.local.use()
    panel.step()
    panel.local.agree()

    def meanwhile(_, cancelled):
        panel.local.cancel()
        assert panel.view.sentence == "Stopping …"
        assert cancelled()
        raise Cancelled("Stopped on request.")

    panel.server.meanwhile = meanwhile
    view = panel.step()
    assert view.state == LocalState.OFF
    assert "kept for the next time" in view.sentence
    panel.server.meanwhile = lambda *_: panel.local.cancel()  # too late: it has just ended
    panel.local.use()
    panel.step()
    panel.local.agree()
    assert panel.step().state == LocalState.OFF
    assert panel.lanes.busy == []
    panel.local.use()
    panel.step()
    panel.local.cancel()
    assert panel.view.state == LocalState.OFF  # an answer to the question, too


def test_a_start_that_is_cancelled_too_late_does_not_connect(panel):
    panel.local.use()
    panel.step()
    panel.server.meanwhile = lambda *_: panel.local.cancel()
    assert panel.step().state == LocalState.STOPPING
    assert panel.step().state == LocalState.OFF
    assert panel.connection.said == []
    assert panel.server.released == 1


def test_a_server_that_dies_is_noticed(panel):
    panel.local.use()
    panel.step()
    panel.step()
    panel.lanes.beat()
    panel.lanes.drain()
    assert panel.view.state == LocalState.RUNNING
    panel.server.running = False
    panel.lanes.beat()
    panel.lanes.drain()
    assert (panel.view.state, panel.view.can_start) == (LocalState.FAILED, True)
    assert "ended by itself" in panel.view.sentence
    assert panel.view.log == ("one", "two")


@pytest.mark.parametrize(("others", "word"), [(False, "has ended"), (True, "another Slicer")])
def test_it_is_stopped_on_request(panel, others, word):
    panel.server.others = others
    assert not panel.local.stop().ok
    panel.local.use()
    panel.step()
    panel.step()
    assert panel.local.stop().ok
    assert panel.view.busy
    view = panel.step()
    assert (view.state, view.can_start) == (LocalState.OFF, True)
    assert word in view.sentence
    assert panel.connection.said[-1] == "disconnect"
    assert not panel.local.wanted


def test_the_next_slicer_goes_on_without_a_question(panel):
    panel.server.found = None
    panel.local.resume()
    view = panel.step()
    assert (view.state, view.question) == (LocalState.OFF, "")
    panel.server.found = FOUND
    panel.local.resume()
    panel.step()
    assert panel.step().state == LocalState.RUNNING


def test_the_log_is_read_only_while_somebody_looks(panel):
    panel.local.watch_log(True)
    panel.local.watch_log(True)
    panel.lanes.beat()
    panel.lanes.drain()
    assert panel.view.log == ("one", "two")
    panel.local.watch_log(False)
    before = panel.changes
    panel.lanes.beat()
    panel.lanes.drain()
    assert panel.changes == before


def test_when_slicer_ends_the_server_is_let_go_at_once(panel):
    panel.local.use()
    panel.step()
    panel.step()
    panel.local.close()
    assert panel.server.released == 1
    assert panel.lanes.busy == []
    assert panel.local.wanted
