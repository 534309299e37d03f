"""The module as a whole: it opens, is left, reloaded, survives scenes, ends, and works without its panel."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from harness import qt_steps


def fold_states(host):
    return {name: not one.container.collapsed for name, one in host.widget.panel.sections.items()}


def test_the_panel_opens_with_the_first_step(nnactive):
    assert [name for name, is_open in fold_states(nnactive).items() if is_open] == ["connect"]
    assert nnactive.widget.ui.statusLabel.text == "Not connected."
    assert not nnactive.widget.ui.messageLabel.visible


def test_title_category_and_icon_are_there_before_the_panel(nnactive):
    assert nnactive.info.title == "NNActive"
    assert nnactive.info.categories == ["Segmentation"]
    assert nnactive.info.helpText
    assert not nnactive.info.icon.isNull()


def test_starting_slicer_loads_none_of_the_modules_packages(module_file):
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from harness import qt_start; qt_start.why_not(); qt_start.application()\n"
        "from harness.slicer_app_host import _import; from pathlib import Path\n"
        "_import('NNActiveSlicer', Path(sys.argv[1]))\n"
        "print([one for one in sys.modules if one.split('.')[0] in ('requests', 'NNActiveLogic')])"
    )
    root = module_file.parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, str(module_file), str(root), str(root / "Testing")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_next_step_opens_by_itself_and_a_fold_opened_by_hand_stays(reader, steps):
    assert not fold_states(reader.host)["connect"]
    progress = reader.panel.sections["progress"].container
    steps.click(progress)
    reader.presenter.connection._changed()
    reader.until(lambda: not reader.panel._stale)
    assert not progress.collapsed


def test_no_key_is_one_of_slicers_own():
    from NNActiveLogic.presenter.shortcuts import SHORTCUTS

    taken = {f"Ctrl+{key}" for key in ("Space", *"0123456CFHMOQSVWXYZ")}
    assert not taken & {shortcut.key for shortcut in SHORTCUTS}
    assert all("+" in shortcut.key for shortcut in SHORTCUTS), "plain keys belong to the Segment Editor"


def test_many_changes_are_drawn_once(reader, monkeypatch):
    drawn = []
    section = reader.panel.sections["connect"]
    monkeypatch.setattr(section, "refresh", lambda: drawn.append(1))
    for _ in range(100):
        reader.panel.refreshSoon()
    reader.until(lambda: drawn)
    qt_steps.settle()
    assert len(drawn) == 1


def test_after_leaving_nothing_is_drawn_but_results_still_arrive(reader, clinic, monkeypatch):
    reader.host.exit()
    drawn = []
    monkeypatch.setattr(reader.panel.sections["project"], "refresh", lambda: drawn.append(1))
    clinic.grow(2, cycle=1)
    reader.until(lambda: len(reader.presenter.opened.records.now.patches) == 8)
    assert drawn == []
    assert reader.host.stale_shortcuts() == []
    reader.host.enter()
    assert drawn


def test_a_scene_that_is_closed_keeps_what_was_drawn_as_a_draft(reader):
    patch = reader.begin()
    reader.paint("class-1", np.s_[:2])
    drawn = reader.adapter.read().labels
    reader.host.close_scene()
    assert reader.here is None
    assert patch in reader.session.view().drafts
    assert reader.session.jump(patch).ok
    reader.shown(patch)
    assert (reader.adapter.read().labels == drawn).all()


def test_a_scene_that_is_loaded_brings_no_trouble(reader, tmp_path):
    import slicer

    reader.begin()
    scene = tmp_path / "scene.mrml"
    slicer.mrmlScene.SetURL(str(scene))
    slicer.mrmlScene.Commit(str(scene))
    reader.host.close_scene()
    slicer.mrmlScene.SetURL(str(scene))
    slicer.mrmlScene.Connect()
    qt_steps.settle()
    reader.begin()


def test_an_error_nobody_foresaw_is_shown_and_reaches_the_log(nnactive, steps, caplog, monkeypatch):
    from harness import qt_faults

    panel = nnactive.widget.panel

    def broken(*_arguments):
        raise ZeroDivisionError("seven")

    monkeypatch.setattr(panel.presenter.connection, "connect", broken)
    with pytest.raises(qt_faults.UnseenError, match="seven"):
        steps.click(panel.sections["connect"].ui.connectButton)
    assert nnactive.widget.ui.messageLabel.text == "That did not work: seven"
    assert nnactive.widget.ui.messageLabel.visible
    assert "seven" in caplog.text


def test_a_question_is_asked_and_a_yes_does_it(reader):
    import qt

    reader.begin()
    reader.paint("class-1", np.s_[:2])
    asked = []

    def again(sure=False):
        asked.append(sure)
        return reader.session.empty(sure)

    reader.host.answers.expect("answered as empty", qt.QMessageBox.No)
    assert not reader.panel.say(again(), again)
    reader.host.answers.expect("answered as empty", qt.QMessageBox.Yes)
    assert reader.panel.say(again(), again)
    assert asked == [False, False, True]


def test_slicer_quits_within_two_seconds_though_the_server_is_silent_and_no_answer_is_lost(
    reader, server, home
):
    silent = threading.Event()
    reader.begin()
    reader.paint("class-1", np.s_[:2])
    server.app.before = lambda _: silent.wait(8) and None
    assert reader.session.accept().ok
    reader.until(lambda: reader.presenter.opened.sending.entries)
    began = time.monotonic()
    reader.host.quit()
    assert time.monotonic() - began < 4.0
    silent.set()
    kept = [path for path in home.rglob("*") if path.is_file() and b"labelled" in path.read_bytes()]
    assert kept


def test_keys_and_views_are_let_go_of_while_the_main_window_is_still_there(reader):
    from harness import qt_segment_editor, qt_signals

    reader.begin()
    editor, widget = reader.ui("patch").editor, reader.host.widget
    editor.setActiveEffectByName("Paint")
    qt_signals.raw_attribute(sys.modules["slicer"].app, "aboutToQuit").emit()
    assert reader.host.stale_shortcuts() == []
    assert not qt_segment_editor.shortcuts_installed(editor)
    assert not qt_segment_editor.observes_views(editor)
    assert not widget.timer.active


def test_a_reload_leaves_nothing_behind_and_works_again(nnactive, monkeypatch):
    for name in [one for one in sys.modules if one.split(".")[0] in ("NNActiveLogic", "NNActiveSlicerLib")]:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])  # other tests go on with these
    old = nnactive.widget
    nnactive.reload()
    assert old.panel is None
    assert not old.timer.active
    assert nnactive.widget is not old
    # The application does not enter a module that was selected all along.
    assert nnactive.widget.panel.entered
    assert nnactive.widget.ui.statusLabel.text == "Not connected."


def test_scripts_connect_and_open_a_project_without_the_panel(load_module, home, module_file, server, clinic):
    host = load_module(module_file, show=False)
    logic = host.module.NNActiveSlicerLogic()
    try:
        assert logic.connect(server.url, "token-ann") == "ann"
        assert logic.openProject("clinic").id == clinic.project
        assert logic.presenter.opened.session.next().ok
        logic.waitFor(lambda: logic.presenter.opened.session.view().can_answer, 10)
        with pytest.raises(RuntimeError, match="0 projects are called 'liver'"):
            logic.openProject("liver")
        with pytest.raises(RuntimeError, match="This token is not known"):
            logic.connect(server.url, "wrong")
    finally:
        logic.close()
        logic.adapter.leave()


def test_the_sample_data_are_registered_with_their_checksums(load_module, home, module_file, monkeypatch):
    import types

    import slicer

    given = []
    source = types.SimpleNamespace(registerCustomSampleDataSource=lambda **options: given.append(options))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=source))
    load_module(module_file, show=False)
    slicer.app.startupCompleted.emit()
    options = given[-1]  # modules of earlier tests hear it, too
    assert all(
        uri.endswith(sum_.split(":")[1])
        for uri, sum_ in zip(options["uris"], options["checksums"], strict=True)
    )
    assert len(options["fileNames"]) == len(options["nodeNames"]) == len(options["uris"])


def test_the_modules_own_test_passes(nnactive):
    import slicer

    slicer.selfTests["NNActiveSlicer"]()


def test_the_panel_can_be_drawn(nnactive, steps, tmp_path):
    assert steps.grab(nnactive.window, tmp_path / "panel.png").stat().st_size > 5000
