"""The stand-in of Slicer's list of segments: names and colours; it follows the segmentation."""

from __future__ import annotations

import weakref
from typing import Any

import shiboken6
import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from harness.qt_mrml_widgets import InScene, segment_ids, stop_observing
from harness.qt_standin import behaves_as
from harness.qt_widgets import Widget, emit, parent_of

EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")
_SWATCH = 12


@behaves_as("qMRMLSegmentsTableView")
class SegmentsTableView(InScene):
    """One row for each segment that is not hidden."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._values = {"selectionMode": QtWidgets.QAbstractItemView.SelectionMode.ExtendedSelection.value}
        self._node: Any = None
        self._hidden: list[str] = []
        self._observed: list[tuple[Any, int]] = []
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._table = QtWidgets.QTableWidget(0, 1, self)
        QtCore.QObject.setObjectName(self._table, "SegmentsTable")
        self._table.setHorizontalHeaderLabels(["Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().setVisible(False)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        layout.addWidget(self._table)
        Widget.setFocusProxy(self, self._table)
        self._table.selectionModel().selectionChanged.connect(self._selection_changed)
        observed = self._observed
        self.connect("destroyed()", lambda: stop_observing(observed))

    def setSegmentationNode(self, node: Any) -> None:
        if node is not None and not node.IsA("vtkMRMLSegmentationNode"):
            raise RuntimeError("qMRMLSegmentsTableView: not a segmentation")
        stop_observing(self._observed)
        self._node = node
        if node is not None:
            self._watch(node.GetSegmentation())
        self._fill()

    def _watch(self, segmentation: Any) -> None:
        me = weakref.ref(self)

        def changed(*_event: Any) -> None:
            view = me()
            if view is not None and shiboken6.isValid(view):
                view._fill()

        for name in EVENTS:
            event = getattr(slicer.vtkSegmentation, name)
            self._observed.append((segmentation, segmentation.AddObserver(event, changed)))

    def segmentationNode(self) -> Any:
        return self._node

    def _fill(self) -> None:
        """Write the rows again; the selection stays where it can."""
        chosen = self.selectedSegmentIDs()
        blocked = QtCore.QSignalBlocker(self._table.selectionModel())
        ids = self.displayedSegmentIDs()
        self._table.setRowCount(len(ids))
        for row, id_ in enumerate(ids):
            self._table.setItem(row, 0, _item(self._node.GetSegmentation().GetSegment(id_), id_))
        self.setSelectedSegmentIDs(chosen)
        del blocked

    def displayedSegmentIDs(self) -> list[str]:
        return [id_ for id_ in segment_ids(self._node) if id_ not in self._hidden]

    def hideSegments(self) -> list[str]:
        return list(self._hidden)

    def setHideSegments(self, ids: list[str]) -> None:
        self._hidden = list(ids)
        self._fill()

    segmentCount = property(lambda self: len(segment_ids(self._node)))

    def rowForSegmentID(self, id_: str) -> int:
        ids = self.displayedSegmentIDs()
        return ids.index(id_) if id_ in ids else -1

    def segmentIDForRow(self, row: int) -> str:
        ids = self.displayedSegmentIDs()
        return ids[row] if 0 <= row < len(ids) else ""

    def selectedSegmentIDs(self) -> list[str]:
        items = [index.row() for index in self._table.selectionModel().selectedRows()]
        return [self._table.item(row, 0).data(QtCore.Qt.ItemDataRole.UserRole) for row in sorted(items)]

    def setSelectedSegmentIDs(self, ids: list[str]) -> None:
        self._table.clearSelection()
        for row, id_ in enumerate(self.displayedSegmentIDs()):
            if id_ in ids:
                self._table.selectRow(row)

    def clearSelection(self) -> None:
        self._table.clearSelection()

    clearSelectedSegments = clearSelection

    def _selectionMode_changed(self, mode: int) -> None:
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(mode))

    def _headerVisible_changed(self, shown: bool) -> None:
        self._table.horizontalHeader().setVisible(shown)

    def _selection_changed(self, now: Any, before: Any) -> None:
        emit(self, "selectionChanged(QItemSelection,QItemSelection)", now, before)


def _item(segment: Any, id_: str) -> Any:
    picture = QtGui.QPixmap(_SWATCH, _SWATCH)
    picture.fill(QtGui.QColor.fromRgbF(*segment.GetColor()))
    made = QtWidgets.QTableWidgetItem(QtGui.QIcon(picture), segment.GetName())
    made.setData(QtCore.Qt.ItemDataRole.UserRole, id_)
    made.setFlags(QtCore.Qt.ItemFlag.ItemIsEnabled | QtCore.Qt.ItemFlag.ItemIsSelectable)
    return made
