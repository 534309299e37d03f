"""The part of the section Project that makes a new one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from NNActiveLogic.client.values import Project
from NNActiveLogic.presenter import words
from NNActiveLogic.presenter.labels_table import LabelRow, check_channels, check_labels, next_colour
from NNActiveLogic.presenter.projects import PROFILES
from NNActiveSlicerLib import terminology
from NNActiveSlicerLib.panel import slot
from NNActiveSlicerLib.quiet import quiet, say
from NNActiveSlicerLib.section import Section

_NAME, _COLOUR, _TERM = range(3)


@dataclass
class _Row:
    """A structure in the table."""

    name: Any
    colour: Any
    term: Any
    entry: str = ""

    def read(self) -> LabelRow:
        return LabelRow(self.name.text(), self.colour.color.name(), self.entry or None)


class NewProject(Section):
    """Name, kind of image, and the table of structures; checked while it is filled in."""

    uiName = "NewProject"

    def setup(self) -> None:
        """Connect signals; begin with one empty structure."""
        ui = self.ui
        self._rows: list[_Row] = []
        header = ui.labelsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(_NAME, qt.QHeaderView.Stretch)
        for profile, text in PROFILES.items():
            ui.profileCombo.addItem(words.say(text), profile)
        ui.addButton.connect("clicked()", self.onAdd)
        ui.removeButton.connect("clicked()", self.onRemove)
        ui.createButton.connect("clicked()", self.onCreate)
        ui.nameEdit.connect("textChanged(QString)", self.onChange)
        ui.channelsEdit.connect("textChanged(QString)", self.onChange)
        ui.labelsTable.connect("cellChanged(int,int)", self.onCell)
        self._add()
        self._check()

    def rows(self) -> list[LabelRow]:
        """The structures as typed."""
        return [row.read() for row in self._rows]

    def channels(self) -> list[str]:
        """The channels as typed."""
        return [name.strip() for name in self.ui.channelsEdit.text.split(",")]

    def refresh(self) -> None:
        """Whether it may be sent."""
        self._check()

    @slot
    def onAdd(self) -> None:
        """One more structure, ready to be typed."""
        self._add()
        table = self.ui.labelsTable
        table.setCurrentCell(len(self._rows) - 1, _NAME)
        table.editItem(self._rows[-1].name)
        self._check()

    @slot
    def onRemove(self) -> None:
        """The chosen structure, or else the last one."""
        row = self.ui.labelsTable.currentRow()
        row = row if 0 <= row < len(self._rows) else len(self._rows) - 1
        if row >= 0:
            del self._rows[row]
            self.ui.labelsTable.removeRow(row)
            self._check()

    @slot
    def onChange(self, _text: str) -> None:
        """Something was typed."""
        self._check()

    @slot
    def onCell(self, _row: int, _column: int) -> None:
        """A name was typed."""
        self._check()

    @slot
    def onColour(self, _colour: Any) -> None:
        """A colour was chosen."""
        self._check()

    @slot
    def onTerm(self, row: _Row) -> None:
        """Choose what a structure is in a terminology."""
        row.entry = terminology.choose(self.root, row.name.text(), row.entry)
        term = terminology.meaning(row.entry)
        if term:
            row.term.text = term
        if term and not row.name.text().strip():
            row.name.setText(term)

    @slot
    def onCreate(self) -> None:
        """Make the project, and open it."""
        ui = self.ui
        profile = [*PROFILES][ui.profileCombo.currentIndex]
        self.panel.say(
            self.presenter.projects.create(
                ui.nameEdit.text, self.rows(), self.channels(), self._made, profile=profile
            )
        )

    def _made(self, project: Project) -> None:
        with quiet(self.ui.nameEdit):
            self.ui.nameEdit.text = ""
        self.panel.say(self.presenter.open(project.id))

    def _add(self) -> None:
        table = self.ui.labelsTable
        with quiet(table):
            place = len(self._rows)
            table.insertRow(place)
            row = _Row(qt.QTableWidgetItem(), ctk.ctkColorPickerButton(), qt.QPushButton())
            row.colour.displayColorName = False
            row.colour.color = qt.QColor(next_colour(self.rows()))
            row.colour.toolTip = _("Colour of this structure")
            row.term.text = _("Choose …")
            row.term.toolTip = _("What this structure is in a terminology; may be left out")
            table.setItem(place, _NAME, row.name)
            table.setCellWidget(place, _COLOUR, row.colour)
            table.setCellWidget(place, _TERM, row.term)
            self._rows.append(row)
        row.colour.connect("colorChanged(QColor)", self.onColour)
        row.term.connect("clicked()", partial(self.onTerm, row))

    def _check(self) -> None:
        """Say what is still to be done, but complain only about what was typed."""
        ui = self.ui
        faults = [*check_labels(self.rows()), *check_channels(self.channels())]
        fault = faults[0].text if faults else ""
        named = bool(ui.nameEdit.text.strip())
        typed = any(row.name.strip() for row in self.rows())
        say(ui.faultLabel, fault if typed else "")
        ui.createButton.enabled = named and not faults and not self.presenter.projects.busy
        waits = words.say(words.NAME_MISSING) if not named else fault
        ui.createButton.toolTip = waits or _("Makes the project on the server and opens it")
        ui.removeButton.enabled = len(self._rows) > 1
