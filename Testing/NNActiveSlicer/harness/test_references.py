"""Newer PySide6 takes references to None, True and False from Python 3.11 until the process dies."""

from __future__ import annotations

import gc
import sys

import pytest

TIMES = 200


@pytest.fixture
def operations(panel):
    """What tests do all the time."""
    import qt

    from harness import qt_steps

    ui = panel.widget.ui
    table = qt.QTableWidget(2, 2)

    class Filter(qt.QObject):
        def eventFilter(self, _obj, _event):
            return False

    watcher = Filter(panel.parent)
    ui.addressEdit.installEventFilter(watcher)

    def a_button():
        made = qt.QPushButton("Send")
        made.connect("clicked()", lambda: True)
        made.click()
        made.deleteLater()
        qt_steps.settle(1)

    def an_item():
        item = qt.QTableWidgetItem("liver")
        item.setData(qt.Qt.UserRole, True)
        table.setItem(0, 0, item)
        table.selectRow(0)

    return {
        "property": lambda: (ui.startButton.enabled, ui.startButton.setEnabled(True)),
        "attribute": lambda: setattr(ui.startButton, "enabled", True),
        "method": lambda: ui.startButton.isVisible(),
        "click": lambda: qt_steps.click(ui.heatCheck),
        "section": lambda: qt_steps.click(ui.advancedSection),
        "slider": lambda: (setattr(ui.opacitySlider, "value", 0.3), setattr(ui.opacitySlider, "value", 0.6)),
        "timer": lambda: (panel.widget.timer.start(), panel.widget.timer.active, panel.widget.timer.stop()),
        "settings": lambda: (qt.QSettings().setValue("a", True), qt.QSettings().value("a")),
        "event": lambda: qt.QApplication.sendEvent(ui.addressEdit, qt.QEvent(qt.QEvent.User)),
        "new button": a_button,
        "item": an_item,
    }


def _references():
    gc.collect()
    return [sys.getrefcount(one) for one in (None, True, False)]


def _change(operation):
    """By how much the references to the one of the three that lost most have changed."""
    operation()
    before = _references()
    for _ in range(TIMES):
        operation()
    return min(now - then for now, then in zip(_references(), before, strict=True))


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None, True and False cannot die since Python 3.12")
def test_no_operation_takes_references_from_none_true_and_false(operations):
    # Twice, for what earlier tests left may go meanwhile; a loss comes each time.
    found = {name: max(_change(operation), _change(operation)) for name, operation in operations.items()}
    assert {name: change for name, change in found.items() if change < -TIMES // 4} == {}
