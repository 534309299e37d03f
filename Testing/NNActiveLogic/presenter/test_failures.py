"""The network goes, the program ends, somebody else answers: nothing is lost, and nothing counts twice."""

import threading
import time

import numpy as np
import pytest

from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.outbox import Outbox
from NNActiveLogic.client.outbox_file import outbox_path
from NNActiveLogic.presenter.opened import HERE
from standin import Reply, Running

BUSY = Reply(503, {"code": "busy", "detail": "Busy."})


def test_work_goes_on_without_a_server_and_everything_is_sent_when_it_is_back(ann, clinic):
    ann.next()
    ann.all_loaded()
    clinic.before = lambda _: BUSY
    ann.draw_and_accept()
    ann.draw_and_accept()
    ann.scene.draw(1)
    assert ann.session.accept().ok
    ann.settle(lambda: ann.session.state == "waiting")
    assert ann.opened.sending.counts.waiting == 3
    ann.settle(lambda: ann.presenter.connection.state == "lost")
    assert "3 answers are not sent" in ann.opened.sending.sentence
    assert "lost" in ann.presenter.connection.view().sentence
    clinic.before = lambda _: None
    ann.presenter.connection.try_now()
    ann.settle(lambda: ann.here == "p0x4")
    ann.all_sent()
    assert [one["patch"] for one in clinic.answers] == ["p0x1", "p0x2", "p0x3"]


def test_a_lost_connection_is_tried_again_by_itself_with_growing_pauses(hire, server, clinic):
    now = [1000.0]
    ann = hire(server.url, clock=lambda: now[0]).connect().open(clinic.project)
    connection = ann.presenter.connection
    clinic.before = lambda _: BUSY
    ann.opened.records.refresh()
    ann.settle(lambda: connection.state == "lost")
    pauses = []
    for _ in range(4):
        pauses.append(connection._next_try - now[0])
        now[0] = connection._next_try
        failures = connection._failures
        ann.settle(lambda failures=failures: connection._failures > failures)
    assert pauses[0] <= 1.0 < 2.0 <= pauses[3] <= 60.0
    clinic.before = lambda _: None
    now[0] = connection._next_try
    ann.settle(lambda: connection.online)


def test_an_answer_outlives_the_program(hire, server, clinic):
    first = hire(server.url).connect().open(clinic.project)
    first.next()
    first.all_loaded()
    clinic.before = lambda _: BUSY
    patch = first.draw_and_accept(2)
    first.close()
    clinic.before = lambda _: None
    again = hire(server.url).connect().open(clinic.project)
    again.settle(lambda: not again.opened.sending.entries)
    assert [one["patch"] for one in clinic.answers] == [patch]
    assert again.next() == "p0x2"


def test_after_a_crash_an_answered_patch_does_not_come_again(hire, server, clinic, tmp_path):
    """The answer is on the disk, the server knows nothing of it, and its lease is still ours."""
    path = outbox_path(tmp_path / "outbox", HERE, clinic.project, "ann")
    outbox = Outbox(path, HERE, clinic.project, "ann")
    outbox.put("p0x1", Answer(Kind.EMPTY), 0)
    outbox.close()
    clinic.before = lambda request: BUSY if request.path.endswith("/annotation") else None
    ann = hire(server.url).connect().open(clinic.project)
    assert ann.next() == "p0x2"
    assert {row.patch: row.mark for row in ann.opened.rows()}["p0x1"] == "not sent yet"


def test_a_server_here_that_comes_back_on_another_port_gets_what_was_unsent(hire, server, clinic):
    ann = hire(server.url).connect().open(clinic.project)
    patch = ann.next()
    clinic.before = lambda request: BUSY if request.path.endswith("/annotation") else None
    ann.draw_and_accept()
    ann.settle(lambda: ann.session.state != "keeping")
    ann.close()
    assert clinic.answers == []
    clinic.before = lambda _: None
    other = Running(clinic)
    assert other.url != server.url
    again = hire(other.url).connect().open(clinic.project)
    again.settle(lambda: not again.opened.sending.entries)
    assert [one["patch"] for one in clinic.answers] == [patch]
    again.close()
    other.stop()


