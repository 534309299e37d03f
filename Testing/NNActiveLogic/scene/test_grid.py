"""World and voxels, held against SimpleITK and the server's own geometry."""

import numpy as np
import pytest
import SimpleITK as sitk
import slicer.util

from harness.mrml_patches import a_case, an_array
from NNActiveLogic.client.values import Box
from NNActiveLogic.scene import boxes, volumes
from NNActiveLogic.scene.grid import Grid
from testkit.directions import DIRECTIONS


@pytest.fixture(params=DIRECTIONS, ids=str)
def case(request):
    direction = tuple(DIRECTIONS[request.param].ravel())
    return a_case((5, 7, 9), (4.0, 0.7, 1.3), (-12.5, 80.25, 3.125), direction)


def test_positions_are_those_of_simpleitk_with_two_signs_turned(case):
    image = sitk.Image(9, 7, 5, sitk.sitkUInt8)
    image.SetSpacing(case.spacing[::-1])
    image.SetOrigin(case.origin)
    image.SetDirection(case.direction)
    for index in ((0, 0, 0), (4, 6, 8), (1, 5, 2)):
        lps = image.TransformIndexToPhysicalPoint([int(at) for at in index[::-1]])
        np.testing.assert_allclose(Grid.of_case(case).to_ras(index), np.array(lps) * (-1, -1, 1))


def test_a_position_leads_back_to_its_voxel(case):
    grid = Grid.of_case(case)
    np.testing.assert_allclose(grid.to_index(grid.to_ras((1.5, 4, 7))), (1.5, 4, 7))


def test_a_volume_node_has_the_grid_it_was_given(case, scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    grid = Grid.of_case(case)
    values = np.arange(5 * 7 * 9, dtype=np.int16).reshape(5, 7, 9)
    volumes.fill(node, grid, values)
    assert Grid.of_volume(node).is_same(grid)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), values)
    assert node.GetImageData().GetDimensions() == (9, 7, 5)


def test_the_origin_of_a_cropped_array_is_that_of_the_whole_image(case):
    crop = an_array(case, np.zeros((2, 3, 4), np.float32), start=(1, 2, 3))
    grid = Grid.of_case(case)
    assert grid.offset_of(Grid.of_array(crop.info)) == (1, 2, 3)


def test_grids_that_differ_by_a_tenth_of_a_voxel_are_not_the_same(case):
    grid = Grid.of_case(case)
    moved = Grid(grid.shape, grid.ijk_to_ras.copy())
    moved.ijk_to_ras[0, 3] += 0.07
    assert grid.offset_of(moved) is None
    turned = Grid(grid.shape, grid.ijk_to_ras @ np.diag([1.0, 1.0, 1.02, 1.0]))
    assert grid.offset_of(turned) is None
    rounded = Grid(grid.shape, grid.ijk_to_ras.astype(np.float32).astype(float))
    assert grid.is_same(rounded)


def test_the_box_that_is_drawn_holds_its_voxels_and_no_others(case):
    box = Box((1, 2, 3), (3, 2, 4))
    grid = Grid.of_case(case)
    roi = boxes.show_box(grid.crop(box))
    inside = np.zeros(case.shape, bool)
    for index in np.ndindex(*case.shape):
        inside[index] = roi.IsPointInROIWorld(grid.to_ras(index))
    expected = np.zeros(case.shape, bool)
    expected[box.slices] = True
    np.testing.assert_array_equal(inside, expected)
    assert roi.GetLocked()
    assert not roi.GetSelectable()
    assert not roi.GetDisplayNode().GetHandlesInteractive()


def test_a_margin_ends_at_the_border_of_the_image():
    case = a_case((10, 20, 30), (2.0, 1.0, 0.5))
    box = boxes.with_margin(Box((1, 5, 25), (3, 4, 5)), Grid.of_case(case), 4.0)
    assert box == Box((0, 1, 17), (6, 12, 13))


@pytest.mark.parametrize("dtype", ["<u1", "<i2", "<u2", "<i4", "<f2", "<f4", ">i2", "?", "<i8"])
def test_every_type_of_voxel_arrives_with_its_values(dtype, scene):
    values = (
        np.array([0, 1, 1, 0], dtype).reshape(1, 2, 2)
        if dtype == "?"
        else np.array([[[0, 7], [100, 3]]], dtype)
    )
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    volumes.fill(node, Grid.of_case(a_case((1, 2, 2))), values)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), values.astype(float))
