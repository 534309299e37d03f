"""Results that arrive in an unlucky order, each made to happen."""

import pytest

from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.presenter import Presenter
from testkit.fake_scene import FakeScene
from testkit.step_lanes import StepLanes


class Memory(dict):
    def set(self, key, value):
        self[key] = value


@pytest.fixture
def lanes():
    return StepLanes()


@pytest.fixture
def rest(lanes):
    """Let everything happen that is under way."""

    def run(presenter):
        while lanes.busy or lanes.results:
            for lane in lanes.busy:
                lanes.step(lane)
            presenter.tick()

    return run


@pytest.fixture
def presenter(server, clinic, tmp_path, lanes, rest):
    limits = Limits(attempts=1)
    made = Presenter(FakeScene(), Memory(), tmp_path, lambda: None, lanes=lanes, limits=limits, wait=0.0)
    made.connection.connect(server.url, "token-ann")
    rest(made)
    made.open(clinic.project)
    rest(made)
    yield made
    made.opened.desk.outbox.close()
    made.connection.client.close()


def test_a_patch_that_is_jumped_to_while_the_server_offers_it_waits_in_one_place_only(presenter, lanes, rest):
    session = presenter.opened.session
    session.next()
    session.jump("p0x1")
    lanes.step("front")
    presenter.tick()
    rest(presenter)
    assert session.patch.id == "p0x1"
    assert [patch.id for patch in session.ahead.patches] == ["p0x2", "p0x3"]
    assert presenter._scene.opened == ["p0x1"]


def test_a_patch_that_is_given_back_and_taken_again_stays_leased(presenter, clinic, rest):
    session = presenter.opened.session
    session.jump("p0x4")
    rest(presenter)
    session.leave()
    session.jump("p0x4")
    rest(presenter)
    assert "p0x4" in clinic.held_by()
    assert session.patch.id == "p0x4"


def test_giving_back_late_does_not_take_away_what_was_taken_again(presenter, clinic, rest):
    session = presenter.opened.session
    session.jump("p0x4")
    rest(presenter)
    session.leases._owed.add("p0x4")
    session.leases._give_back("p0x4")
    rest(presenter)
    assert "p0x4" in clinic.held_by()


def test_a_view_of_the_outbox_from_before_an_answer_does_not_hide_it(presenter, rest):
    sending, session = presenter.opened.sending, presenter.opened.session
    earlier = sending._snapshot()
    session.next()
    rest(presenter)
    patch = session.patch
    sending._desk.outbox.put(patch.id, Answer(Kind.EMPTY), 0)
    sending._show(sending._snapshot())
    sending._show(earlier)
    assert sending.patches == {patch.id}


def test_an_answered_patch_is_not_offered_while_its_answer_is_on_its_way(presenter, clinic, rest):
    from standin import Reply

    session = presenter.opened.session
    presenter.preferences.ahead = 0
    session.next()
    rest(presenter)
    busy = Reply(503, {"code": "busy", "detail": "Busy."})
    clinic.before = lambda request: busy if request.path.endswith("/annotation") else None
    for patch in ("p0x1", "p0x2", "p0x3"):
        assert session.patch.id == patch
        assert session.empty().ok
        rest(presenter)
        presenter.connection.try_now()
        rest(presenter)
    assert presenter._scene.opened == ["p0x1", "p0x2", "p0x3", "p0x4"]
