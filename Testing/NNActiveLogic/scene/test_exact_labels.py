"""What is painted through MRML is what is read, voxel for voxel, whatever the geometry."""

import numpy as np
import pytest
import slicer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.transform import Rotation

from harness.mrml_painter import Painter
from harness.mrml_patches import a_case, a_view
from NNActiveLogic.client.values import Box, Label
from NNActiveLogic.scene import SceneAdapter, segments
from NNActiveLogic.scene.grid import Grid, oriented_image

CLASSES = tuple(Label(f"class {number}") for number in range(1, 5))
NAME = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
EXAMPLES = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def directions(draw):
    """Oblique or straight, axes swapped and flipped; right- and left-handed."""
    matrix = np.eye(3)[list(draw(st.permutations(range(3))))] * draw(
        st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)
    )
    if draw(st.booleans()):
        angles = draw(st.tuples(*[st.floats(-40, 40)] * 3))
        matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ matrix
    return tuple(float(value) for value in matrix.ravel())


@st.composite
def situations(draw):
    """A case of any geometry, a box that may touch its borders, and what is to be painted there."""
    shape = draw(st.tuples(*[st.integers(2, 11)] * 3))
    spacing = draw(st.tuples(*[st.sampled_from([0.4, 0.7291666, 1.0, 3.3, 5.0])] * 3))
    origin = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    size = tuple(draw(st.integers(1, length)) for length in shape)
    start = tuple(
        draw(st.sampled_from([0, length - extent]) | st.integers(0, length - extent))
        for length, extent in zip(shape, size, strict=True)
    )
    count = draw(st.integers(1, 4))
    truth = draw(arrays.arrays(np.uint8, size, elements=st.integers(0, count)))
    prefill = draw(st.none() | arrays.arrays(np.uint8, size, elements=st.integers(0, count)))
    unsure = draw(arrays.arrays(bool, size))
    case = a_case(shape, spacing, origin, draw(directions()))
    image = np.zeros(shape, np.int16)
    return a_view(case, image, Box(start, size), prefill=prefill, labels=CLASSES[:count]), truth, unsure


def opened(view):
    """In an empty scene: an example that was given up leaves its nodes."""
    slicer.mrmlScene.Clear(False)
    adapter = SceneAdapter()
    adapter.open(view)
    return adapter


def in_image(view, mask):
    """Voxels of the box as voxels of the whole image."""
    whole = np.zeros(view.case.shape, bool)
    whole[view.patch.box.slices] = mask
    return whole


def segment_id(adapter, tag):
    return segments.segment_ids(adapter.segmentation_node, tag)[0]


@EXAMPLES
@given(situations(), st.booleans())
def test_what_is_painted_with_the_brush_is_read_bit_for_bit(situation, with_unsure):
    view, truth, unsure = situation
    adapter = opened(view)
    painter = Painter(adapter.editor_node)
    for value in range(1, len(view.labels) + 1):
        tag = segments.class_tag(value)
        painter.erase(segment_id(adapter, tag), np.ones(view.case.shape, bool))
    for value in range(1, len(view.labels) + 1):
        painter.paint(segment_id(adapter, segments.class_tag(value)), in_image(view, truth == value))
    if with_unsure:
        painter.paint(segment_id(adapter, segments.UNSURE), in_image(view, unsure))
    reading = adapter.read()
    expected = np.where(unsure, 0, truth) if with_unsure else truth
    np.testing.assert_array_equal(reading.labels, expected)
    assert reading.labels.dtype == np.uint8
    if with_unsure and unsure.any():
        np.testing.assert_array_equal(reading.unsure, unsure)
    else:
        assert reading.unsure is None
    adapter.leave()


@EXAMPLES
@given(situations())
def test_a_stroke_over_the_whole_image_stays_in_the_box(situation):
    view, _, _ = situation
    adapter = opened(view)
    identity = segment_id(adapter, segments.class_tag(1))
    Painter(adapter.editor_node).paint(identity, np.ones(view.case.shape, bool))
    image = adapter.segmentation_node.GetSegmentation().GetSegment(identity).GetRepresentation(NAME)
    grid = Grid.of_volume(adapter.image_node)
    assert grid.offset_of(Grid.of_image(image)) == view.patch.box.start
    assert Grid.of_image(image).shape == view.patch.box.size
    assert (adapter.read().labels == 1).all()
    adapter.leave()


@EXAMPLES
@given(situations(), st.data())
def test_labelmaps_that_a_script_writes_are_read_bit_for_bit(situation, data):
    """Each segment with a labelmap of its own, of its own extent, which may stick out of the box."""
    view, truth, unsure = situation
    adapter = opened(view)
    grid = Grid.of_volume(adapter.image_node)
    order = list(data.draw(st.permutations(range(1, len(view.labels) + 1))))
    masks = {segments.class_tag(value): (truth == value) & ~unsure for value in order}
    node = adapter.segmentation_node
    for tag, mask in (masks | {segments.UNSURE: unsure}).items():
        identity = segment_id(adapter, tag)
        outside = np.random.default_rng(0).random(view.case.shape) < 0.5
        outside[view.patch.box.slices] = mask
        image = oriented_image(outside.astype(np.uint8), grid, Box((0, 0, 0), view.case.shape))
        node.GetSegmentation().SeparateSegmentLabelmap(identity)
        segment = node.GetSegmentation().GetSegment(identity)
        segment.AddRepresentation(NAME, image)
        segment.SetLabelValue(1)
        segment.SetName(f"renamed {tag}")
        node.GetDisplayNode().SetSegmentVisibility(identity, data.draw(st.booleans()))
    reading = adapter.read()
    np.testing.assert_array_equal(reading.labels, np.where(unsure, 0, truth))
    np.testing.assert_array_equal(
        reading.unsure if reading.unsure is not None else np.zeros_like(unsure), unsure
    )
    adapter.leave()


@EXAMPLES
@given(situations())
def test_a_box_that_nobody_touched_reads_as_it_was_filled(situation):
    view, _, _ = situation
    adapter = opened(view)
    reading = adapter.read()
    expected = np.zeros(view.patch.box.size) if view.prefill is None else view.prefill
    np.testing.assert_array_equal(reading.labels, expected)
    assert (reading.changed, adapter.edits()) == (False, 0)
    adapter.leave()


@pytest.mark.parametrize("value", [1, 2])
def test_every_voxel_painted_alone_lands_on_its_own_place(adapter, small, value):
    view = small(prefill=None)
    adapter.open(view)
    identity = segment_id(adapter, segments.class_tag(value))
    painter = Painter(adapter.editor_node)
    for index in np.argwhere(np.ones((2, 3, 3), bool)):
        mask = np.zeros(view.patch.box.size, bool)
        mask[tuple(index * 2)] = True
        painter.erase(identity, np.ones(view.case.shape, bool))
        painter.paint(identity, in_image(view, mask))
        np.testing.assert_array_equal(adapter.read().labels == value, mask)


def test_the_class_under_an_open_voxel_is_left_out_from_the_start(adapter, small):
    view = small()
    unsure = np.zeros(view.patch.box.size, bool)
    unsure[1, 2, 2] = True
    adapter.open(small(unsure=unsure))
    reading = adapter.read()
    np.testing.assert_array_equal(reading.unsure, unsure)
    np.testing.assert_array_equal(reading.labels, np.where(unsure, 0, view.prefill))
    assert not reading.changed
