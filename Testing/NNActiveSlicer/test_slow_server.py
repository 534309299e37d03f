"""The server is slow or gone: the panel goes on, says so, and loses nothing."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

SLAB = np.s_[:2]


@pytest.fixture
def held(clinic):
    """`held(part)` holds back every answer of the server to addresses with this in them, until `let_go`."""

    class Held:
        def __init__(self):
            self.free = threading.Event()
            self.waiting = 0

        def __call__(self, part):
            def before(request):
                if part in request.path:
                    self.waiting += 1
                    self.free.wait(20)

            clinic.before = before

        def let_go(self):
            self.free.set()

    made = Held()
    yield made
    made.let_go()


@pytest.fixture
def gone(clinic):
    """Whether the server answers at all."""
    from standin import Problem

    refusal = Problem(503, "busy", "The server is being restarted.").reply

    def switch(off):
        clinic.before = (lambda _: refusal) if off else (lambda _: None)

    return switch


def test_the_panel_reacts_while_every_answer_is_held_back(reader, held, clinic, steps):
    reader.begin()
    reader.all_loaded()
    held("/v1/")
    first = reader.here
    reader.paint("class-1", SLAB)
    reader.press("Ctrl+Return")
    second = reader.shown()
    assert second != first
    reader.paint("class-2", SLAB)
    longest = 0.0
    for action in ("Ctrl+D", "Ctrl+J", "Ctrl+U"):
        begun = time.perf_counter()
        reader.press(action)
        longest = max(longest, time.perf_counter() - begun)
    steps.choose(reader.ui("workList").filterCombo, "Not sent yet")
    assert reader.texts(reader.ui("workList").patchTable, 0) == ["1"]
    assert held.waiting
    assert longest < 2.0, "it waited for the server"
    assert not clinic.answers
    held.let_go()
    reader.until(lambda: clinic.answers)


def test_a_training_that_is_not_answered_leaves_the_panel_free(reader, held, clinic, steps):
    reader.begin()
    reader.press("Ctrl+E")
    reader.until(lambda: clinic.answers)
    reader.shown()
    held("/cycles")
    reader.panel.sections["training"].container.collapsed = False
    steps.click(reader.ui("training").startButton)
    reader.until(lambda: held.waiting)
    assert not reader.ui("training").startButton.enabled
    reader.paint("class-1", SLAB)
    assert reader.session.state == "editing"
    held.let_go()
    reader.until(lambda: reader.ui("training").cancelButton.visible)


def test_drawings_and_answers_survive_a_server_that_goes_and_comes_back(reader, gone, clinic):
    reader.begin()
    reader.all_loaded()
    first = reader.here
    gone(True)
    reader.paint("class-1", SLAB)
    drawn = reader.adapter.read().labels
    reader.press("Ctrl+Return")
    second = reader.shown()
    reader.until(lambda: "is lost" in reader.host.widget.ui.statusLabel.text)
    assert "answers are kept here and sent later" in reader.host.widget.ui.statusLabel.text
    reader.paint("class-2", SLAB)
    unfinished = reader.adapter.read().labels
    gone(False)
    reader.until(lambda: clinic.answers)
    reader.until(lambda: not reader.presenter.opened.sending.entries)
    assert clinic.answers[0]["patch"] == first
    assert np.array_equal(reader.sent_labels(clinic.answers[0]), drawn)
    assert reader.here == second
    assert np.array_equal(reader.adapter.read().labels, unfinished)
    reader.until(lambda: reader.host.widget.ui.statusLabel.text.startswith("Connected"))


def test_the_next_box_comes_by_itself_when_the_server_is_back(reader, gone, clinic):
    reader.begin()
    reader.all_loaded()
    gone(True)
    for _ in range(3):
        here = reader.here
        reader.press("Ctrl+E")
        reader.until(lambda here=here: reader.here != here)
    reader.until(lambda: "when the server answers again" in reader.ui("patch").sentenceLabel.text)
    assert not reader.ui("patch").acceptButton.enabled
    gone(False)
    reader.shown()
    reader.until(lambda: len(clinic.answers) == 3)
