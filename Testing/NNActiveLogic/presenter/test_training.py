"""A training from the clinician's side, while the work goes on."""

import pytest

from NNActiveLogic.client.statistics import CycleStatistics, Outlook, Range, Statistics
from NNActiveLogic.client.values import Job, Progress
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.progress import advice, outlook, progress
from NNActiveLogic.presenter.training import _sentence, stage_words


@pytest.fixture
def trained(ann):
    """One patch answered, the next one open with a drawing, and a training under way."""
    ann.next()
    ann.draw_and_accept()
    ann.scene.draw(2)
    assert ann.opened.training.start().ok
    ann.settle(lambda: ann.opened.training.running)
    return ann


def test_a_training_needs_answers(ann):
    said = ann.opened.training.start()
    assert (said.ok, said.text) == (False, words.TRAINING_NOTHING)


@pytest.mark.usefixtures("trained")
def test_answers_on_their_way_are_sent_before_a_training_begins(clinic):
    posts = [one.path.rsplit("/", 1)[-1] for one in clinic.seen if one.method in ("PUT", "POST")]
    assert posts.index("annotation") < posts.index("cycles")


def test_a_training_that_found_no_room_for_new_boxes_says_so(trained, clinic):
    (job,) = clinic.jobs
    clinic.finish(job, patches=0)
    trained.settle(lambda: not trained.opened.training.running)
    trained.settle(lambda: trained.opened.training.view().sentence == words.TRAINING_DONE_FULL)


@pytest.mark.parametrize("early", [True, False])
def test_first_boxes_before_the_end_are_asked_for_only_if_wanted(ann, clinic, early):
    ann.next()
    ann.draw_and_accept()
    assert ann.opened.training.start(early).ok
    ann.settle(lambda: ann.opened.training.running)
    (asked,) = [one for one in clinic.seen if one.path.endswith("/cycles")]
    assert asked.json == ({"early": True} if early else {})


def test_first_boxes_give_way_to_better_ones_but_not_the_one_that_is_open(ann, clinic):
    ann.next()
    while ann.session.state == "editing":
        ann.draw_and_accept()
    assert ann.opened.training.start(early=True).ok
    ann.settle(lambda: ann.opened.training.running)
    assert ann.opened.training.view().hint == ""
    clinic.grow(4, cycle=1, early=True)
    ann.settle(lambda: ann.here == "early1x1")
    assert ann.opened.training.view().hint == words.EARLY_BOXES
    ann.draw_and_accept()
    ann.scene.draw(2)
    here = ann.here
    clinic.finish(*clinic.jobs)
    ann.settle(lambda: {"p1x1", "p1x2", "p1x3"} <= {row.patch for row in ann.opened.rows()})
    kept = {row.patch for row in ann.opened.rows() if row.patch.startswith("early")}
    assert {"early1x1", here} <= kept < {f"early1x{rank}" for rank in range(1, 5)}
    ann.settle(lambda: ann.opened.training.view().hint == "")
    assert ann.here == here
    assert ann.scene.labels[0, 0, 0] == 2
    ann.draw_and_accept()
    assert ann.here not in (here, None)


def test_progress_is_told_by_events_in_words(trained, clinic):
    (job,) = clinic.jobs
    clinic.report(job, "train", 3, 12, 240.0)
    trained.settle(lambda: "25 %" in trained.opened.training.view().sentence)
    view = trained.opened.training.view()
    assert view.sentence == "Training: 25 %, about 4 minutes left."
    assert view.fraction == 0.25
    assert (view.running, view.can_start, view.can_cancel) == (True, False, True)


def test_new_patches_and_a_stale_mark_come_without_disturbing_the_open_patch(hire, server, clinic):
    clinic.versions.append("cycle-000")
    clinic.model = "cycle-000"
    ann = hire(server.url).connect().open(clinic.project)
    ann.next()
    ann.draw_and_accept()
    ann.scene.draw(2)
    here, before = ann.here, len(ann.opened.rows())
    assert ann.opened.training.start().ok
    ann.settle(lambda: ann.opened.training.running)
    (job,) = clinic.jobs
    clinic.finish(job)
    ann.settle(lambda: len(ann.opened.rows()) == before + 3)
    assert ann.here == here
    assert ann.scene.labels[0, 0, 0] == 2
    ann.settle(lambda: ann.scene.stale)
    assert ann.session.view().stale
    ann.settle(lambda: "new boxes" in ann.opened.training.view().sentence)
    ann.draw_and_accept()
    assert ann.scene.view.model == "cycle-001"
    assert not ann.scene.view.stale


def test_work_that_was_done_goes_on_when_a_training_brings_new_patches(ann, clinic):
    ann.next()
    while ann.session.state == "editing":
        ann.draw_and_accept()
    assert ann.opened.training.start().ok
    ann.settle(lambda: ann.opened.training.running)
    clinic.finish(*clinic.jobs)
    ann.settle(lambda: ann.here == "p1x1")


