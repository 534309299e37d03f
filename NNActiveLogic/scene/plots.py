"""Learning curves as Slicer's own plots: a table, a series for each class and one for their mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import slicer
import vtk

from NNActiveLogic.client.statistics import CycleStatistics, Statistics
from NNActiveLogic.client.values import Label
from NNActiveLogic.scene import nodes
from NNActiveLogic.scene.colours import Colour, class_colour

_MEAN: Colour = (0.35, 0.35, 0.35)
_X_TITLES = {"patches": "Answered boxes", "minutes": "Annotation time [minutes]"}
_WIDER = 1.1
"""The axis ends behind the last point."""


class Against(StrEnum):
    """What the curves are drawn against."""

    PATCHES = "patches"
    MINUTES = "minutes"


def show_curves(statistics: Statistics, labels: Sequence[Label], against: Against = Against.PATCHES) -> Any:
    """A plot chart node with the Dice of each class after each cycle; the one before it goes.

    A class that was not measured in a cycle has a gap there.
    """
    remove_curves()
    table = nodes.create("vtkMRMLTableNode", "NNActive learning curve", nodes.Role.CURVES, hidden=True)
    cycles = statistics.cycles
    if len(cycles) == 1:
        cycles = (*cycles, *cycles)  # VTK reports an error for a line of one point each time it draws
    columns = {name: [float(getattr(cycle, name)) for cycle in cycles] for name in _X_TITLES}
    columns["Mean"] = [_number(cycle.mean_dice) for cycle in cycles]
    drawn = {"Mean": _MEAN}
    for value, label in enumerate(labels, 1):
        name = label.name if label.name not in columns else f"{label.name} (class)"
        columns[name] = [_dice(cycle, label.name) for cycle in cycles]
        drawn[name] = class_colour(label, value)
    for name, numbers in columns.items():
        table.AddColumn(_column(name, numbers))
    chart = nodes.create("vtkMRMLPlotChartNode", "NNActive learning curve", nodes.Role.CURVES, hidden=True)
    chart.SetTitle("Learning curve")
    chart.SetXAxisTitle(_X_TITLES[against])
    chart.SetYAxisTitle("Dice on boxes held back")
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(0.0, _WIDER * max(columns[against], default=0.0) or 1.0)
    for name, colour in drawn.items():
        chart.AddAndObservePlotSeriesNodeID(_series(table, name, against, colour).GetID())
    return chart


def remove_curves() -> None:
    """Take table, series and chart out of the scene."""
    nodes.remove(nodes.Role.CURVES)


def show_in_views(chart: Any) -> int | None:
    """Give the chart a place among the views; returns the layout there was before, None without layouts."""
    layout = _layout()
    before = None if layout is None else int(layout.GetViewArrangement())
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    return before


def back_to(layout: int | None) -> None:
    """The layout there was before a chart was shown."""
    node = _layout()
    if node is not None and layout is not None:
        node.SetViewArrangement(layout)


def _layout() -> Any:
    return next(iter(nodes.of_class("vtkMRMLLayoutNode")), None)


def _series(table: Any, name: str, against: Against, colour: Colour) -> Any:
    node = nodes.create("vtkMRMLPlotSeriesNode", name, nodes.Role.CURVES, hidden=True)
    node.SetName(name)  # shown in the legend, so without a number behind it
    node.SetAndObserveTableNodeID(table.GetID())
    node.SetXColumnName(against.value)
    node.SetYColumnName(name)
    node.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    node.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
    node.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    node.SetColor(*colour)
    return node


def _column(name: str, numbers: Sequence[float]) -> Any:
    made = vtk.vtkDoubleArray()
    made.SetName(name)
    for number in numbers:
        made.InsertNextValue(number)
    return made


def _dice(cycle: CycleStatistics, name: str) -> float:
    return _number((cycle.dice_per_class or {}).get(name))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
