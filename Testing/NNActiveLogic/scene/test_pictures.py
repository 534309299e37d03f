"""What is really drawn: pixels of slice views with Slicer's displayable managers."""

import numpy as np
import pytest
import slicer
from scipy.spatial.transform import Rotation

from harness.mrml_patches import a_case, a_view, an_array
from NNActiveLogic.client.values import Box
from NNActiveLogic.scene import nodes, results, volumes
from NNActiveLogic.scene.grid import Grid
from NNActiveLogic.work import HeatSettings

TILTED = Rotation.from_euler("xyz", (12, -9, 15), degrees=True).as_matrix()
GRIDS = {
    "straight": np.eye(3),
    "as scanners write": np.diag([1.0, 1.0, -1.0]),
    "NIfTI": np.diag([-1.0, -1.0, 1.0]),
    "oblique": TILTED,
    "oblique, left-handed": TILTED @ np.diag([-1.0, 1.0, 1.0]),
    "coronal slices": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}
SPACING = (2.0, 1.0, 1.5)
SHAPE = (30, 44, 36)
BOX = Box((9, 13, 8), (12, 16, 20))


@pytest.fixture(params=GRIDS, ids=str)
def case(request):
    direction = tuple(float(value) for value in GRIDS[request.param].ravel())
    return a_case(SHAPE, SPACING, (20.0, -35.0, 60.0), direction)


def marked(case, direction_ras):
    """An image of 0 with a bright half of the box: that towards a direction (R, A, S)."""
    grid = Grid.of_case(case)
    middle = grid.crop(BOX).centre_ras
    axes = np.moveaxis(np.indices(SHAPE), 0, -1)[..., ::-1]
    points = axes @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3] - middle
    # Along the image's axis that is nearest: its planes, not the world's, are what is shown.
    units = grid.ijk_to_ras[:3, :3] / np.linalg.norm(grid.ijk_to_ras[:3, :3], axis=0)
    along = units.T @ np.asarray(direction_ras, float)
    nearest = units[:, np.argmax(np.abs(along))] * np.sign(along[np.argmax(np.abs(along))])
    image = np.zeros(SHAPE, np.int16)
    image[(points @ nearest) > 1.1] = 100
    return image


def bright_side(pixels):
    """Where the bright half lies: up, down, left or right."""
    bright = pixels.astype(int).sum(-1) > 600
    rows, columns = np.nonzero(bright)
    down = rows.mean() / pixels.shape[0] - 0.5
    right = columns.mean() / pixels.shape[1] - 0.5
    if abs(down) > abs(right):
        return "down" if down > 0 else "up"
    return "right" if right > 0 else "left"


# Radiological: the patient's right is on the left, front is up; from the side the front is on the left.
SIDES = {
    (1, 0, 0): {"red": "left", "green": "left"},
    (0, 1, 0): {"red": "up", "yellow": "left"},
    (0, 0, 1): {"green": "up", "yellow": "up"},
}


@pytest.mark.parametrize("towards", SIDES, ids=["right", "front", "head"])
def test_images_are_neither_upside_down_nor_mirrored(adapter, views, case, towards):
    adapter.open(a_view(case, marked(case, towards), BOX))
    volumes.set_window(adapter.image_node, 0, 100)
    nodes.remove(nodes.Role.BOX)
    found = {name: bright_side(getattr(views, name).pixels()) for name in SIDES[towards]}
    assert found == SIDES[towards]


def yellow(pixels):
    red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
    rows, columns = np.nonzero((red > 200) & (green > 160) & (blue < 90))
    return (rows.min(), rows.max(), columns.min(), columns.max()) if rows.size else None


def test_the_box_is_drawn_round_its_voxels_and_in_the_middle(adapter, views, case):
    adapter.open(a_view(case, np.zeros(SHAPE, np.int16), BOX))
    grid = Grid.of_case(case).crop(BOX)
    z, y, x = BOX.size
    corners = [
        grid.to_ras((a * z - 0.5, b * y - 0.5, c * x - 0.5)) for a in (0, 1) for b in (0, 1) for c in (0, 1)
    ]
    for view in views.slices:
        places = np.array([view.pixel_of(corner) for corner in corners])
        expected = (*(np.sort(places[:, 0])[[0, -1]]), *(np.sort(places[:, 1])[[0, -1]]))
        found = yellow(view.pixels())
        np.testing.assert_allclose(found, expected, atol=3)
        rows, columns = view.size[::-1]
        np.testing.assert_allclose((found[0] + found[1]) / 2, rows / 2, atol=4)
        np.testing.assert_allclose((found[2] + found[3]) / 2, columns / 2, atol=4)
        filled = max((found[1] - found[0]) / rows, (found[3] - found[2]) / columns)
        assert 0.55 < filled < 0.7  # with context
    assert yellow(views.threed.pixels()) is not None


