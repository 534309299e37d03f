"""A chart of Slicer's plot nodes as a picture, drawn with the VTK classes that Slicer's plot view uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from harness.views import pixels_of

_MARKERS = {0: vtk.vtkPlotPoints.NONE, 1: vtk.vtkPlotPoints.CROSS, 2: vtk.vtkPlotPoints.PLUS}
_MARKERS |= {3: vtk.vtkPlotPoints.SQUARE, 4: vtk.vtkPlotPoints.CIRCLE, 5: vtk.vtkPlotPoints.DIAMOND}


def plot_pixels(view_node: Any, size: tuple[int, int]) -> np.ndarray:
    """The chart that a plot view shows: uint8 (row, column, colour); a white picture without one."""
    view = vtk.vtkContextView()
    window = view.GetRenderWindow()
    window.SetOffScreenRendering(1)
    window.ShowWindowOff()
    window.SetSize(*size)
    view.GetRenderer().SetBackground(1.0, 1.0, 1.0)
    chart_node = view_node.GetPlotChartNode() if view_node is not None else None
    if chart_node is not None:
        view.GetScene().AddItem(_chart(chart_node))
    window.Render()
    return pixels_of(window)


def _chart(node: Any) -> Any:
    chart = vtk.vtkChartXY()
    chart.SetTitle(node.GetTitle() or "")
    chart.SetShowLegend(bool(node.GetLegendVisibility()))
    bottom, left = chart.GetAxis(vtk.vtkAxis.BOTTOM), chart.GetAxis(vtk.vtkAxis.LEFT)
    bottom.SetTitle(node.GetXAxisTitle() or "")
    left.SetTitle(node.GetYAxisTitle() or "")
    for axis, automatic, limits in (
        (bottom, node.GetXAxisRangeAuto(), node.GetXAxisRange()),
        (left, node.GetYAxisRangeAuto(), node.GetYAxisRange()),
    ):
        if not automatic:
            axis.SetBehavior(vtk.vtkAxis.FIXED)
            axis.SetRange(*limits)
    for index in range(node.GetNumberOfPlotSeriesNodes()):
        _add_series(chart, node.GetNthPlotSeriesNode(index))
    chart.RecalculateBounds()
    return chart


def _add_series(chart: Any, series: Any) -> None:
    table = series.GetTableNode().GetTable()
    plot = chart.AddPlot(vtk.vtkChart.LINE)
    plot.SetInputData(table, series.GetXColumnName(), series.GetYColumnName())
    plot.SetColorF(*series.GetColor())
    plot.SetWidth(series.GetLineWidth())
    plot.SetLabel(series.GetName())
    plot.SetMarkerSize(series.GetMarkerSize())
    plot.SetMarkerStyle(_MARKERS[series.GetMarkerStyle()])
    plot.SetVisible(series.GetLineStyle() != slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