def test_closing_gives_every_lease_back(ann, clinic):
    ann.next()
    ann.all_loaded()
    ann.close()
    assert not clinic.held_by()


def answered_by_ben(server, clinic, patch):
    other = clinic.client(server.url, "ben")
    labels = np.full((4, 5, 6), 2, np.uint8)
    other.annotate(patch, Answer(Kind.LABELLED, labels), 0)
    other.close()


def in_dispute(ann, server, clinic):
    ann.next()
    answered_by_ben(server, clinic, "p0x1")
    ann.draw_and_accept(1)
    ann.settle(lambda: ann.opened.disputes())
    (dispute,) = ann.opened.disputes()
    return dispute


def test_a_conflict_shows_both_sides(ann, server, clinic):
    dispute = in_dispute(ann, server, clinic)
    assert "ben answered this box" in dispute.sentence
    assert dispute.mine.sentence == "You: 1 voxels of organ"
    assert dispute.theirs.sentence == "ben: 120 voxels of lesion"
    assert dispute.theirs.labels.min() == 2
    assert "decision" in ann.opened.sending.sentence
    assert len(clinic.answers) == 1


def test_mine_can_be_kept(ann, server, clinic):
    ann.opened.sending.keep_mine(in_dispute(ann, server, clinic).entry)
    ann.all_sent()
    assert [one["annotator"] for one in clinic.answers] == ["ben", "ann"]
    assert clinic.patches["p0x1"]["revision"] == 2


def test_theirs_can_be_taken(ann, server, clinic):
    ann.opened.sending.take_theirs(in_dispute(ann, server, clinic).entry)
    ann.all_sent()
    assert [one["annotator"] for one in clinic.answers] == ["ben"]


def test_a_refused_answer_is_kept_and_says_why(ann, clinic):
    refuse = Reply(422, {"code": "invalid", "detail": "The labels are odd."})
    clinic.before = lambda request: refuse if request.path.endswith("/annotation") else None
    ann.next()
    ann.draw_and_accept()
    ann.settle(lambda: ann.opened.disputes())
    (dispute,) = ann.opened.disputes()
    assert "The labels are odd." in dispute.sentence
    assert dispute.theirs is None
    clinic.before = lambda _: None
    ann.opened.sending.keep_mine(dispute.entry)
    ann.all_sent()
    assert len(clinic.answers) == 1


def test_a_correction_of_an_answer_that_is_sent_meanwhile_does_not_conflict_with_itself(ann, clinic):
    first = ann.next()
    ann.all_loaded()
    stop = BUSY
    clinic.before = lambda request: stop if request.path.endswith("/annotation") else None
    ann.draw_and_accept(2)
    assert ann.session.jump(first).ok
    ann.settle(lambda: ann.here == first)
    clinic.before = lambda _: None
    ann.opened.sending.flush(now=True)
    ann.settle(lambda: not ann.opened.sending.entries)
    ann.settle(lambda: first in clinic.held_by())
    ann.draw_and_accept(1)
    ann.all_sent()
    assert clinic.patches[first]["revision"] == 2
    assert not ann.opened.disputes()


def test_a_lost_lease_is_taken_again_or_said(hire, server, clinic):
    ann = hire(server.url).connect().open(clinic.project)
    first = ann.next()
    ann.all_loaded()
    clinic.patches[first]["lease"] = None
    ann.session.leases._beaten((first,))
    ann.settle(lambda: first in clinic.held_by())
    clinic.patches[first]["lease"] = {"holder": "ben", "expires": time.time() + 60}
    ann.session.leases._beaten((first,))
    ann.settle(lambda: ann.session.notice)
    assert "ben works on this box now" in ann.session.notice
    assert ann.here == first
    ann.draw_and_accept()
    ann.all_sent()
    assert len(clinic.answers) == 1


