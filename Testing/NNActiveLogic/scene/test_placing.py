"""Clicks and rough boxes, as voxels and sizes of the image."""

import numpy as np
import pytest
import slicer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import mrml_scene
from harness.mrml_patches import a_case, an_array
from NNActiveLogic.client.values import Box
from NNActiveLogic.scene import nodes, placing, results
from NNActiveLogic.scene.grid import Grid, vtk_matrix
from NNActiveLogic.work import WorkError
from testkit.directions import DIRECTIONS

RED = (1.0, 0.0, 0.0)


def case_of(direction):
    return a_case((9, 12, 15), (4.0, 0.7, 1.3), (-12.5, 80.25, 3.125), tuple(np.ravel(direction)))


@pytest.fixture(params=DIRECTIONS, ids=str)
def case(request):
    return case_of(DIRECTIONS[request.param])


def interaction():
    return slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")


def is_placing():
    return interaction().GetCurrentInteractionMode() == interaction().Place


def press_escape():
    """What Slicer's views do for this key."""
    interaction().SwitchToViewTransformMode()


def click(mark, point):
    """As a view's mouse button does."""
    mark.AddControlPointWorld(*point)
    interaction().SwitchToViewTransformMode()


def an_roi(point, size, name="mine"):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.AddControlPoint(*point)
    node.SetSize(*size)
    return node


