"""One picture of panel and views, beside each other as in the application's window.

It is put together from what the panel and the views draw; menus and toolbars are not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from harness import qt_steps
from harness.slicer_app_layout import show_views
from harness.views import SliceView, Views
from harness.views_layout import Place, Rect, places
from harness.views_plot import plot_pixels

BAR = 20
GAP = 3
PANEL_WIDTH = 420
SIZE = (1440, 900)
_BEHIND = QtGui.QColor("#3c3c3c")


class Window:
    """Panel at the left, views at the right in the layout that is chosen.

    Views are made as large as they will be drawn: make this before the first box is opened, as the person's
    window is there before.

    Args:
        host: the open module.
        views: all views there are.
        size: of the picture, width and height.
    """

    def __init__(self, host: Any, views: Views, size: tuple[int, int] = SIZE) -> None:
        self._host, self._views, self._size = host, views, size
        host.show(PANEL_WIDTH, size[1])
        show_views(views)
        self.arrange()

    def arrange(self) -> list[Place]:
        """Give each view the room that it has in the current layout."""
        left = PANEL_WIDTH + GAP
        room = (left, 0, self._size[0] - left, self._size[1])
        found = places(slicer.app.layoutManager().layoutLogic().GetLayoutNode(), room)
        for place in found:
            view = self._view(place)
            if view is not None and view.size != _inner(place.rect)[2:]:
                view.resize(_inner(place.rect)[2:])
        return found

    def picture(self, path: Path) -> Path:
        """Write the picture as PNG; OSError when that fails."""
        qt_steps.settle()
        found = self.arrange()
        image = QtGui.QImage(*self._size, QtGui.QImage.Format.Format_RGB32)
        image.fill(_BEHIND)
        painter = QtGui.QPainter(image)
        painter.drawPixmap(0, 0, QtWidgets.QWidget.grab(self._host.window))
        for place in found:
            self._draw_bar(painter, place)
            left, top, width, height = _inner(place.rect)
            painter.drawImage(left, top, _image(self._pixels(place, (width, height))))
        painter.end()
        if not image.save(str(path)):
            raise OSError(f"{path} was not written")
        return path

    def _view(self, place: Place) -> Any:
        if place.class_name == "vtkMRMLSliceNode":
            return next((one for one in self._views.slices if one.node.GetLayoutName() == place.name), None)
        return self._views.threed if place.class_name == "vtkMRMLViewNode" else None

    def _pixels(self, place: Place, size: tuple[int, int]) -> np.ndarray:
        if place.class_name == "vtkMRMLPlotViewNode":
            return plot_pixels(slicer.mrmlScene.GetSingletonNode(place.name, place.class_name), size)
        view = self._view(place)
        if view is None:
            raise NotImplementedError(f"there is no view {place.name}")
        pixels: np.ndarray = view.pixels()
        return pixels

    def _draw_bar(self, painter: Any, place: Place) -> None:
        left, top, width, _ = place.rect
        bar = QtCore.QRect(left, top, width - GAP, BAR)
        painter.fillRect(bar, QtGui.QColor(place.colour))
        painter.setPen(QtGui.QColor("black"))
        aligned = QtCore.Qt.AlignmentFlag.AlignVCenter
        painter.drawText(bar.adjusted(6, 0, 0, 0), aligned, place.label)
        view = self._view(place)
        if isinstance(view, SliceView):
            text = f"{view.node.GetOrientation()}  {view.logic.GetSliceOffset():.1f} mm"
            painter.drawText(bar.adjusted(0, 0, -6, 0), aligned | QtCore.Qt.AlignmentFlag.AlignRight, text)


def _inner(rect: Rect) -> Rect:
    """Without the bar and the gap to the next view."""
    left, top, width, height = rect
    return left, top + BAR, width - GAP, height - BAR - GAP


def _image(pixels: np.ndarray) -> Any:
    rows, columns, _ = pixels.shape
    flat = np.ascontiguousarray(pixels)
    return QtGui.QImage(flat.data, columns, rows, 3 * columns, QtGui.QImage.Format.Format_RGB888).copy()