def test_a_full_disk_keeps_the_box_open_with_the_drawing(ann, monkeypatch):
    from NNActiveLogic.client.errors import OutboxError

    ann.next()

    def full(*_):
        raise OutboxError("The disk is full.")

    with monkeypatch.context() as broken:
        broken.setattr(ann.opened.desk.outbox, "put", full)
        ann.scene.draw(1)
        assert ann.session.accept().ok
        ann.settle(lambda: ann.session.state == "editing")
    assert "The disk is full." in ann.session.notice
    assert ann.scene.labels[0, 0, 0] == 1
    ann.draw_and_accept()
    ann.all_sent()


class _Held:
    """A server that holds every answer back until it is told otherwise."""

    def __init__(self, clinic):
        self.gate = threading.Event()
        clinic.before = self

    def __call__(self, _):
        self.gate.wait(30)


def test_no_call_of_the_presenter_waits_for_the_server(hire, server, clinic):
    """Every request hangs; all calls together take less than one request may."""
    ann = hire(server.url).connect().open(clinic.project)
    ann.next()
    ann.all_loaded()
    held = _Held(clinic)
    try:
        begun = time.monotonic()
        presenter, session = ann.presenter, ann.session
        ann.scene.draw(1)
        calls = [
            session.accept, presenter.tick, session.view, ann.opened.rows, ann.opened.progress,
            ann.opened.budget, ann.opened.disputes, ann.opened.training.view, ann.opened.training.start,
            ann.opened.training.cancel, lambda: session.jump("p0x6"), session.next, session.previous,
            lambda: session.take_back("p0x6"), session.leave, presenter.tick, presenter.projects.list,
            ann.opened.records.refresh, presenter.connection.try_now, presenter.connection.view,
            lambda: presenter.connection.connect(server.url, "token-ann"),
            lambda: presenter.open(clinic.project), presenter.close_project, presenter.tick,
        ]  # fmt: skip
        for call in calls:
            call()
        assert time.monotonic() - begun < 1.0  # one request that waits would take 2 s
    finally:
        held.gate.set()


def test_editing_goes_on_while_the_server_holds_its_answers_back(ann, clinic):
    ann.next()
    ann.all_loaded()
    held = _Held(clinic)
    try:
        ann.draw_and_accept()
        ann.draw_and_accept()
        assert ann.here == "p0x3"
    finally:
        held.gate.set()
    ann.settle(lambda: ann.presenter.connection.online or ann.presenter.connection.try_now())
    ann.all_sent()
    assert len(clinic.answers) == 2


def test_a_server_that_starts_anew_is_found_again(ann, server, clinic):
    clinic.keep_alive = False
    ann.next()
    ann.all_loaded()
    server.stop()
    ann.draw_and_accept()
    ann.settle(lambda: ann.presenter.connection.state == "lost")
    again = Running(clinic, port=server.port)
    try:
        ann.presenter.connection.try_now()
        ann.all_sent()
        assert len(clinic.answers) == 1
        ann.close()
    finally:
        server.stop = again.stop


@pytest.mark.parametrize("reading", [1, 2])
def test_who_reads_a_second_time_is_not_shown_the_first_answer(hire, server, clinic, reading):
    answered_by_ben(server, clinic, "p0x1")
    ann = hire(server.url)
    ann.presenter.preferences.reading = reading
    ann.connect().open(clinic.project)
    assert ann.session.jump("p0x1").ok
    ann.settle(lambda: ann.here == "p0x1")
    assert (ann.scene.view.prefill is None) == (reading == 2)
    ann.scene.draw(1)
    assert ann.session.accept().ok
    ann.all_sent()
    assert clinic.answers[-1]["reading"] == reading
