"""The module as a whole: it opens, is left, reloaded, survives scenes, and ends."""

from __future__ import annotations


def test_the_panel_opens_with_the_first_step(nnactive):
    folds = {name: not one.container.collapsed for name, one in nnactive.widget.panel.sections.items()}
    assert [name for name, is_open in folds.items() if is_open] == ["connect"]
    assert nnactive.widget.ui.statusLabel.text == "Not connected."
