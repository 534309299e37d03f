"""Views in the chosen layout, and one picture of panel and views."""

from __future__ import annotations

import numpy as np
import pytest

PLOT_LAYOUT = 37


@pytest.fixture
def window(panel, make_window):
    return make_window(panel, (1000, 600))


@pytest.fixture
def image(panel):
    import slicer

    values = np.zeros((20, 30, 40), np.float32)
    values[5:15, 8:22, 10:30] = 100
    node = slicer.util.addVolumeFromArray(values, name="CT 7")
    slicer.util.setSliceViewerLayers(background=node)
    for name in slicer.app.layoutManager().sliceViewNames():
        slicer.app.layoutManager().sliceWidget(name).fitSliceToBackground()
    return node


@pytest.fixture
def chart(panel):
    from harness.mrml_patches import LABELS
    from NNActiveLogic.client.statistics import CycleStatistics, Statistics
    from NNActiveLogic.scene import plots

    def make(count):
        cycles = tuple(
            CycleStatistics(n, 5 * n, 500, 2.5 * n, {"Anterior": 0.2 * n}, None, None)
            for n in range(1, count + 1)
        )
        chart = plots.show_curves(Statistics(cycles, {}, {}), LABELS)
        return chart, plots.show_in_views(chart)

    return make


def _rgb(path):
    import qt

    picture = qt.QImage(str(path)).convertToFormat(qt.QImage.Format_RGB888)
    width, height = picture.width(), picture.height()
    rows = np.frombuffer(picture.constBits(), np.uint8).reshape(height, picture.bytesPerLine())
    return rows[:, : 3 * width].reshape(height, width, 3).copy()


def test_layouts_are_read_from_their_description(panel):
    import slicer

    from harness.views_layout import places

    node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    assert [place.name for place in places(node)] == ["Red", "1", "Green", "Yellow"]
    found = {place.name: place.rect for place in places(node, (100, 0, 401, 300))}
    assert found == {
        "Red": (100, 0, 200, 150), "1": (300, 0, 201, 150),
        "Green": (100, 150, 200, 150), "Yellow": (300, 150, 201, 150),
    }  # fmt: skip


def test_the_layout_manager_follows_the_layout_node(panel):
    import slicer

    manager = slicer.app.layoutManager()
    heard = []
    manager.connect("layoutChanged(int)", heard.append)
    before = manager.layout
    slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode").SetViewArrangement(PLOT_LAYOUT)
    assert (manager.layout, manager.plotViewCount, manager.threeDViewCount) == (PLOT_LAYOUT, 1, 0)
    manager.setLayout(before)
    assert heard == [PLOT_LAYOUT, before]
    assert (manager.plotViewCount, manager.threeDViewCount) == (0, 1)
    manager.disconnect("layoutChanged(int)", heard.append)


def test_panel_and_views_make_one_picture(window, image, tmp_path):
    picture = _rgb(window.picture(tmp_path / "window.png"))
    assert picture.shape == (600, 1000, 3)
    for place in window.arrange():
        left, top, width, height = place.rect
        bar = picture[top + 10, left + width // 2]
        assert f"#{bytes(bar).hex()}" == place.colour.lower()
        inside = picture[top + 25 : top + height - 5, left + 5 : left + width - 5]
        if place.class_name == "vtkMRMLSliceNode":
            assert 0.1 < (inside > 200).mean() < 0.8, place.name
    panel = picture[:, :400]
    assert len(np.unique(panel.reshape(-1, 3), axis=0)) > 20


def test_a_slice_view_takes_the_room_that_the_layout_gives(window, image, views):
    import slicer

    node = views.red.node
    slicer.app.layoutManager().setLayout(6)  # red alone
    window.arrange()
    width, height = node.GetDimensions()[:2]
    assert width > 500
    assert height > 500
    assert node.GetFieldOfView()[0] / width == pytest.approx(node.GetFieldOfView()[1] / height)
    slicer.app.layoutManager().setLayout(3)


@pytest.mark.parametrize("count", [1, 3])
def test_a_chart_is_drawn_in_its_place(window, chart, count, tmp_path):
    from NNActiveLogic.scene import plots

    _, before = chart(count)
    (place,) = [one for one in window.arrange() if one.class_name == "vtkMRMLPlotViewNode"]
    left, top, width, height = place.rect
    picture = _rgb(window.picture(tmp_path / "window.png"))[
        top + 25 : top + height - 5, left + 5 : left + width - 5
    ]
    orange = np.abs(picture.astype(int) - (0xE8, 0x79, 0x3A)).sum(2) < 30
    assert (picture == 255).all(2).mean() > 0.7
    assert orange.sum() > 10
    plots.back_to(before)