def under(node, matrix):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(vtk_matrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_click_gives_a_box_in_the_image_that_holds_its_voxel(data):
    case = case_of(DIRECTIONS[data.draw(st.sampled_from([*DIRECTIONS]))])
    index = tuple(data.draw(st.integers(0, length - 1)) for length in case.shape)
    shift = np.array(data.draw(st.tuples(*[st.floats(-0.49, 0.49)] * 3)))
    size = data.draw(st.tuples(*[st.integers(1, 20)] * 3))
    box = placing.box_at(Grid.of_case(case).to_ras(tuple(index + shift)), case, size)
    for at, first, extent, whole, wanted in zip(index, box.start, box.size, case.shape, size, strict=True):
        assert 0 <= first <= at < first + extent <= whole
        assert extent == min(wanted, whole)


def test_the_clicked_voxel_is_in_the_middle(case):
    box = placing.box_at(Grid.of_case(case).to_ras((4, 5, 6)), case, (3, 5, 7))
    assert box == Box((3, 3, 3), (3, 5, 7))


@pytest.mark.parametrize("index", [(-0.6, 0, 0), (0, 11.6, 0), (8, 11, 14.6), (100, 0, 0)])
def test_a_click_outside_the_image_is_refused(case, index):
    with pytest.raises(WorkError, match="outside the image"):
        placing.box_at(Grid.of_case(case).to_ras(index), case, (3, 3, 3))


def test_a_click_in_an_image_that_is_not_where_it_belongs_is_refused(case):
    volume = results.show_case(case, an_array(case, np.zeros(case.shape, np.int16)))
    point = Grid.of_case(case).to_ras((4, 5, 6))
    assert placing.box_at(point, case, (3, 3, 3)) == Box((3, 4, 5), (3, 3, 3))
    under(volume, np.eye(4))
    with pytest.raises(WorkError, match="under the transform"):
        placing.box_at(point, case, (3, 3, 3))
    volume.SetAndObserveTransformNodeID(None)
    volume.SetOrigin(1, 2, 3)
    with pytest.raises(WorkError, match="was moved"):
        placing.box_at(point, case, (3, 3, 3))


def test_a_point_is_awaited_taken_once_and_leaves_nothing(case):
    before = mrml_scene.node_ids()
    picker = placing.Picker()
    assert (picker.waiting, picker.taken()) == (False, None)
    picker.begin("Anterior", RED)
    assert is_placing()
    assert (picker.waiting, picker.taken()) == (True, None)
    point = Grid.of_case(case).to_ras((4, 5, 6))
    click(nodes.find(nodes.Role.POINT), point)
    assert picker.waiting
    np.testing.assert_allclose(picker.taken(), point)
    assert (picker.waiting, picker.taken()) == (False, None)
    assert not is_placing()
    assert mrml_scene.node_ids() == before


def test_escape_ends_the_waiting():
    picker = placing.Picker()
    picker.begin("Anterior", RED)
    press_escape()
    assert not picker.waiting
    assert picker.taken() is None
    picker.begin("Posterior", RED)
    picker.begin("Anterior", RED)
    assert len(nodes.find_all(nodes.Role.POINT)) == 1
    picker.cancel()
    assert not is_placing()
    assert nodes.find(nodes.Role.POINT) is None


def test_closing_the_scene_ends_the_waiting(bench):
    picker = placing.Picker()
    picker.begin("Anterior", RED)
    bench.clear()
    assert not picker.waiting
    picker.cancel()


@pytest.mark.parametrize("kind", ["ROI", "Fiducial", "Line"])
def test_marks_of_the_clinicians_own_count_by_their_middle(case, kind):
    grid = Grid.of_case(case)
    middle, away = grid.to_ras((4, 5, 6)), grid.to_ras((4, 5, 8)) - grid.to_ras((4, 5, 6))
    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node")
    if kind == "ROI":
        node.SetCenter(*middle)
        node.SetSize(3, 4, 5)
    else:
        for point in (middle - away, middle + away):
            node.AddControlPoint(*point)
    expected = Box((3, 4, 5), (3, 3, 3))
    assert placing.box_of(node, case, (3, 3, 3)) == expected
    moved = np.eye(4)
    moved[:3, 3] = grid.to_ras((1, 0, 0)) - grid.to_ras((0, 0, 0))
    under(node, moved)
    assert placing.box_of(node, case, (3, 3, 3)) == Box((4, 4, 5), (3, 3, 3))


@pytest.mark.parametrize("kind", ["ROI", "Fiducial", None])
def test_a_mark_with_nothing_in_it_is_refused(case, kind):
    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node") if kind else None
    with pytest.raises(WorkError, match="Nothing was placed"):
        placing.box_of(node, case, (3, 3, 3))


def test_the_size_of_a_box_along_the_images_axes_is_that_of_its_edges(case):
    grid = Grid.of_case(case)
    roi = an_roi((0, 0, 0), (30.0, 20.0, 10.0))
    roi.SetAndObserveObjectToNodeMatrix(vtk_matrix(grid.centre_to_ras))
    np.testing.assert_allclose(placing.size_of(roi, grid), (10.0, 20.0, 30.0))
    doubled = np.diag([2.0, 2.0, 2.0, 1.0])
    under(roi, doubled)
    np.testing.assert_allclose(placing.size_of(roi, grid), (20.0, 40.0, 60.0))


def test_a_box_along_the_worlds_axes_is_not_larger_in_an_oblique_image():
    grid = Grid.of_case(case_of(DIRECTIONS["oblique"]))
    roi = an_roi((0, 0, 0), (30.0, 20.0, 10.0))
    np.testing.assert_allclose(placing.size_of(roi, grid), (10.0, 20.0, 30.0))
    swapped = Grid.of_case(case_of(DIRECTIONS["axes swapped"]))
    # There k runs along the patient's right, i to the back, j to the head.
    np.testing.assert_allclose(placing.size_of(roi, swapped), (30.0, 10.0, 20.0))
    sagittal = Grid.of_case(case_of(np.eye(3)[[1, 0, 2]]))
    np.testing.assert_allclose(placing.size_of(roi, sagittal), (10.0, 30.0, 20.0))


def test_rough_boxes_are_gathered_by_class():
    grid = Grid.of_case(case_of(DIRECTIONS["straight"]))
    before = mrml_scene.node_ids()
    for name, size in (("large", (30, 20, 10)), ("small", (3, 3, 2)), ("large", (32, 22, 12))):
        node = placing.begin_rough_box(name, RED)
        assert is_placing()
        click(node, (0, 0, 0))
        node.SetSize(*size)
    for _ in range(2):
        placing.begin_rough_box("broken off", RED)
        press_escape()
    assert len(nodes.find_all(nodes.Role.ROUGH)) == 4
    assert placing.rough_sizes(grid) == {"large": ((10, 20, 30), (12, 22, 32)), "small": ((2, 3, 3),)}
    placing.remove_rough_boxes("large")
    assert placing.rough_sizes(grid) == {"small": ((2, 3, 3),)}
    assert len(nodes.find_all(nodes.Role.ROUGH)) == 1
    placing.remove_rough_boxes()
    assert mrml_scene.node_ids() == before


def test_a_box_without_extent_is_refused():
    with pytest.raises(WorkError, match="no extent"):
        placing.size_of(an_roi((0, 0, 0), (5, 0, 5)), Grid.of_case(a_case((2, 2, 2))))


def test_marks_are_neither_saved_nor_listed():
    placing.Picker().begin("Anterior", RED)
    placing.begin_rough_box("large", RED)
    for role in (nodes.Role.POINT, nodes.Role.ROUGH):
        node = nodes.find(role)
        assert not node.GetSaveWithScene()
        assert node.GetHideFromEditors()
        assert not node.GetDisplayNode().GetSaveWithScene()
        assert node.GetDisplayNode().GetSelectedColor() == RED
    placing.Picker().cancel()
    placing.remove_rough_boxes()


@pytest.fixture
def seen(views):
    """A case in the views; the middle of each slice view is `(7, 5, 3)` mm."""
    case = a_case((9, 12, 15))
    image = an_array(case, np.arange(9 * 12 * 15, dtype=np.int16).reshape(case.shape))
    results.show_case(case, image)
    for view in views.slices:
        view.node.JumpSliceByCentering(-7.0, -5.0, 3.0)
    return case


@pytest.mark.usefixtures("seen")
def test_a_click_in_a_slice_view_is_the_point_that_is_taken(views):
    picker = placing.Picker()
    picker.begin("liver", RED)
    assert picker.taken() is None
    views.red.click(np.array([-6.0, -4.0, 3.0]))
    np.testing.assert_allclose(picker.taken(), (-6.0, -4.0, 3.0), atol=0.2)
    assert not is_placing()


def test_two_clicks_in_a_slice_view_draw_a_rough_box(seen, views):
    """The logic's own way to begin would place a point instead."""
    picker = placing.Picker()
    picker.begin("liver", RED)
    picker.cancel()
    placing.begin_rough_box("liver", RED)
    views.red.click(np.array([-3.0, -2.0, 3.0]))
    assert placing.rough_sizes(Grid.of_case(seen)) == {}
    views.red.click(np.array([-11.0, -8.0, 3.0]))
    ((_z, y, x),) = placing.rough_sizes(Grid.of_case(seen))["liver"]
    np.testing.assert_allclose((y, x), (6.0, 8.0), atol=0.3)
    assert not is_placing()
