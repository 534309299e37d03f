"""The work on patches: one at a time, answered, kept, the next at once."""

import numpy as np
import pytest

from NNActiveLogic.client.answers import Reason
from NNActiveLogic.presenter.loader import Origin
from standin import Reply


def test_the_first_patch_comes_with_image_and_without_a_prediction(ann, clinic):
    ann.next()
    view = ann.scene.view
    assert view.patch.id == "p0x1"
    np.testing.assert_array_equal(view.image.values, clinic.cases["case1"]["arrays"][0])
    assert (view.heat, view.prefill, view.stale) == (None, None, False)
    assert ann.session.view().state == "editing"


def test_answers_reach_the_server_in_order_and_each_patch_is_shown_once(ann, clinic):
    first = ann.next()
    while ann.session.state == "editing":
        ann.draw_and_accept(1)
    ann.all_sent()
    assert ann.scene.opened == [f"p0x{n}" for n in range(1, 7)]
    assert ann.scene.opened[0] == first
    assert all(count == 1 for count in clinic.by_patch().values())
    assert len(clinic.answers) == 6
    assert ann.session.view().sentence == "All boxes are done."
    ann.settle(lambda: not clinic.held_by())


def test_the_next_patch_is_loaded_ahead_and_appears_without_asking_again(ann, clinic):
    ann.next()
    ann.all_loaded()
    assert len(clinic.held_by()) == 3
    clinic.before = lambda request: Reply(503) if request.method == "GET" else None
    ann.draw_and_accept()
    assert ann.here == "p0x2"


def test_only_the_open_patch_and_those_ahead_are_leased(ann, clinic):
    ann.next()
    for _ in range(3):
        ann.draw_and_accept()
        ann.all_sent()
        ann.settle(lambda: len(ann.session.ahead.patches) == 2 or ann.session.ahead.exhausted)
        wanted = {ann.here, *(one.id for one in ann.session.ahead.patches)}
        ann.settle(lambda wanted=wanted: clinic.held_by() == wanted)
    assert ann.session.leave().ok
    ann.settle(lambda: not clinic.held_by())
    assert not ann.scene.is_open


def test_an_untouched_empty_box_is_not_accepted(ann, clinic):
    ann.next()
    said = ann.session.accept()
    assert not said.ok
    assert "Empty" in said.text
    assert ann.session.empty().ok
    ann.settle(lambda: ann.here == "p0x2")
    ann.all_sent()
    assert clinic.patches["p0x1"]["state"] == "empty"


def test_a_prediction_is_the_prefill_and_can_be_confirmed_as_it_is(hire, server, clinic):
    clinic.versions.append("cycle-000")
    clinic.model = "cycle-000"
    ann = hire(server.url).connect().open(clinic.project)
    ann.next()
    view = ann.scene.view
    assert view.prefill.any()
    assert view.heat.values.dtype == np.float32
    assert (view.model, view.stale) == ("cycle-000", False)
    ann.scene.draw(2)
    assert not ann.session.confirm().ok
    ann.scene.labels[:] = view.prefill
    assert ann.session.confirm().ok
    ann.all_sent()
    assert clinic.answers[-1]["kind"] == "confirmed"
    assert clinic.answers[-1]["prefilled_model"] == "cycle-000"


def test_without_prefill_the_box_starts_empty_and_nothing_can_be_confirmed(hire, server, clinic):
    clinic.versions.append("cycle-000")
    clinic.model = "cycle-000"
    ann = hire(server.url)
    ann.presenter.preferences.prefill = False
    ann.connect().open(clinic.project).next()
    assert ann.scene.view.prefill is None
    assert ann.scene.view.heat is not None
    assert not ann.session.view().can_confirm
    assert not ann.session.confirm().ok


def test_a_drawing_is_not_thrown_away_without_a_question(ann, clinic):
    ann.next()
    ann.scene.draw(1)
    for action in (
        lambda sure: ann.session.empty(sure),
        lambda sure: ann.session.skip(Reason.BAD_IMAGE, sure),
    ):
        said = action(False)
        assert (said.ok, said.ask) == (False, True)
    assert ann.session.skip(Reason.BAD_IMAGE, sure=True).ok
    ann.all_sent()
    assert clinic.answers[-1]["reason"] == "bad-image"


def test_a_referral_takes_the_drawing_along(ann, clinic):
    ann.next()
    ann.scene.draw(2)
    ann.session.screen.comment = "a cyst?"
    assert not ann.session.refer(" ").ok
    assert ann.session.refer("ben").ok
    ann.all_sent()
    last = clinic.answers[-1]
    assert (last["kind"], last["refer_to"], last["comment"]) == ("referred", "ben", "a cyst?")
    assert last["label"]


def test_a_box_that_cannot_be_read_stays_open_with_the_scenes_sentence(ann):
    ann.next()
    ann.scene.problem = "Two segments overlap."
    said = ann.session.accept()
    assert (said.ok, said.text) == (False, "Two segments overlap. Undo it.")
    assert ann.session.next().ask
    assert ann.here == "p0x1"


def test_a_patch_left_with_a_drawing_comes_back_with_it(ann):
    first = ann.next()
    ann.scene.draw(2)
    assert ann.session.next().ok
    ann.settle(lambda: ann.here not in (None, first))
    assert ann.session.view().drafts == {first}
    assert ann.session.jump(first).ok
    ann.settle(lambda: ann.here == first)
    assert ann.scene.view.prefill[0, 0, 0] == 2
    assert ann.session.view().origin == Origin.DRAFT
    assert ann.session.accept().ok
    ann.settle(lambda: ann.here != first)
    assert not ann.session.view().drafts