def test_closing_takes_box_and_segments_out_of_the_views(adapter, views, small):
    adapter.open(small())
    assert yellow(views.red.pixels()) is not None
    adapter.close()
    picture = views.red.pixels()
    assert yellow(picture) is None
    assert np.ptp(picture, axis=-1).max() == 0  # grey, and nothing else
    assert picture.max() > 0


def test_segments_are_drawn_where_their_voxels_are(adapter, views, case):
    prefill = np.zeros(BOX.size, np.uint8)
    prefill[2:10, 3:9, 4:15] = 2
    image = np.zeros(SHAPE, np.int16)
    adapter.open(a_view(case, image, BOX, prefill=prefill))
    grid = Grid.of_case(case).crop(BOX)
    slicer.vtkMRMLSliceNode.JumpAllSlices(
        slicer.mrmlScene, *grid.to_ras((5, 6, 9)), slicer.vtkMRMLSliceNode.OffsetJumpSlice
    )
    for view in views.slices:
        pixels = view.pixels().astype(int)
        for index, labelled in (((5, 6, 9), True), ((5, 6, 5), None), ((5, 12, 9), None), ((11, 6, 9), None)):
            row, column = view.pixel_of(grid.to_ras(index))
            blue = pixels[row, column, 2] > 60
            if labelled:
                assert blue
        drawn = (pixels[..., 2] > 60) & (pixels[..., 0] < 100)
        corners = np.array(
            [
                view.pixel_of(grid.to_ras((z, y, x)))
                for z in (1.5, 9.5) for y in (2.5, 8.5) for x in (3.5, 14.5)
            ]
        )  # fmt: skip
        rows, columns = np.nonzero(drawn)
        expected = [*np.sort(corners[:, 0])[[0, -1]], *np.sort(corners[:, 1])[[0, -1]]]
        np.testing.assert_allclose([rows.min(), rows.max(), columns.min(), columns.max()], expected, atol=4)


def test_the_heat_map_is_transparent_below_its_threshold_and_lies_on_its_voxels(adapter, views, case):
    heat = np.full(SHAPE, 0.14, np.float16)
    heat[9:15, 13:21, 8:18] = 0.6
    adapter.open(a_view(case, np.full(SHAPE, 50, np.int16), BOX, heat=heat))
    volumes.set_window(adapter.image_node, 0, 100)
    nodes.remove(nodes.Role.BOX)
    adapter.set_heat(HeatSettings(opacity=1.0, threshold=0.15), adapter._heat)
    slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes.find(nodes.Role.HEAT)).SetVisibility(False)
    grid = Grid.of_case(case)
    slicer.vtkMRMLSliceNode.JumpAllSlices(
        slicer.mrmlScene, *grid.to_ras((11, 16, 12)), slicer.vtkMRMLSliceNode.OffsetJumpSlice
    )
    for view in views.slices:
        pixels = view.pixels()
        coloured = np.ptp(pixels.astype(int), axis=-1) > 20
        corners = np.array(
            [
                view.pixel_of(grid.to_ras((z, y, x)))
                for z in (8.5, 14.5) for y in (12.5, 20.5) for x in (7.5, 17.5)
            ]
        )  # fmt: skip
        rows, columns = np.nonzero(coloured)
        expected = [*np.sort(corners[:, 0])[[0, -1]], *np.sort(corners[:, 1])[[0, -1]]]
        np.testing.assert_allclose([rows.min(), rows.max(), columns.min(), columns.max()], expected, atol=2)
        row, column = view.pixel_of(grid.to_ras((11, 24, 22)))
        assert tuple(pixels[row, column]) == (127, 127, 127)


def test_a_heat_map_of_a_box_lies_on_that_box(adapter, views, case):
    view = a_view(case, np.full(SHAPE, 50, np.int16), BOX)
    heat = np.full(BOX.size, 0.9, np.float32)
    adapter.open(view)
    adapter.set_heat(HeatSettings(opacity=1.0), an_array(case, heat, BOX.start))
    volumes.set_window(adapter.image_node, 0, 100)
    slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes.find(nodes.Role.HEAT)).SetVisibility(False)
    box = nodes.find(nodes.Role.BOX)
    for shown in views.slices:
        box.SetDisplayVisibility(True)
        outline = yellow(shown.pixels())
        box.SetDisplayVisibility(False)
        rows, columns = np.nonzero(np.ptp(shown.pixels().astype(int), axis=-1) > 20)
        np.testing.assert_allclose([rows.min(), rows.max(), columns.min(), columns.max()], outline, atol=3)