def test_a_training_can_be_stopped_and_gone_on_with(trained):
    training = trained.opened.training
    assert training.cancel().ok
    trained.settle(lambda: training.view().can_resume)
    assert "stopped" in training.view().sentence
    assert training.resume().ok
    trained.settle(lambda: training.running)


def test_what_happened_while_the_computer_slept_is_heard_afterwards(trained, clinic):
    from standin import Reply

    clinic.before = lambda _: Reply(503, {"code": "busy", "detail": "Busy."})
    trained.opened.records.refresh()
    trained.settle(lambda: trained.presenter.connection.state == "lost")
    clinic.finish(*clinic.jobs)
    clinic.before = lambda _: None
    trained.presenter.connection.try_now()
    trained.settle(lambda: any(row.cycle == 1 for row in trained.opened.rows()))
    trained.settle(lambda: not trained.opened.training.running)


def job(state, **more):
    about = {"position": None, "progress": None, "error": None} | more
    return Job("j", "cycle", 0, state, log=(), created=0.0, started=None, ended=None, **about)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "No training goes on."),
        (job("queued", position=3), "The training waits for its turn, at place 3."),
        (job("queued", position=1), "The training begins …"),
        (job("failed", error="Full."), "The training failed: Full. It can go on from its last checkpoint."),
        (job("running", progress=Progress("cycle 1 of 5: predict", 1, 3, "", None)), "Predicting: 33 %."),
        (job("running", cancelling=True), "The training stops at its next checkpoint …"),
        (job("a new state"), "No training goes on."),
    ],
)  # fmt: skip
def test_every_state_has_its_sentence(given, expected):
    assert _sentence(given) == expected


def test_an_unknown_stage_is_just_work():
    assert stage_words("cycle 2 of 5: dreaming") == "Working"


def cycle(number, dice, spread=0.04):
    spreads = None if spread is None else {"a": spread}
    return CycleStatistics(number, 5, 10, 3.0, {"a": dice}, spreads, {})


@pytest.mark.parametrize(
    ("dice", "spread", "begins"),
    [
        ([], 0.04, "There is not enough data"),
        ([0.5], 0.04, "There is not enough data"),
        ([0.5, 0.6], None, "There is not enough data"),
        ([0.5, 0.52], 0.04, "There is not enough data"),
        ([0.5, 0.6], 0.04, "Another round is likely to pay: the last one gained 10 Dice points"),
        ([0.5, 0.53, 0.56], 0.04, "Another round may pay"),
        (
            [0.5, 0.51, 0.52],
            0.04,
            "Another round is not likely to pay: the last ones gained 1 Dice point each",
        ),
        ([0.2, 0.5, 0.51, 0.50], 0.04, "Another round is not likely to pay"),
        ([None, 0.5, None, 0.6], 0.04, "Another round is likely to pay"),
    ],
)
def test_whether_another_round_pays_is_told_from_gains_and_chance(dice, spread, begins):
    assert advice([cycle(n, one, spread) for n, one in enumerate(dice)]).startswith(begins)


@pytest.mark.parametrize(
    ("gain", "worth", "expected"),
    [
        (
            Range(0.006, 0.0123, 0.02),
            True,
            "Another round is likely to pay: about 1.2 Dice points more (0.6 to 2.0).",
        ),
        (
            Range(-0.002, 0.001, 0.004),
            False,
            "Another round is not likely to pay: 0.4 Dice points more at most.",
        ),
        (
            Range(-0.03, -0.02, -0.01),
            False,
            "Another round is not likely to pay: no better agreement is to be expected.",
        ),
        (
            Range(-0.0001, 0.01, 0.03),
            None,
            "There is not enough data yet to say whether another round will pay: "
            "0.0 to 3.0 Dice points more.",
        ),
    ],
)
def test_what_the_server_expects_of_another_round_is_told(gain, worth, expected):
    told = Outlook(gain, worth, "words of the server")
    assert outlook(told) == expected
    assert progress(Statistics((), {}, {}, told), (), ()).advice == expected


@pytest.mark.parametrize("told", [None, Outlook(None, None, "One more cycle: not enough data to say.")])
def test_without_a_number_of_the_server_the_gains_so_far_are_told(told):
    cycles = (cycle(0, 0.5), cycle(1, 0.6))
    found = progress(Statistics(cycles, {}, {}, told), (), ()).advice
    assert found == advice(cycles)
    assert "the last one gained 10 Dice points" in found


def test_what_was_empty_before_the_first_model_is_loaded_again_with_it(ann, clinic):
    ann.next()
    ann.all_loaded()
    ann.draw_and_accept()
    assert ann.scene.view.heat is None
    assert ann.opened.training.start().ok
    ann.settle(lambda: ann.opened.training.running)
    clinic.finish(*clinic.jobs)
    ann.settle(lambda: ann.opened.records.now.models)
    ann.draw_and_accept()
    assert ann.scene.view.heat is not None
    assert ann.scene.view.prefill is not None
