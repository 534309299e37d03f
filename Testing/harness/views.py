"""Slice views and a 3D view with Slicer's own displayable managers, drawn without a display.

Software rendering is enough (Mesa's EGL, or OSMesa). `why_not()` says why nothing can be drawn.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from harness import mrml_scene
from harness.mrml_scene import Bench

ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
SLICE_MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
THREED_MANAGERS = (
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
_PROBE = (
    "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.Render(); print(w.GetClassName())"
)


@cache
def why_not() -> str:
    """Why nothing can be drawn here; empty when it can. Tried in a process of its own, for it may crash."""
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    for window in dict.fromkeys((os.environ["VTK_DEFAULT_OPENGL_WINDOW"], "vtkOSOpenGLRenderWindow")):
        environment = os.environ | {"VTK_DEFAULT_OPENGL_WINDOW": window}
        tried = subprocess.run(
            [sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, check=False
        )
        if tried.returncode == 0 and window in tried.stdout:
            os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = window
            return ""
    return (
        "No picture can be drawn: neither EGL nor OSMesa works; "
        "`make system` installs or names what is missing"
    )


def pixels_of(window: Any) -> np.ndarray:
    """What a render window has drawn: uint8 (row, column, colour), the first row is the topmost."""
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.SetInputBufferTypeToRGB()
    grabber.Update()
    image = grabber.GetOutput()
    columns, rows, _ = image.GetDimensions()
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return values.reshape(rows, columns, 3)[::-1].copy()


class _View:
    """A window that is never shown, with its displayable managers."""

    def __init__(self, bench: Bench, factory: Any, managers: tuple[str, ...], size: tuple[int, int]) -> None:
        self.size = size
        self.window = vtk.vtkRenderWindow()
        self.window.ShowWindowOff()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyle())  # the usual one keeps all clicks
        self._add_layers()
        self.interactor.Initialize()
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        factory.SetMRMLApplicationLogic(bench.logic)
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.managers.Initialize(factory, self.renderer)

    def _add_layers(self) -> None:
        """For views with more than one."""

    def render(self) -> None:
        """Draw."""
        self.window.Render()

    def pixels(self) -> np.ndarray:
        """The picture as it is now: uint8 (row, column, colour), the first row is the topmost."""
        self.render()
        return pixels_of(self.window)

    def resize(self, size: tuple[int, int]) -> None:
        """Another width and height in pixels."""
        self.size = size
        self.window.SetSize(*size)


class SliceView(_View):
    """A slice view. The image's actor must be the first: later ones would hide it with their fills."""

    def __init__(self, bench: Bench, name: str, size: tuple[int, int]) -> None:
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        super().__init__(bench, factory, SLICE_MANAGERS, size)
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(bench.logic)
        bench.logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(bench.scene)
        there = bench.scene.GetSingletonNode(name, "vtkMRMLSliceNode")  # when layouts came first
        if there is not None:
            self.logic.SetSliceNode(there)
        self.node = there or self.logic.AddSliceNode(name)
        self.node.SetDefaultOrientation(ORIENTATIONS[name])  # as Slicer's layouts do
        self.node.SetOrientationToDefault()
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(self.logic)
        self._style.SetDisplayableManagers(self.managers)
        self._style.SetInteractor(self.interactor)
        self.managers.SetMRMLDisplayableNode(self.node)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(self._actor)
        self.logic.ResizeSliceNode(*size)

    def _add_layers(self) -> None:
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        overlay = vtk.vtkRenderer()
        overlay.GetActiveCamera().ParallelProjectionOn()
        overlay.SetLayer(1)
        self.window.SetNumberOfLayers(2)
        self.window.AddRenderer(overlay)
        self.window.SetAlphaBitPlanes(1)

    def render(self) -> None:
        """Draw."""
        connection = self.logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._actor.SetVisibility(bool(connection))
        super().render()

    def resize(self, size: tuple[int, int]) -> None:
        """Slicer's logic decides what is seen then."""
        super().resize(size)
        self.logic.ResizeSliceNode(*size)

    def pixel_of(self, point_ras: np.ndarray) -> tuple[int, int]:
        """Row and column at which a point (RAS, mm) is drawn when its slice is shown."""
        xy_to_ras = self.node.GetXYToRAS()
        ras_to_xy = np.linalg.inv([[xy_to_ras.GetElement(r, c) for c in range(4)] for r in range(4)])
        column, row = (ras_to_xy @ [*point_ras, 1.0])[:2]
        # Column and row name the pixel's lower left corner in this matrix, so its own voxel is rounded down.
        return self.size[1] - 1 - int(np.floor(row + 0.5)), int(np.floor(column + 0.5))

    def click(self, point_ras: np.ndarray) -> None:
        """Press the left mouse button at a point (RAS, mm) of the slice that is shown."""
        self.render()
        row, column = self.pixel_of(point_ras)
        for event in ("EnterEvent", "MouseMoveEvent", "LeftButtonPressEvent", "LeftButtonReleaseEvent"):
            self.interactor.SetEventInformation(column, self.size[1] - 1 - row)
            self.interactor.InvokeEvent(event)


class ThreeDView(_View):
    """The 3D view."""

    def __init__(self, bench: Bench, size: tuple[int, int]) -> None:
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        super().__init__(bench, factory, THREED_MANAGERS, size)
        self.renderer.SetUseDepthPeeling(True)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(bench.logic)
        bench.logic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(bench.scene)
        there = bench.scene.GetSingletonNode("1", "vtkMRMLViewNode")
        if there is not None:  # layouts came first; this logic takes only a node that it made
            bench.scene.RemoveNode(there)
        self.node = self.logic.AddViewNode("1")
        self._style = slicer.vtkMRMLThreeDViewInteractorStyle()
        self._style.SetDisplayableManagers(self.managers)
        self._style.SetInteractor(self.interactor)
        self.managers.SetMRMLDisplayableNode(self.node)


class Views:
    """Red, Yellow and Green slice views and a 3D view."""

    def __init__(self, bench: Bench, size: tuple[int, int] = (500, 400)) -> None:
        self.red, self.yellow, self.green = (SliceView(bench, name, size) for name in ORIENTATIONS)
        self.threed = ThreeDView(bench, size)

    @property
    def slices(self) -> tuple[SliceView, SliceView, SliceView]:
        """The slice views."""
        return self.red, self.yellow, self.green

    def four_up(self) -> np.ndarray:
        """Red and 3D above Green and Yellow, as in Slicer's usual layout: uint8 (row, column, colour)."""
        above = np.hstack([self.red.pixels(), self.threed.pixels()])
        return np.vstack([above, np.hstack([self.green.pixels(), self.yellow.pixels()])])


def shared(size: tuple[int, int] = (500, 400)) -> Views:
    """The views of this process, made once, for their nodes are the only ones of their names in the scene."""
    found = _the_views()
    for view in (*found.slices, found.threed):
        if view.size != size:
            view.resize(size)
    return found


@cache
def _the_views() -> Views:
    return Views(mrml_scene.start())


def write_png(pixels: np.ndarray, path: Path) -> None:
    """Write a picture, uint8 (row, column, colour)."""
    rows, columns, _ = pixels.shape
    image = vtk.vtkImageData()
    image.SetDimensions(columns, rows, 1)
    flat = np.ascontiguousarray(pixels[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