def test_a_stale_heat_map_is_grey_and_its_legend_says_so(adapter, views, small):
    view = small(heat=np.full((12, 16, 20), 0.8, np.float32), prefill=None)
    adapter.open(view)
    adapter.set_heat(HeatSettings(opacity=1.0), view.heat)
    nodes.remove(nodes.Role.BOX)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes.find(nodes.Role.HEAT))
    assert np.ptp(views.red.pixels().astype(int), axis=-1).max() > 100
    adapter.mark_stale()
    assert np.ptp(views.red.pixels().astype(int), axis=-1).max() <= 2
    assert "older model" in legend.GetTitleText()
    adapter.set_heat(HeatSettings(opacity=0.3), view.heat)
    assert "older model" in legend.GetTitleText()


def test_the_legend_is_drawn_and_goes_with_the_heat_map(adapter, views, small):
    view = small(prefill=None)
    adapter.open(view)
    nodes.remove(nodes.Role.BOX)
    adapter.set_heat(HeatSettings(opacity=0.0), view.heat)
    with_legend = views.red.pixels().astype(int)
    adapter.set_heat(HeatSettings(visible=False), view.heat)
    without = views.red.pixels().astype(int)
    rows, columns = np.nonzero(np.abs(with_legend - without).max(-1) > 20)
    assert columns.min() > 0.6 * views.red.size[0]
    assert rows.min() > 0.5 * views.red.size[1]
    assert np.ptp(without, axis=-1).max() == 0


def test_the_legend_does_not_cover_the_box(adapter, views, small):
    view = small(prefill=None)
    adapter.open(view)
    for measure in ("predictive_entropy", "mutual_information"):
        adapter.set_heat(HeatSettings(measure, opacity=0.0), view.heat)
        nodes.find(nodes.Role.BOX).SetDisplayVisibility(False)
        with_legend = views.red.pixels().astype(int)
        adapter.set_heat(HeatSettings(measure, visible=False), view.heat)
        rows, columns = np.nonzero(np.abs(with_legend - views.red.pixels().astype(int)).max(-1) > 20)
        assert rows.size
        nodes.find(nodes.Role.BOX).SetDisplayVisibility(True)
        assert columns.min() > yellow(views.red.pixels())[3]


def test_the_legend_goes_while_another_case_is_shown(adapter, views, small):
    view = small()
    adapter.open(view)
    other = a_case((20, 20, 20), name="other")
    image = an_array(other, np.zeros(other.shape, np.int16))
    results.show_case(other, image)
    shown = views.red.pixels()
    adapter.leave()
    results.show_case(other, image)
    np.testing.assert_array_equal(views.red.pixels(), shown)


def test_the_heat_map_in_3d_is_that_of_the_box(adapter, views, case):
    heat = np.full(SHAPE, 1.0, np.float32)
    heat[BOX.slices][3:9, 4:12, 5:15] = 0.5
    adapter.open(a_view(case, np.zeros(SHAPE, np.int16), BOX, heat=heat))
    outline = yellow(views.threed.pixels())
    empty = views.threed.pixels().astype(int)
    adapter.set_heat_in_3d(True)
    drawn = np.abs(views.threed.pixels().astype(int) - empty).max(-1) > 40
    rows, columns = np.nonzero(drawn)
    assert drawn.sum() > 500
    assert rows.min() >= outline[0] - 2
    assert rows.max() <= outline[1] + 2
    assert columns.min() >= outline[2] - 2
    assert columns.max() <= outline[3] + 2


def test_the_heat_map_in_3d_appears_and_goes(adapter, views, small):
    heat = np.zeros((12, 16, 20), np.float32)
    heat[4:8, 6:10, 7:12] = 1.0
    adapter.open(small(heat=heat))
    empty = views.threed.pixels().astype(int)
    adapter.set_heat_in_3d(True)
    assert (np.abs(views.threed.pixels().astype(int) - empty).max(-1) > 40).sum() > 500
    adapter.set_heat_in_3d(False)
    assert (np.abs(views.threed.pixels().astype(int) - empty).max(-1) > 40).sum() == 0
