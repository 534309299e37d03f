"""Predictions of whole cases, and learning curves."""

import math

import numpy as np
import pytest
import slicer
import slicer.util

from harness import mrml_scene
from harness.mrml_patches import LABELS, a_case, an_array
from NNActiveLogic.client.statistics import CycleStatistics, Statistics
from NNActiveLogic.scene import nodes, plots, results, volumes
from NNActiveLogic.scene import views as scene_views
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


def shown(view):
    """Name of what a slice view has as its background, and whether something lies over it."""
    composite = view.logic.GetSliceCompositeNode()
    node = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
    return node.GetName(), bool(composite.GetForegroundVolumeID())


def drawn():
    """Whether the patch's segments and box are drawn."""
    found = {nodes.find(role).GetDisplayVisibility() for role in (nodes.Role.SEGMENTS, nodes.Role.BOX)}
    assert len(found) == 1
    return bool(found.pop())


def test_another_case_is_looked_at_and_the_patch_waits(adapter, views, small):
    view = small()
    adapter.open(view)
    adapter.set_heat_in_3d(True)
    mine = adapter.image_node
    other = a_case((9, 8, 7), name="other")
    values = np.ones(other.shape, np.uint8)
    image = an_array(other, np.zeros(other.shape, np.int16))
    results.show_prediction(other, LABELS, an_array(other, values), image)
    assert shown(views.red) == ("other", False)
    assert not drawn()
    assert nodes.find(nodes.Role.RENDERING) is None
    assert adapter.is_open
    assert not adapter.read().changed
    adapter.centre()
    assert shown(views.red) == ("case", True)
    assert drawn()
    assert nodes.find(nodes.Role.RENDERING) is not None
    assert not nodes.find(nodes.Role.PREDICTION).GetDisplayVisibility()
    assert adapter.image_node is mine
    results.show_case(other, image)
    adapter.open(small(name="p2"))
    assert shown(views.red) == ("case", True)
    assert drawn()


def test_the_whole_case_of_the_patch_is_shown_with_the_patch_in_it(adapter, views, small):
    view = small()
    adapter.open(view)
    field = views.red.node.GetFieldOfView()
    results.show_case(view.case, view.image)
    assert nodes.find(nodes.Role.SHOWN) is None
    assert shown(views.red) == ("case", True)
    assert drawn()
    assert views.red.node.GetFieldOfView()[0] > 1.3 * field[0]
    adapter.centre()
    np.testing.assert_allclose(views.red.node.GetFieldOfView(), field)
    other = a_case((9, 8, 7), name="other")
    results.show_case(other, an_array(other, np.zeros(other.shape, np.int16)))
    assert not adapter.is_shown
    results.show_case(view.case, view.image)
    assert adapter.is_shown
    assert drawn()
    assert shown(views.red) == ("case", True)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes.find(nodes.Role.HEAT))
    assert legend.GetVisibility()
    adapter.close()
    results.show_case(view.case, view.image)
    assert not nodes.find(nodes.Role.BOX).GetDisplayVisibility()


def test_a_case_that_was_looked_at_becomes_the_patchs_without_a_second_copy(adapter, small):
    view = small()
    looked_at = results.show_case(view.case, view.image)
    volumes.set_window(looked_at, 3, 5)
    adapter.open(view)
    assert adapter.image_node is looked_at
    assert volumes.window_of(looked_at) == (3, 5)
    assert len(nodes.of_class("vtkMRMLScalarVolumeNode")) == 2  # with the heat map
    other = a_case((9, 8, 7), name="other")
    for _ in range(2):
        results.show_case(other, an_array(other, np.zeros(other.shape, np.int16)))
    assert len(nodes.of_class("vtkMRMLScalarVolumeNode")) == 3
    adapter.leave()
    assert nodes.of_class("vtkMRMLScalarVolumeNode") == []


def test_a_prediction_does_not_show_through_the_next_box(adapter, small):
    view = small()
    values = np.ones(view.case.shape, np.uint8)
    node = results.show_prediction(view.case, LABELS, an_array(view.case, values), view.image)
    assert node.GetDisplayVisibility()
    adapter.open(view)
    assert not node.GetDisplayVisibility()


def test_a_prediction_is_hidden_while_another_case_is_looked_at(small):
    view, other = small(), a_case((9, 8, 7), name="other")
    prediction = an_array(view.case, np.ones(view.case.shape, np.uint8))
    node = results.show_prediction(view.case, LABELS, prediction, view.image)
    results.show_case(view.case, view.image)
    assert node.GetDisplayVisibility()
    results.show_case(other, an_array(other, np.zeros(other.shape, np.int16)))
    assert not node.GetDisplayVisibility()


def test_looking_at_a_case_needs_no_patch(views):
    case = a_case((9, 8, 7), (3.0, 1.0, 1.0))
    results.show_case(case, an_array(case, np.full(case.shape, 7, np.int16)))
    assert shown(views.red) == ("case", False)
    for view in views.slices:
        pixels = view.pixels()
        row, column = pixels.shape[0] // 2, pixels.shape[1] // 2
        assert pixels[row, column].max() > 0
        assert pixels[2, 2].max() == 0


def test_the_volume_in_the_views_is_known_and_every_move_changes_the_stamp(adapter, views, small):
    assert scene_views.background() is None
    adapter.open(small())
    assert scene_views.background() is adapter.image_node
    stamps = [scene_views.stamp()]
    views.green.node.SetSliceOffset(views.green.node.GetSliceOffset() + 1)
    stamps.append(scene_views.stamp())
    for camera in nodes.of_class("vtkMRMLCameraNode"):
        camera.SetPosition(1, 2, 3)
    stamps.append(scene_views.stamp())
    assert stamps[0] < stamps[1] < stamps[2]
    for view in (*views.slices, views.threed):
        view.render()
    once = scene_views.stamp()
    for view in (*views.slices, views.threed):
        view.render()
    assert scene_views.stamp() == once


def a_cycle(number, dice):
    mean = None if dice is None else sum(value or 0 for value in dice.values()) / 2
    return CycleStatistics(number, 10 * number, 500, 2.5 * number, dice, None, None, mean_dice=mean)


def test_a_chart_takes_a_place_among_the_views_and_gives_it_back(scene):
    chart = plots.show_curves(Statistics((), {}, {}), LABELS)
    layout = scene.GetFirstNodeByClass("vtkMRMLLayoutNode")  # there when tests of the panel ran before
    if layout is None:
        assert plots.show_in_views(chart) is None
        plots.back_to(None)
        layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
        for kind in (layout.SlicerLayoutFourUpView, layout.SlicerLayoutFourUpPlotView):
            layout.AddLayoutDescription(kind, '<layout type="horizontal"/>')
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    assert plots.show_in_views(chart) == layout.SlicerLayoutFourUpView
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpPlotView
    plots.back_to(layout.SlicerLayoutFourUpView)
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView


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
