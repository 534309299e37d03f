"""Colours, ranges and legends of the heat map."""

import gc
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicer.util

from harness.mrml_patches import an_array
from NNActiveLogic.scene import nodes
from NNActiveLogic.scene.colours import table_id
from NNActiveLogic.scene.grid import Grid
from NNActiveLogic.work import HeatSettings, WorkError


def legend():
    return slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes.find(nodes.Role.HEAT))


def test_colours_span_zero_to_the_greatest_entropy_there_can_be(adapter, small):
    adapter.open(small())
    display = nodes.find(nodes.Role.HEAT).GetDisplayNode()
    np.testing.assert_allclose(
        (display.GetWindowLevelMin(), display.GetWindowLevelMax()), (0, math.log(3)), atol=1e-6
    )
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("measure", "title"),
    [
        ("predictive_entropy", "Uncertainty\n[nats]"),
        ("mutual_information", "Model\ndisagreement\n[nats]"),
        ("class-2", "Uncertainty\nPosterior\n[nats]"),
        ("class-9", "class-9\n[nats]"),
    ],
)
def test_the_legend_names_the_measure(adapter, small, measure, title):
    view = small()
    adapter.open(view)
    adapter.set_heat(HeatSettings(measure=measure), view.heat)
    assert legend().GetTitleText() == title


def test_settings_hold_for_the_patches_that_follow(adapter, small):
    view = small()
    adapter.open(view)
    adapter.set_heat(HeatSettings("mutual_information", opacity=0.8, threshold=0.4), view.heat)
    adapter.open(small(name="p2"))
    display = nodes.find(nodes.Role.HEAT).GetDisplayNode()
    assert display.GetLowerThreshold() == pytest.approx(0.4)
    assert "disagreement" in legend().GetTitleText()


def test_another_heat_map_takes_the_place_of_the_first(adapter, small):
    view = small()
    adapter.open(view)
    other = an_array(view.case, np.full((2, 3, 4), 0.5, np.float16), (1, 2, 3))
    adapter.set_heat(HeatSettings(), other)
    assert len(nodes.find_all(nodes.Role.HEAT)) == 1
    found = slicer.util.arrayFromVolume(nodes.find(nodes.Role.HEAT))
    assert (found.shape, found.dtype) == ((2, 3, 4), np.float32)
    adapter.set_heat(HeatSettings(), None)
    assert nodes.find(nodes.Role.HEAT) is None
    assert not adapter.read().changed


def test_values_that_are_no_numbers_are_not_drawn(adapter, small):
    heat = np.full((12, 16, 20), 0.5, np.float32)
    heat[0, 0, :3] = np.nan, np.inf, -np.inf
    adapter.open(small(heat=heat))
    found = slicer.util.arrayFromVolume(nodes.find(nodes.Role.HEAT))
    assert found[0, 0, :4].tolist() == [0, 0, 0, 0.5]


def test_changing_the_drawing_does_not_copy_the_voxels_again(adapter, small):
    view = small()
    adapter.open(view)
    image = nodes.find(nodes.Role.HEAT).GetImageData()
    adapter.set_heat(HeatSettings(opacity=0.1), view.heat)
    adapter.mark_stale()
    adapter.open(replace(small(name="p2"), heat=view.heat))
    assert nodes.find(nodes.Role.HEAT).GetImageData() is image


def test_a_map_of_the_right_type_is_drawn_without_a_copy_and_kept_alive(adapter, small):
    view = small(heat=np.full((12, 16, 20), 0.5, np.float32))
    memory = weakref.ref(view.heat.values)
    adapter.open(view)
    node = nodes.find(nodes.Role.HEAT)
    assert np.shares_memory(slicer.util.arrayFromVolume(node), view.heat.values)
    assert Grid.of_volume(node).is_same(Grid.of_array(view.heat.info))
    adapter._view = adapter._heat = view = None  # nothing but VTK holds it now
    gc.collect()
    assert memory() is not None
    assert slicer.util.arrayFromVolume(node).min() == 0.5
    adapter.leave()
    node = None
    adapter.open(small())
    adapter.leave()
    gc.collect()
    assert memory() is None


def test_a_colour_table_that_is_missing_gives_way_to_the_next():
    assert table_id("No such table", "Iron") == "vtkMRMLColorTableNodeIron"
    with pytest.raises(LookupError, match="No such table"):
        table_id("No such table")


def test_a_heat_map_of_other_voxels_than_the_images_is_refused(adapter, small):
    view = small()
    moved = replace(view.heat.info, origin=(0.0, 0.0, 0.4))
    with pytest.raises(WorkError, match="heat map does not have the voxels"):
        adapter.open(replace(view, heat=replace(view.heat, info=moved)))
    assert not adapter.is_open
