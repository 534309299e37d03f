"""The table of boxes: filled, filtered, opened from; what is not sent, and answers that need a decision."""

from __future__ import annotations

import time

import pytest


@pytest.fixture
def ui(reader):
    return reader.ui("workList")


def numbers(reader):
    return reader.texts(reader.ui("workList").patchTable, 0)


def test_every_box_is_listed_with_case_reason_and_state(reader, ui):
    assert numbers(reader) == [str(number) for number in range(1, 7)]
    assert set(reader.texts(ui.patchTable, 1)) == {"patient 0", "patient 1"}
    assert set(reader.texts(ui.patchTable, 2)) == {"open"}
    assert set(reader.texts(ui.patchTable, 6)) == {"Less certain here."}
    assert ui.countLabel.text == "6 of 6"


def test_the_open_box_is_marked(reader):
    reader.begin()
    assert numbers(reader) == ["▶ 1", "2", "3", "4", "5", "6"]


def test_a_box_is_opened_by_double_click_enter_and_button(reader, ui, clinic, steps):
    from PySide6 import QtCore, QtTest

    table = ui.patchTable
    place = table.visualItemRect(table.item(2, 1)).center()
    for click in (QtTest.QTest.mouseClick, QtTest.QTest.mouseDClick):
        click(table.viewport(), QtCore.Qt.MouseButton.LeftButton, pos=place)
    reader.shown("p0x3")
    table.setCurrentCell(4, 0)
    steps.press(table, "Return")
    reader.shown("p0x5")
    table.setCurrentCell(0, 0)
    steps.click(ui.openButton)
    reader.shown("p0x1")
    assert not ui.openButton.enabled


def test_the_buttons_go_along_the_list_as_it_is_shown(reader, ui, steps):
    reader.begin()
    steps.click(ui.nextRowButton)
    reader.shown("p0x2")
    steps.click(ui.previousRowButton)
    reader.shown("p0x1")
    steps.click(ui.previousRowButton)
    assert "no further box" in reader.host.widget.ui.messageLabel.text


def test_a_filter_shows_only_its_rows(reader, ui, clinic, steps):
    reader.begin()
    reader.press("Ctrl+E")
    reader.until(lambda: clinic.answers)
    reader.shown()
    reader.until(lambda: "empty" in reader.texts(ui.patchTable, 2))
    steps.choose(ui.filterCombo, "Answered")
    assert numbers(reader) == ["1"]
    assert ui.countLabel.text == "1 of 6"
    steps.choose(ui.filterCombo, "To do")
    assert numbers(reader) == ["▶ 2", "3", "4", "5", "6"]
    steps.choose(ui.filterCombo, "All boxes")
    assert len(numbers(reader)) == 6


def test_updates_keep_the_chosen_row_and_the_scroll_place(reader, ui, clinic, steps):
    clinic.grow(200, cycle=1)
    reader.until(lambda: ui.patchTable.rowCount == 206)
    steps.settle()
    table = ui.patchTable
    table.setCurrentCell(150, 0)
    bar = table.verticalScrollBar()
    place = bar.value
    assert place > 0
    written = []
    fill = reader.panel.sections["workList"]._table.fill
    reader.panel.sections["workList"]._table.fill = lambda rows: written.append(fill(rows))
    reader.begin()
    reader.press("Ctrl+E")
    reader.until(lambda: clinic.answers)
    reader.shown()
    assert reader.panel.sections["workList"]._table.current == "p1x145"
    assert (table.currentRow(), bar.value) == (150, place)
    assert 0 < sum(written) < 20


def test_rows_that_go_take_their_place_and_not_the_choice(reader, ui, clinic, steps):
    steps.choose(ui.filterCombo, "To do")
    ui.patchTable.setCurrentCell(3, 0)
    reader.begin()
    reader.press("Ctrl+E")
    reader.until(lambda: ui.patchTable.rowCount == 5)
    assert reader.panel.sections["workList"]._table.current == "p0x4"
    assert ui.patchTable.currentRow() == 2


def test_of_a_thousand_boxes_only_the_cells_that_changed_are_written(reader, ui, clinic):
    reader.begin()
    clinic.grow(1000, cycle=1)
    reader.until(lambda: ui.patchTable.rowCount == 1006)
    rows = reader.panel.sections["workList"]._table
    fill, written = rows.fill, []
    rows.fill = lambda wanted: written.append(fill(wanted))
    reader.session.jump("p0x4")
    reader.shown("p0x4")
    assert sum(written) == 2
    assert numbers(reader)[:5] == ["1", "2", "3", "▶ 4", "5"]


def test_what_is_not_sent_is_shown_and_sent_when_the_server_is_back(reader, ui, server, clinic, steps):
    from standin import Problem

    reader.begin()
    gone = Problem(503, "busy", "The server restarts.").reply
    clinic.before = lambda _: gone
    reader.press("Ctrl+E")
    reader.until(lambda: "empty, not sent yet" in reader.texts(ui.patchTable, 2))
    assert "1 answer is not sent yet." in reader.host.widget.ui.sendingLabel.text
    assert ui.sendButton.visible
    steps.choose(ui.filterCombo, "Not sent yet")
    assert numbers(reader) == ["1"]
    clinic.before = lambda _: None
    steps.click(ui.sendButton)
    reader.until(lambda: clinic.answers)
    reader.until(lambda: numbers(reader) == [])
    reader.until(lambda: not ui.sendButton.visible)


def test_an_answer_is_taken_back(reader, ui, clinic, steps):
    reader.begin()
    reader.press("Ctrl+E")
    reader.until(lambda: "empty" in reader.texts(ui.patchTable, 2))
    reader.shown()
    ui.patchTable.setCurrentCell(0, 0)
    reader.until(lambda: ui.takeBackButton.visible)
    steps.click(ui.takeBackButton)
    reader.until(lambda: clinic.patches["p0x1"]["state"] == "open")
    clinic.emit(clinic.project, "answer.reopened", {})
    reader.until(lambda: reader.texts(ui.patchTable, 2)[0] == "open")


@pytest.fixture
def disputed(reader, clinic):
    """A colleague has answered the box while mine was being drawn."""
    reader.begin()
    clinic.patches["p0x1"].update(revision=1, state="empty")
    clinic.answers.append(
        {"patch": "p0x1", "reading": 1, "annotator": "ben", "time": time.time(), "kind": "empty",
         "revision": 1, "seconds": 3.0, "edits": 0}
    )  # fmt: skip
    reader.press("Ctrl+Return")
    reader.until(lambda: reader.presenter.opened.sending.counts.parked)
    reader.shown()
    return reader


def test_a_dispute_is_decided_in_the_list(disputed, ui, clinic, steps):
    assert ui.disputeBox.visible
    assert "answered this box" in ui.disputeLabel.text
    assert ui.mineLabel.text.startswith("You: ")
    steps.click(ui.keepMineButton)
    disputed.until(lambda: not disputed.presenter.opened.sending.entries)
    disputed.until(lambda: not ui.disputeBox.visible)
    assert clinic.answers[-1]["kind"] == "labelled"


def test_theirs_is_taken(disputed, ui, clinic, steps):
    steps.click(ui.takeTheirsButton)
    disputed.until(lambda: not ui.disputeBox.visible)
    assert [one["annotator"] for one in clinic.answers if one["patch"] == "p0x1"] == ["ben"]
