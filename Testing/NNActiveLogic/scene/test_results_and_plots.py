"""Predictions of whole cases, and learning curves."""

import math

import numpy as np
import pytest
import slicer
import slicer.util

from harness import mrml_scene
from harness.mrml_patches import LABELS, a_case, an_array
from NNActiveLogic.client.values import CycleStatistics, Statistics
from NNActiveLogic.scene import nodes, plots, results
from NNActiveLogic.scene.plots import Against
from NNActiveLogic.work import WorkError

TILT = (0.8, 0.6, 0.0, 0.6, -0.8, 0.0, 0.0, 0.0, 1.0)


def test_a_prediction_is_shown_voxel_for_voxel():
    case = a_case((6, 7, 8), (3.0, 1.0, 1.5), (5.0, 6.0, 7.0), TILT)
    values = np.zeros(case.shape, np.uint8)
    values[2:5, 1:4, 3:6], values[3, 5, 6] = 1, 2
    image = an_array(case, np.zeros(case.shape, np.int16))
    node = results.show_prediction(case, LABELS, an_array(case, values, model="4"), image)
    assert node.GetName() == "Prediction of case by model 4"
    for value, label in enumerate(LABELS, 1):
        identity = node.GetSegmentation().GetSegmentIdBySegmentName(label.name)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, identity, nodes.find(nodes.Role.IMAGE))
        np.testing.assert_array_equal(found, values == value)


def test_a_second_prediction_takes_the_place_of_the_first():
    case = a_case((3, 4, 5))
    before = mrml_scene.node_ids()
    for values in (np.ones(case.shape, np.uint8), np.zeros(case.shape, np.uint8)):
        results.show_prediction(case, LABELS, an_array(case, values))
    assert len(nodes.find_all(nodes.Role.PREDICTION)) == 1
    results.remove_prediction()
    assert mrml_scene.node_ids() == before


def test_a_prediction_with_a_foreign_class_is_refused():
    case = a_case((2, 2, 2))
    with pytest.raises(WorkError, match="class"):
        results.show_prediction(case, LABELS, an_array(case, np.full(case.shape, 3, np.uint8)))


def test_a_patch_and_a_prediction_do_not_disturb_each_other(adapter, small):
    view = small()
    adapter.open(view)
    results.show_prediction(
        view.case, LABELS, an_array(view.case, np.ones(view.case.shape, np.uint8)), view.image
    )
    assert not adapter.read().changed
    adapter.close()
    assert nodes.find(nodes.Role.PREDICTION) is not None


def a_cycle(number, dice):
    mean = None if dice is None else sum(value or 0 for value in dice.values()) / 2
    return CycleStatistics(number, 10 * number, 500, 2.5 * number, dice, None, None, mean_dice=mean)


def test_curves_are_tables_with_series_for_each_class_and_the_mean():
    before = mrml_scene.node_ids()
    cycles = (
        a_cycle(1, None), a_cycle(2, {"Anterior": 0.5, "Posterior": None}), a_cycle(3, {"Anterior": 0.75}),
    )  # fmt: skip
    statistics = Statistics(cycles, {}, {})
    for against in Against:
        chart = plots.show_curves(statistics, LABELS, against)
    names = [
        chart.GetNthPlotSeriesNode(index).GetName() for index in range(chart.GetNumberOfPlotSeriesNodes())
    ]
    assert names == ["Mean", "Anterior", "Posterior"]
    series = chart.GetNthPlotSeriesNode(1)
    assert (series.GetXColumnName(), series.GetYColumnName()) == ("minutes", "Anterior")
    table = series.GetTableNode().GetTable()
    columns = {table.GetColumnName(at): table.GetColumn(at) for at in range(table.GetNumberOfColumns())}
    assert [columns["patches"].GetValue(at) for at in range(3)] == [10, 20, 30]
    assert [columns["minutes"].GetValue(at) for at in range(3)] == [2.5, 5, 7.5]
    assert math.isnan(columns["Anterior"].GetValue(0))
    assert columns["Anterior"].GetValue(2) == 0.75
    assert math.isnan(columns["Posterior"].GetValue(2))
    assert len(nodes.of_class("vtkMRMLPlotChartNode")) == 1
    plots.remove_curves()
    assert mrml_scene.node_ids() == before


def test_there_are_curves_before_there_is_anything_to_show():
    chart = plots.show_curves(Statistics((), {}, {}), LABELS)
    assert chart.GetNumberOfPlotSeriesNodes() == 3
