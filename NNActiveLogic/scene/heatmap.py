"""The uncertainty as a heat map over the image, with a legend; optionally drawn in 3D.

What lies below the threshold is transparent: Slicer's slice views know no other transparency within a volume.
The colours span 0 to the greatest entropy there can be, so they mean the same in every patch and cycle.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import slicer
import vtk

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.scene import nodes, volumes
from NNActiveLogic.scene.colours import table_id
from NNActiveLogic.scene.grid import Grid
from NNActiveLogic.work import HeatSettings

FRESH = ("Inferno", "Iron")
STALE = ("Grey",)
_RENDERING = "vtkMRMLGPURayCastVolumeRenderingDisplayNode"
_CLASS = re.compile(r"class-(\d+)")
_TITLES = {"predictive_entropy": ("Uncertainty",), "mutual_information": ("Model", "disagreement")}
"""Lines, as a wide legend would cover the box."""


def show_heat(heat: VoxelArray, settings: HeatSettings, names: tuple[str, ...], stale: bool) -> Any:
    """Make or fill the heat map's volume and draw it as the settings say.

    Args:
        heat: nats, float (z, y, x), of the whole image or of a box in it; float32 is drawn without a copy.
        settings: how it is drawn.
        names: of the classes; the first has value 1.
        stale: it comes from an older model than the newest.
    """
    node = nodes.find(nodes.Role.HEAT)
    if node is None:
        node = nodes.create("vtkMRMLScalarVolumeNode", "NNActive heat map", nodes.Role.HEAT)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetSaveWithScene(False)
        node.GetDisplayNode().AutoWindowLevelOff()
    volumes.fill(node, Grid.of_array(heat.info), heat.values, share=True)
    style(node, settings, names, stale)
    return node


def style(node: Any, settings: HeatSettings, names: tuple[str, ...], stale: bool) -> None:
    """Draw an existing heat map in another way; arguments as in `show_heat`."""
    top = math.log(len(names) + 1)
    display = node.GetDisplayNode()
    volumes.set_window(node, 0.0, top)
    display.SetInterpolate(False)
    # A voxel of exactly 0 says nothing, whatever the threshold.
    display.SetThreshold(max(settings.threshold, 1e-6), 1e9)
    display.ApplyThresholdOn()
    display.SetAndObserveColorNodeID(table_id(*(STALE if stale else FRESH)))
    node.SetName(f"NNActive heat map{' (older model)' if stale else ''}")
    for composite in nodes.of_class("vtkMRMLSliceCompositeNode"):
        composite.SetForegroundVolumeID(node.GetID())
        composite.SetForegroundOpacity(settings.opacity if settings.visible else 0.0)
    _legend(node, _title(settings.measure, names), settings.visible, stale)
    for rendering in nodes.find_all(nodes.Role.RENDERING):
        if rendering.IsA("vtkMRMLVolumePropertyNode"):
            _render_as(rendering.GetVolumeProperty(), display, settings.threshold, top)


def put_back() -> None:
    """Draw the heat map, if there is one, as it was before something else was shown."""
    node = nodes.find(nodes.Role.HEAT)
    if node is None or node.GetImageData() is None:
        return
    for composite in nodes.of_class("vtkMRMLSliceCompositeNode"):
        composite.SetForegroundVolumeID(node.GetID())
        _legend_of(node).SetVisibility(composite.GetForegroundOpacity() > 0)


def hide_legend() -> None:
    """No legend while the heat map is not shown; `style` brings it back."""
    node = nodes.find(nodes.Role.HEAT)
    if node is not None:
        _legend_of(node).SetVisibility(False)


def empty_heat() -> None:
    """Draw no heat map; its node stays for the next one, as every view takes a while to know a new one."""
    show_in_3d(False, HeatSettings(), ())
    node = nodes.find(nodes.Role.HEAT)
    if node is None:
        return
    for composite in nodes.of_class("vtkMRMLSliceCompositeNode"):
        if composite.GetForegroundVolumeID() == node.GetID():
            composite.SetForegroundVolumeID(None)
    _legend_of(node).SetVisibility(False)
    node.SetAndObserveImageData(None)


def remove_heat() -> None:
    """Remove the heat map and all that draws it."""
    show_in_3d(False, HeatSettings(), ())
    nodes.remove(nodes.Role.HEAT)


def show_in_3d(visible: bool, settings: HeatSettings, names: tuple[str, ...]) -> None:
    """Draw the heat map of the box in the 3D view, or no longer.

    It costs graphics memory, so it is off at first.
    """
    nodes.remove(nodes.Role.RENDERING)
    volume = nodes.find(nodes.Role.HEAT)
    if not visible or volume is None:
        return
    method = slicer.modules.volumerendering.logic().GetDefaultRenderingMethod()
    name = "NNActive heat map in 3D"
    display = nodes.create(method or _RENDERING, name, nodes.Role.RENDERING, hidden=True)
    prop = nodes.create("vtkMRMLVolumePropertyNode", name, nodes.Role.RENDERING, hidden=True)
    display.SetAndObserveVolumePropertyNodeID(prop.GetID())
    top = math.log(len(names) + 1)
    _render_as(prop.GetVolumeProperty(), volume.GetDisplayNode(), settings.threshold, top)
    box = nodes.find(nodes.Role.BOX)
    if box is not None:
        # The whole map would hide the box: an image is uncertain in many places.
        display.SetAndObserveROINodeID(box.GetID())
        display.SetCroppingEnabled(True)
    volume.AddAndObserveDisplayNodeID(display.GetID())
    display.SetVisibility(True)


def _render_as(prop: Any, display: Any, threshold: float, top: float) -> None:
    """Colours of the slices; nothing below the threshold, more and more towards the top."""
    opacity, colours = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction()
    start = min(max(threshold, 1e-6), top * 0.99)
    for value, alpha in ((0.0, 0.0), (start, 0.0), (start + 1e-4, 0.05), (top, 0.6)):
        opacity.AddPoint(value, alpha)
    table = display.GetColorNode().GetLookupTable()
    low, high = table.GetTableRange()
    rgb = [0.0, 0.0, 0.0]
    for share in np.linspace(0.0, 1.0, 16):
        table.GetColor(low + share * (high - low), rgb)
        colours.AddRGBPoint(share * top, *rgb)
    prop.SetScalarOpacity(opacity)
    prop.SetColor(colours)
    prop.SetInterpolationTypeToLinear()
    prop.ShadeOff()


def _legend_of(node: Any) -> Any:
    logic = slicer.modules.colors.logic()
    legend = logic.GetColorLegendDisplayNode(node)
    if legend is None:
        legend = logic.AddDefaultColorLegendDisplayNode(node)
        legend.SetSaveWithScene(False)
        legend.SetSize(0.1, 0.35)
        legend.SetPosition(0.99, 0.02)
        legend.GetTitleTextProperty().SetFontSize(10)
        legend.GetLabelTextProperty().SetFontSize(10)
        legend.SetLabelFormat("%.2f")
        legend.SetNumberOfLabels(4)
    return legend


def _legend(node: Any, title: tuple[str, ...], visible: bool, stale: bool) -> None:
    legend = _legend_of(node)
    legend.SetAndObserveColorNodeID(node.GetDisplayNode().GetColorNodeID())
    legend.SetTitleText("\n".join([*title, "[nats]", *(["older model"] if stale else [])]))
    legend.SetVisibility(visible)
    # A legend does not hear that its volume came into a view unless a person chose it there.
    legend.Modified()


def _title(measure: str, names: tuple[str, ...]) -> tuple[str, ...]:
    found = _CLASS.fullmatch(measure)
    if found and 1 <= int(found[1]) <= len(names):
        return "Uncertainty", names[int(found[1]) - 1]
    return _TITLES.get(measure, (measure,))
