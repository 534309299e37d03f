"""The section Work list: all boxes, what is not sent, and answers that wait for a decision."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from NNActiveLogic.presenter.disputes import Dispute
from NNActiveLogic.presenter.worklist import Filter, Row, neighbour
from NNActiveSlicerLib.panel import slot
from NNActiveSlicerLib.quiet import quiet, say
from NNActiveSlicerLib.section import Section
from NNActiveSlicerLib.table_rows import TableRows

WHY_COLUMN = 6


class WorkListSection(Section):
    """The table follows the presenter; a box is opened by double click, Enter or the buttons."""

    uiName = "WorkList"

    def setup(self) -> None:
        """Connect signals; called once."""
        ui = self.ui
        self._rows: tuple[Row, ...] = ()
        self._dispute: Dispute | None = None
        self._table = TableRows(ui.patchTable, WHY_COLUMN)
        self._filters = _filters()
        for text in self._filters.values():
            ui.filterCombo.addItem(text)
        ui.disputeBox.visible = False
        ui.filterCombo.connect("activated(int)", self.onFilter)
        ui.patchTable.connect("cellDoubleClicked(int,int)", self.onOpen)
        ui.patchTable.connect("itemSelectionChanged()", self._showButtons)
        ui.openButton.connect("clicked()", self.onOpen)
        ui.previousRowButton.connect("clicked()", lambda: self.onStep(-1))
        ui.nextRowButton.connect("clicked()", lambda: self.onStep(1))
        ui.takeBackButton.connect("clicked()", self.onTakeBack)
        ui.sendButton.connect("clicked()", self.onSend)
        ui.showDisputeButton.connect("clicked()", self.onShowDispute)
        ui.keepMineButton.connect("clicked()", self.onKeepMine)
        ui.takeTheirsButton.connect("clicked()", self.onTakeTheirs)
        self.container.connect("contentsCollapsed(bool)", self.onFold)
        self._enterKeys = [self._enterKey(key) for key in ("Return", "Enter")]

    def _enterKey(self, key: str) -> Any:
        made = qt.QShortcut(self.ui.patchTable)
        made.setKey(qt.QKeySequence(key))
        made.setContext(qt.Qt.WidgetShortcut)
        made.connect("activated()", self.onOpen)
        made.enabled = False
        return made

    def enter(self) -> None:
        """The module was selected."""
        for key in self._enterKeys:
            key.enabled = True

    def exit(self) -> None:
        """Another module was selected."""
        for key in self._enterKeys:
            key.enabled = False

    def refresh(self) -> None:
        """Draw the list, as far as it has changed."""
        opened = self.presenter.opened
        self.root.enabled = opened is not None
        if self.container.collapsed:
            return
        self._rows = opened.rows() if opened is not None else ()
        self._table.fill([(row.patch, _cells(row)) for row in self._rows])
        self.ui.countLabel.text = self._count()
        if opened is not None:
            with quiet(self.ui.filterCombo):
                self.ui.filterCombo.setCurrentIndex([*self._filters].index(opened.filter))
        self._showButtons()
        self._showDisputes()

    @slot
    def onFold(self, _collapsed: bool) -> None:
        """The section is opened or folded."""
        self.refresh()

    @slot
    def onFilter(self, index: int) -> None:
        """Another choice of rows."""
        if self.presenter.opened is not None:
            self.presenter.opened.filter = [*self._filters][index]
            self.refresh()

    @slot
    def onOpen(self, *_where: int) -> None:
        """Open the chosen box."""
        if self._table.current:
            self._jump(self._table.current)

    @slot
    def onStep(self, step: int) -> None:
        """Open the box above or below the open one."""
        patch = self.presenter.opened.session.patch
        wanted = neighbour(self._rows, patch.id if patch is not None else self._table.current, step)
        if wanted is None:
            self.panel.showMessage(_("There is no further box in this list."))
        else:
            self._table.choose(wanted)
            self._jump(wanted)

    @slot
    def onTakeBack(self) -> None:
        """The answer of the chosen box counts no longer."""
        self.panel.say(self.presenter.opened.session.take_back(self._table.current))

    @slot
    def onSend(self) -> None:
        """Do not wait any longer with what is not sent."""
        self.presenter.opened.sending.flush(now=True)

    @slot
    def onShowDispute(self) -> None:
        """Look at the box again before deciding."""
        if self._dispute is not None:
            self._jump(self._dispute.patch)

    @slot
    def onKeepMine(self) -> None:
        """Mine counts."""
        if self._dispute is not None:
            self.presenter.opened.sending.keep_mine(self._dispute.entry)

    @slot
    def onTakeTheirs(self) -> None:
        """Mine is given up."""
        if self._dispute is not None:
            self.presenter.opened.sending.take_theirs(self._dispute.entry)

    def _jump(self, patch: str) -> None:
        self.panel.sections["patch"].go(
            lambda sure=False: self.presenter.opened.session.jump(patch, sure=sure)
        )

    def _count(self) -> str:
        opened = self.presenter.opened
        total = len(opened.records.now.patches) if opened is not None else 0
        return _("{shown} of {total}").format(shown=len(self._rows), total=total)

    def _showButtons(self) -> None:
        opened, key = self.presenter.opened, self._table.current
        row = next((one for one in self._rows if one.patch == key), None)
        self.ui.openButton.enabled = row is not None and not row.here
        answered = row is not None and not row.unsent and not row.is_open
        self.ui.takeBackButton.visible = answered
        self.ui.sendButton.visible = opened is not None and opened.sending.counts.waiting > 0

    def _showDisputes(self) -> None:
        ui, opened = self.ui, self.presenter.opened
        waiting = opened.disputes() if opened is not None and opened.sending.counts.parked else ()
        self._dispute = waiting[0] if waiting else None
        ui.disputeBox.visible = bool(waiting)
        if not waiting:
            return
        first = waiting[0]
        row = next((one for one in opened.rows(Filter.ALL) if one.patch == first.patch), None)
        place = _("Box {number}, {case}").format(number=row.number, case=row.case) if row else ""
        say(ui.disputeLabel, f"{place}: {first.sentence}" if place else first.sentence)
        say(ui.mineLabel, first.mine.sentence)
        say(ui.theirsLabel, first.theirs.sentence if first.theirs is not None else "")
        ui.keepMineButton.text = _("Keep mine") if first.theirs is not None else _("Send again")
        ui.takeTheirsButton.text = _("Take theirs") if first.theirs is not None else _("Give mine up")
        more = len(waiting) - 1
        ui.disputeBox.title = _("Your decision ({n} more)").format(n=more) if more else _("Your decision")


def _filters() -> dict[Filter, str]:
    return {
        Filter.ALL: _("All boxes"),
        Filter.OPEN: _("To do"),
        Filter.DONE: _("Answered"),
        Filter.SKIPPED: _("Skipped"),
        Filter.REFERRED: _("Referred"),
        Filter.UNSENT: _("Not sent yet"),
    }


def _cells(row: Row) -> tuple[str, ...]:
    number = f"▶ {row.number}" if row.here else str(row.number)
    state = f"{row.state_words}, {row.mark}" if row.mark and not row.here else row.state_words
    minutes = "" if row.minutes is None else f"{row.minutes:.1f}"
    return number, row.case, state, row.class_name, minutes, row.holder, row.why
