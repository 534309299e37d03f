"""Rows of a table, by key: only what has changed is touched, so selection and scroll place stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt

from NNActiveSlicerLib.quiet import quiet

Cells = tuple[str, ...]
_PADDING = 6
"""Pixels above and below the text of a row, together."""


class TableRows:
    """Fills a QTableWidget.

    Args:
        table: with its columns.
        stretched: column that takes the room that is left.
    """

    def __init__(self, table: Any, stretched: int) -> None:
        self._table = table
        self._shown: list[tuple[str, Cells]] = []
        self._stretched = stretched
        header = table.horizontalHeader()
        # Widths follow the rows that are seen: looking at all of a long table takes too long.
        header.setResizeContentsPrecision(0)
        for column in range(table.columnCount):
            fixed = qt.QHeaderView.ResizeToContents
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch if column == stretched else fixed)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setMinimumSectionSize(1)
        table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + _PADDING)

    @property
    def current(self) -> str:
        """Key of the chosen row; empty when none is."""
        row = self._table.currentRow()
        return self._shown[row][0] if 0 <= row < len(self._shown) else ""

    def fill(self, rows: Sequence[tuple[str, Cells]]) -> int:
        """Show these rows, each with a key of its own; returns how many cells were written."""
        if list(rows) == self._shown:
            return 0
        current, place = self.current, self._table.verticalScrollBar().value
        self._table.setUpdatesEnabled(False)
        try:
            with quiet(self._table):
                written = self._change([*rows])
                self._choose(current)
        finally:
            self._table.setUpdatesEnabled(True)
        self._table.verticalScrollBar().value = place
        return written

    def choose(self, key: str) -> None:
        """Choose a row, and scroll to it."""
        found = [row for row, (one, _) in enumerate(self._shown) if one == key]
        if found:
            self._table.setCurrentCell(found[0], 0)

    def _choose(self, key: str) -> None:
        if key and key != self.current:
            self._table.setCurrentCell(-1, -1)
            self.choose(key)

    def _change(self, rows: list[tuple[str, Cells]]) -> int:
        wanted = {key for key, _ in rows}
        gone = [row for row, (key, _) in enumerate(self._shown) if key not in wanted]
        if 2 * len(gone) > len(self._shown):
            self._shown.clear()
        else:
            for row in reversed(gone):
                del self._shown[row]
                self._table.removeRow(row)
        if not self._shown:
            self._table.setRowCount(0)
            self._table.setRowCount(len(rows))
            self._shown = [("", ())] * len(rows)
        self._make_room([key for key, _ in rows])
        return sum(self._write(row, *entry) for row, entry in enumerate(rows))

    def _make_room(self, keys: list[str]) -> None:
        """Insert empty rows where new ones come among those that stay; whatever is left is written over."""
        known = {key for key, _ in self._shown}
        for row, key in enumerate(keys):
            if len(self._shown) < len(keys) and key not in known and not self._is_blank(row):
                self._table.insertRow(row)
                self._shown.insert(row, ("", ()))
        self._table.setRowCount(len(keys))
        self._shown = self._shown[: len(keys)]

    def _is_blank(self, row: int) -> bool:
        return row < len(self._shown) and not self._shown[row][0]

    def _write(self, row: int, key: str, cells: Cells) -> int:
        before = self._shown[row][1]
        self._shown[row] = (key, cells)
        if cells == before:
            return 0
        written = 0
        for column, text in enumerate(cells):
            if column < len(before) and before[column] == text:
                continue
            item = self._table.item(row, column)
            new = item is None
            if item is None:
                item = qt.QTableWidgetItem()
            item.setText(text)
            if column == self._stretched:
                item.setToolTip(text)
            if new and text:  # in the table every change of it would be told
                self._table.setItem(row, column, item)
            written += 1
        return written
