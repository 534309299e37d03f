"""The section Connect: another computer, layer by layer, and this computer with one button."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture
def panel(nnactive):
    return nnactive.widget.panel


@pytest.fixture
def ui(panel):
    return panel.sections["connect"].ui


@pytest.fixture
def connection(panel):
    return panel.presenter.connection


@pytest.fixture
def fill(ui, steps):
    """Type address and token, and press the button."""

    def type_and_press(address, token="token-ann"):
        steps.type_text(ui.addressEdit, address)
        steps.type_text(ui.tokenEdit, token)
        steps.click(ui.connectButton)

    return type_and_press


@pytest.fixture
def drawn(panel, steps):
    """Wait until something is so and the panel shows it."""

    def wait(condition, seconds=15.0):
        steps.wait_until(condition, seconds)
        steps.wait_until(lambda: not panel._stale)

    return wait


def test_after_connecting_the_section_folds_and_one_line_says_so(
    nnactive, panel, server, fill, drawn, connection
):
    fill(server.url)
    drawn(lambda: connection.online and panel.presenter.projects.known)
    assert nnactive.widget.ui.statusLabel.text == f"Connected to {server.url} as ann (admin)."
    assert panel.sections["connect"].container.collapsed
    assert not panel.sections["project"].container.collapsed


def test_the_token_is_hidden_and_kept_in_the_settings_only(
    nnactive, panel, ui, server, fill, drawn, connection, home
):
    import qt
    import slicer

    fill(server.url)
    drawn(lambda: connection.online)
    assert ui.tokenEdit.echoMode == qt.QLineEdit.Password
    assert qt.QSettings().value("NNActive/token") == "token-ann"
    scene = home / "scene.mrml"
    home.mkdir(exist_ok=True)
    slicer.mrmlScene.SetURL(str(scene))
    slicer.mrmlScene.Commit(str(scene))
    assert "token-ann" not in scene.read_text()
    assert server.url not in scene.read_text()


def test_the_failing_layer_is_named_with_the_steps_before_it(ui, server, fill, drawn, connection):
    fill(server.url, "wrong")
    drawn(lambda: connection.report is not None)
    lines = ui.stepsLabel.text.splitlines()
    assert lines[0].startswith("✓")
    assert lines[-1].startswith("✗")
    assert "token" in lines[-1].lower()
    assert not connection.online
    assert ui.connectButton.enabled


def test_a_mistyped_address_is_explained(ui, fill, drawn, connection):
    fill("http://")
    drawn(lambda: connection.report is not None)
    assert ui.stepsLabel.text.startswith("✗")


def test_return_in_a_field_is_as_good_as_the_button(ui, server, steps, drawn, connection):
    steps.type_text(ui.addressEdit, server.url)
    steps.type_text(ui.tokenEdit, "token-ben")
    steps.press(ui.tokenEdit, "Return")
    drawn(lambda: connection.online)
    assert connection.name == "ben"


def test_while_the_server_holds_its_answers_back_the_panel_still_reacts(
    panel, ui, server, fill, drawn, steps, connection
):
    import threading

    go_on = threading.Event()
    server.app.before = lambda _: go_on.wait(10) and None
    fill(server.url)
    steps.wait_until(lambda: not panel._stale)
    assert ui.connectButton.text == "Testing …"
    steps.type_text(ui.addressEdit, "http://elsewhere")
    assert ui.addressEdit.text == "http://elsewhere"
    assert not connection.online
    go_on.set()
    drawn(lambda: connection.online)


def test_an_image_may_leave_the_computer_only_after_a_yes_that_can_be_taken_back(
    nnactive, panel, ui, server, fill, drawn, steps, connection
):
    fill(server.url)
    drawn(lambda: connection.online)
    assert not connection.consent, "127.0.0.1 may be the near end of a tunnel"
    panel.sections["connect"].container.collapsed = False
    panel.refresh()
    assert not ui.consentCheck.checked
    steps.click(ui.consentCheck)
    assert connection.consent
    steps.click(ui.consentCheck)
    assert not connection.consent


def test_the_next_sitting_goes_back_to_the_same_server_by_itself(
    nnactive, load_module, module_file, server, fill, drawn, connection, steps
):
    fill(server.url)
    drawn(lambda: connection.online)
    nnactive.unload()
    again = load_module(module_file)
    assert server.app.seen
    before = len(server.app.seen)
    steps.settle()
    assert len(server.app.seen) == before, "nothing is asked before somebody opens the module"
    typed = again.widget.panel.sections["connect"].ui
    assert (typed.addressEdit.text, typed.tokenEdit.text) == (server.url, "token-ann")
    again.enter()
    steps.wait_until(lambda: again.widget.panel.presenter.connection.online)


def test_without_a_server_here_the_panel_asks_before_anything_is_downloaded(
    panel, ui, steps, drawn, tmp_path
):
    from NNActiveLogic.local import Sources

    panel.server.sources = Sources(wheels=tmp_path)
    panel.server.environment = {**panel.server.environment, "PATH": "/usr/bin:/bin"}
    steps.click(ui.hereButton)
    drawn(lambda: ui.hereAgreeButton.visible)
    assert "Nothing is downloaded" in ui.hereLabel.text
    assert ui.hereLabel.text.endswith("Shall it be set up?")
    assert not panel.server.folder.exists()
    steps.click(ui.hereCancelButton)
    drawn(lambda: ui.hereButton.visible)
    assert not ui.hereAgreeButton.visible


def test_one_button_starts_a_server_on_this_computer_and_the_end_of_slicer_ends_it(
    nnactive, panel, ui, steps, drawn, connection
):
    from NNActiveLogic.local import Sources

    panel.server.sources = Sources(command=Path(sys.executable).with_name("nnactive"))
    steps.click(ui.hereButton)
    drawn(lambda: connection.online, 60)
    assert connection.view().own
    assert connection.consent, "images stay on this computer"
    assert connection.view().can_administer
    panel.sections["connect"].container.collapsed = False
    panel.refresh()
    assert ui.hereStopButton.visible
    steps.click(ui.hereStopButton)
    drawn(lambda: ui.hereButton.visible, 60)
    assert not connection.online
    assert connection.address == "", "the next sitting does not look for it"
