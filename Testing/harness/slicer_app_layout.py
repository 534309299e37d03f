"""The layout manager: Slicer's own layout node and logic, with the views that a test gives."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtWidgets

from harness import mrml_scene, qt_widgets
from harness.qt_standin import behaves_as, standin
from harness.views import Views
from harness.views_layout import Place, places

FOUR_UP = 3


@behaves_as("qMRMLLayoutManager")
class LayoutManager:
    """The number of the layout is the layout node's; whoever changes the node is followed."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic: Any = None
        self._known = FOUR_UP
        self._viewport = QtWidgets.QWidget()
        self._slices: dict[str, Any] = {}
        self._threed: list[Any] = []

    def setMRMLScene(self, scene: Any) -> None:
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        node = self._logic.GetLayoutNode()
        node.SetViewArrangement(FOUR_UP)
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._follow)

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def layoutLogic(self) -> Any:
        return self._logic

    def _follow(self, node: Any, _event: str) -> None:
        number = node.GetViewArrangement()
        if number != self._known:
            self._known = number
            qt_widgets.emit(self, "layoutChanged(int)", number)

    def setLayout(self, number: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(number)

    layout = property(lambda self: self._logic.GetLayoutNode().GetViewArrangement(), setLayout)

    def _of_class(self, class_name: str) -> list[Place]:
        node = self._logic.GetLayoutNode()
        return [place for place in places(node) if place.class_name == class_name]

    threeDViewCount = property(lambda self: len(self._of_class("vtkMRMLViewNode")))
    plotViewCount = property(lambda self: len(self._of_class("vtkMRMLPlotViewNode")))
    tableViewCount = property(lambda self: len(self._of_class("vtkMRMLTableViewNode")))

    def mrmlSliceLogics(self) -> Any:
        return mrml_scene.start().logic.GetSliceLogics()

    def sliceViewNames(self) -> list[str]:
        return [place.name for place in self._of_class("vtkMRMLSliceNode")]

    def sliceWidget(self, name: str) -> Any:
        return self._slices.get(name)

    def threeDWidget(self, which: Any) -> Any:
        if isinstance(which, str):
            return next((one for one in self._threed if one.mrmlViewNode().GetLayoutName() == which), None)
        return self._threed[which] if 0 <= which < len(self._threed) else None

    def plotWidget(self, which: int) -> Any:
        found = self._of_class("vtkMRMLPlotViewNode")
        if not 0 <= which < len(found):
            return None
        widget = standin("qMRMLPlotWidget")()
        widget._node = slicer.mrmlScene.GetSingletonNode(found[which].name, "vtkMRMLPlotViewNode")
        return widget

    def viewport(self, *_name: Any) -> Any:
        return self._viewport

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        for widget in self._threed:
            widget.threeDView().resetFocalPoint()


@behaves_as("qMRMLSliceWidget")
class SliceWidget:
    """A slice view of the harness as the layout manager hands it out."""

    _view: Any = None

    def sliceLogic(self) -> Any:
        return self._view.logic

    logic = sliceLogic

    def mrmlSliceNode(self) -> Any:
        return self._view.logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._view.logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._view.logic.FitSliceToBackground()


@behaves_as("qMRMLThreeDWidget")
class ThreeDWidget:
    """A 3D view of the harness."""

    _view: Any = None
    _inner: Any = None

    def mrmlViewNode(self) -> Any:
        return self._view.node

    def viewLogic(self) -> Any:
        return self._view.logic

    def threeDView(self) -> Any:
        if self._inner is None:
            self._inner = standin("qMRMLThreeDView")()
            self._inner._view = self._view
        return self._inner


@behaves_as("qMRMLThreeDView")
class ThreeDView:
    """What is drawn in a 3D view."""

    _view: Any = None

    def mrmlViewNode(self) -> Any:
        return self._view.node

    def cameraNode(self) -> Any:
        return slicer.modules.cameras.logic().GetViewActiveCameraNode(self._view.node)

    def resetCamera(self, *_options: Any) -> None:
        self._view.renderer.ResetCamera()

    def resetFocalPoint(self) -> None:
        self._view.renderer.ResetCamera()


@behaves_as("qMRMLPlotWidget")
class PlotWidget:
    """A plot view; its chart is drawn by `harness.views_plot`."""

    _node: Any = None

    def mrmlPlotViewNode(self) -> Any:
        return self._node


def show_views(views: Views | None) -> None:
    """Give the layout manager the views of `harness.views`, and none with None."""
    manager = slicer.app.layoutManager()
    manager._slices.clear()
    manager._threed.clear()
    if views is None:
        return
    for view in views.slices:
        widget = standin("qMRMLSliceWidget")()
        widget._view = view
        manager._slices[view.logic.GetSliceNode().GetLayoutName()] = widget
    threed = standin("qMRMLThreeDWidget")()
    threed._view = views.threed
    manager._threed.append(threed)