def test_patches_passed_over_come_again_when_nothing_else_is_left(ann):
    first = ann.next()
    ann.next()
    while ann.session.state == "editing":
        ann.draw_and_accept()
    assert "passed over" in ann.session.view().sentence
    assert ann.next() == first


def test_an_earlier_answer_is_corrected_from_what_was_said(ann, clinic):
    first = ann.next()
    ann.scene.mark_unsure(np.s_[2:])
    ann.draw_and_accept(2)
    ann.all_sent()
    assert ann.session.previous().ok
    ann.settle(lambda: ann.here == first)
    assert ann.scene.view.prefill[0, 0, 0] == 2
    assert ann.scene.view.unsure[2:].all()
    ann.draw_and_accept(1)
    ann.all_sent()
    assert clinic.patches[first]["revision"] == 2
    assert clinic.by_patch()[first] == 2


def test_an_answer_that_is_not_sent_yet_is_corrected_without_a_server(ann, clinic):
    first = ann.next()
    ann.all_loaded()
    clinic.before = lambda _: Reply(503, {"code": "busy", "detail": "Busy."})
    ann.draw_and_accept(2)
    assert ann.session.jump(first).ok
    ann.settle(lambda: ann.here == first)
    assert ann.scene.view.prefill[0, 0, 0] == 2
    ann.scene.draw(1)
    assert ann.session.accept().ok
    ann.settle(lambda: len(ann.opened.sending.entries) == 2)
    clinic.before = lambda _: None
    ann.presenter.connection.try_now()
    ann.all_sent()
    assert clinic.patches[first]["revision"] == 2
    assert [one["patch"] for one in clinic.answers] == [first, first]


def test_the_open_patch_cannot_be_opened_twice(ann):
    first = ann.next()
    assert ann.session.jump(first).ok
    ann.presenter.tick()
    assert ann.scene.opened == [first]


def test_a_patch_that_a_colleague_holds_is_named_and_not_opened(ann, server, clinic):
    other = clinic.client(server.url, "ben")
    other.lease("p0x5")
    other.close()
    ann.next()
    assert ann.session.jump("p0x5").ok
    ann.settle(lambda: ann.session.state == "idle")
    assert "ben works on this box now" in ann.session.view().notice
    row = {one.patch: one for one in ann.opened.rows()}
    ann.opened.records.refresh("patches")
    ann.settle(lambda: {r.patch: r for r in ann.opened.rows()}["p0x5"].holder == "ben")
    assert row["p0x1"].number == 1


def test_a_scene_that_refuses_an_image_gives_the_patch_back(ann, clinic):
    ann.scene.refuse = "The image cannot be shown."
    ann.session.next()
    ann.settle(lambda: ann.session.state == "idle" and ann.session.notice)
    assert "The image cannot be shown" in ann.session.view().notice
    ann.settle(lambda: "p0x1" not in clinic.held_by())
    ann.scene.refuse = None
    assert ann.next() == "p0x2"


def test_another_heat_map_appears_when_it_is_loaded(hire, server, clinic):
    from NNActiveLogic.work import HeatSettings

    clinic.versions.append("cycle-000")
    clinic.model = "cycle-000"
    ann = hire(server.url).connect().open(clinic.project)
    ann.next()
    ann.session.set_heat(HeatSettings("class-1"))
    ann.settle(lambda: ann.scene.heats[-1][0].measure == "class-1")
    assert any("class-1" in request.path for request in clinic.seen)
    before = len(clinic.seen)
    ann.session.set_heat(HeatSettings("class-1", opacity=0.2))
    assert ann.scene.heats[-1][0].opacity == 0.2
    assert not any("maps" in request.path for request in clinic.seen[before:])


def test_memory_for_what_comes_next_is_bounded(hire, server, clinic):
    ann = hire(server.url)
    ann.presenter.preferences.cache_bytes = 3000
    ann.connect().open(clinic.project).next()
    while ann.session.state == "editing":
        ann.draw_and_accept()
        shown = ann.scene.view.image.values.nbytes if ann.scene.view else 0
        assert ann.session._cache.nbytes <= 3000 + shown
    assert len(ann.scene.opened) == 6


@pytest.mark.parametrize("action", ["accept", "confirm", "empty"])
def test_nothing_is_answered_when_nothing_is_open(ann, action):
    assert not getattr(ann.session, action)().ok


def test_a_drawing_outlives_a_new_token_and_a_closed_project(ann, clinic):
    patch = ann.next()
    ann.scene.draw(2, np.s_[:2])
    drawn = ann.scene.labels.copy()
    ann.connect()  # as somebody does whose token was refused
    ann.settle(lambda: ann.presenter.opened is not None)
    assert ann.session.view().drafts == {patch}
    ann.presenter.close_project()
    ann.open(clinic.project)
    assert ann.session.jump(patch).ok
    ann.settle(lambda: ann.here == patch)
    assert np.array_equal(ann.scene.labels, drawn)
    ann.draw_and_accept()
    assert not ann.session.view().drafts


def test_an_answer_that_is_being_kept_while_the_project_closes_leaves_no_draft(ann, clinic):
    ann.next()
    ann.scene.draw(2)
    assert ann.session.accept().ok
    ann.presenter.close_project()
    ann.open(clinic.project)
    ann.settle(lambda: not ann.opened.sending.entries)
    assert not ann.session.view().drafts
