"""Opening, reading and closing patches in a scene that also holds other people's nodes."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk

from harness import mrml_scene
from harness.mrml_painter import Painter
from harness.mrml_patches import LABELS, a_case, a_view
from NNActiveLogic.client.values import Box, Label
from NNActiveLogic.scene import SceneAdapter, nodes, segments, volumes
from NNActiveLogic.scene.colours import class_colour
from NNActiveLogic.work import HeatSettings, WorkError

NAME = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def refused(adapter):
    with pytest.raises(WorkError) as caught:
        adapter.read()
    assert caught.value.advice
    return caught.value.what


def segment(adapter, tag):
    node = adapter.segmentation_node
    return node.GetSegmentation().GetSegment(segments.segment_ids(node, tag)[0])


def everywhere(view):
    return np.ones(view.case.shape, bool)


def paint(adapter, tag, where):
    Painter(adapter.editor_node).paint(segments.segment_ids(adapter.segmentation_node, tag)[0], where)


def test_closing_leaves_the_image_the_editor_and_what_is_hidden(adapter, small):
    before = mrml_scene.node_ids()
    adapter.open(small())
    adapter.set_heat_in_3d(True)
    adapter.close()
    assert not adapter.is_open
    left = mrml_scene.node_ids() - before
    assert sorted(slicer.mrmlScene.GetNodeByID(identity).GetClassName() for identity in left) == [
        "vtkMRMLColorLegendDisplayNode",
        "vtkMRMLMarkupsROIDisplayNode",
        "vtkMRMLMarkupsROINode",
        "vtkMRMLScalarVolumeDisplayNode",
        "vtkMRMLScalarVolumeDisplayNode",
        "vtkMRMLScalarVolumeNode",
        "vtkMRMLScalarVolumeNode",
        "vtkMRMLSegmentEditorNode",
    ]
    heat = nodes.find(nodes.Role.HEAT)
    assert heat.GetImageData() is None
    assert not slicer.modules.colors.logic().GetColorLegendDisplayNode(heat).GetVisibility()
    assert not nodes.find(nodes.Role.BOX).GetDisplayVisibility()
    adapter.open(small(name="p2"))
    assert nodes.find(nodes.Role.BOX).GetDisplayVisibility()
    assert nodes.find(nodes.Role.HEAT).GetImageData() is not None
    adapter.leave()
    assert mrml_scene.node_ids() == before


def test_a_hundred_patches_do_not_fill_the_scene(adapter, small):
    adapter.open(small())
    count = len(mrml_scene.node_ids())
    for number in range(100):
        adapter.open(small(name=f"p{number}", heat=None) if number % 2 else small(name=f"p{number}"))
    adapter.open(small())
    assert len(mrml_scene.node_ids()) == count


def test_window_and_level_stay_between_the_patches_of_a_case_and_come_back_with_it(adapter, small):
    adapter.open(small())
    volumes.set_window(adapter.image_node, 40.0, 80.0)
    adapter.close()
    adapter.open(small(name="p2"))
    assert volumes.window_of(adapter.image_node) == (40.0, 80.0)
    other = a_case((5, 5, 5), name="other")
    adapter.open(a_view(other, np.zeros(other.shape, np.int16), Box((0, 0, 0), (2, 2, 2))))
    assert volumes.window_of(adapter.image_node) != (40.0, 80.0)
    assert len(nodes.find_all(nodes.Role.IMAGE)) == 1
    adapter.open(small())
    assert volumes.window_of(adapter.image_node) == (40.0, 80.0)


def test_the_users_own_nodes_are_not_touched(adapter, small):
    scene = slicer.mrmlScene
    volume = slicer.util.addVolumeFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5), name="mine")
    theirs = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "NNActive patch")
    theirs.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identity = theirs.GetSegmentation().AddEmptySegment("class-1", "Anterior")
    mask = (np.arange(60) % 3 == 0).astype(np.uint8).reshape(3, 4, 5)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, theirs, identity, volume)
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode", "SegmentEditor")
    editor.SetAndObserveSegmentationNode(theirs)
    before = mrml_scene.node_ids()
    times = {node_id: scene.GetNodeByID(node_id).GetMTime() for node_id in before if "Slice" not in node_id}
    view = small()
    adapter.open(view)
    assert adapter.editor_node is not editor
    paint(adapter, segments.class_tag(1), everywhere(view))
    adapter.set_heat(HeatSettings(opacity=0.9), view.heat)
    adapter.read()
    adapter.leave()
    assert mrml_scene.node_ids() == before
    found = slicer.util.arrayFromSegmentBinaryLabelmap(theirs, identity, volume)
    np.testing.assert_array_equal(found, mask)
    ours = [theirs, volume, editor]
    assert [times[node.GetID()] for node in ours] == [node.GetMTime() for node in ours]


def test_a_brush_does_not_eat_the_box_and_undo_brings_the_prediction_back(adapter, small):
    view = small()
    adapter.open(view)
    painter = Painter(adapter.editor_node)
    identities = [segments.segment_ids(adapter.segmentation_node, segments.class_tag(v))[0] for v in (1, 2)]
    painter.paint(identities[0], everywhere(view))
    painter.paint(identities[1], everywhere(view))
    assert (adapter.read().labels == 2).all()
    painter.erase(identities[1], everywhere(view))
    painter.paint(identities[0], everywhere(view))
    assert (adapter.read().labels == 1).all()
    for _ in range(4):
        painter.undo()
    reading = adapter.read()
    np.testing.assert_array_equal(reading.labels, view.prefill)
    assert not reading.changed


def test_the_mask_keeps_the_editor_in_the_box_even_with_the_whole_images_grid(adapter, small):
    """Slicer widens the segmentation's grid when something sticks out of it."""
    view = small(prefill=None)
    adapter.open(view)
    node = adapter.segmentation_node
    wide = slicer.vtkSegmentationConverter.SerializeImageGeometry(
        _matrix(adapter.image_node), adapter.image_node.GetImageData()
    )
    node.GetSegmentation().SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(), wide
    )
    paint(adapter, segments.class_tag(1), everywhere(view))
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        node, segments.segment_ids(node, segments.class_tag(1))[0], adapter.image_node
    )
    expected = np.zeros(view.case.shape, bool)
    expected[view.patch.box.slices] = True
    np.testing.assert_array_equal(mask, expected)


def test_strokes_are_counted_once_each(small):
    now = [0.0]
    adapter = SceneAdapter(clock=lambda: now[0])
    view = small()
    adapter.open(view)
    for number in range(1, 4):
        now[0] += 1.0
        paint(adapter, segments.class_tag(1 + number % 2), everywhere(view))
        assert adapter.edits() == number
    adapter.set_heat(HeatSettings(threshold=0.3), view.heat)
    adapter.read()
    assert adapter.edits() == 3
    adapter.open(view)
    assert adapter.edits() == 0


def test_overlapping_segments_are_named_with_the_number_of_their_voxels(adapter, small):
    view = small(prefill=None)
    adapter.open(view)
    adapter.editor_node.SetOverwriteMode(adapter.editor_node.OverwriteNone)
    one, two = np.zeros(view.case.shape, bool), np.zeros(view.case.shape, bool)
    one[3:5, 5:8, 6:9] = True
    two[4:6, 7:9, 8:10] = True
    paint(adapter, segments.class_tag(1), one)
    paint(adapter, segments.class_tag(2), two)
    segment(adapter, segments.class_tag(1)).SetName("renamed")
    assert refused(adapter) == "Segments overlap: Anterior and Posterior in 1 voxel."
    paint(adapter, segments.UNSURE, two)
    assert "Posterior and Unsure in 8 voxels" in refused(adapter)


def test_painting_over_a_hidden_segment_is_noticed(adapter, small):
    view = small()
    adapter.open(view)
    node = adapter.segmentation_node
    hidden = segments.segment_ids(node, segments.class_tag(1))[0]
    node.GetDisplayNode().SetSegmentVisibility(hidden, False)
    np.testing.assert_array_equal(adapter.read().labels, view.prefill)
    paint(adapter, segments.class_tag(2), everywhere(view))
    assert "Anterior and Posterior in 12 voxels" in refused(adapter)


def test_a_removed_segment_is_named(adapter, small):
    adapter.open(small())
    node = adapter.segmentation_node
    node.GetSegmentation().RemoveSegment(segments.segment_ids(node, segments.class_tag(2))[0])
    assert "'Posterior'" in refused(adapter)


def test_an_added_segment_is_named_once_it_holds_voxels_of_the_box(adapter, small):
    view = small(prefill=None)
    adapter.open(view)
    node = adapter.segmentation_node
    identity = node.GetSegmentation().AddEmptySegment("", "tumour")
    assert not adapter.read().changed
    Painter(adapter.editor_node).paint(identity, everywhere(view))
    assert "'tumour' with 336 voxels" in refused(adapter)


def test_a_copied_segment_is_not_taken_for_its_class(adapter, small):
    adapter.open(small())
    segmentation = adapter.segmentation_node.GetSegmentation()
    first = segments.segment_ids(adapter.segmentation_node, segments.class_tag(1))[0]
    copied = slicer.vtkSegment()
    copied.DeepCopy(segmentation.GetSegment(first))
    segmentation.AddSegment(copied, "a-copy")
    assert "second one of 'Anterior'" in refused(adapter)


def test_an_image_under_a_transform_is_refused_when_opened_and_when_read(adapter, small):
    adapter.open(small())
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    image = adapter.image_node
    image.SetAndObserveTransformNodeID(transform.GetID())
    assert "'registration'" in refused(adapter)
    with pytest.raises(WorkError, match="registration"):
        adapter.open(small(name="p2"))
    assert not adapter.is_open
    image.SetAndObserveTransformNodeID(None)
    adapter.open(small(name="p2"))
    adapter.segmentation_node.SetAndObserveTransformNodeID(transform.GetID())
    assert "The segmentation is under the transform" in refused(adapter)


def test_an_image_that_was_moved_or_removed_is_noticed(adapter, small):
    adapter.open(small())
    adapter.image_node.SetOrigin(1, 2, 3)
    assert "moved" in refused(adapter)
    slicer.mrmlScene.RemoveNode(adapter.image_node)
    assert "removed" in refused(adapter)
    adapter.open(small())
    assert not adapter.read().changed


def test_a_labelmap_on_another_grid_is_refused(adapter, small):
    adapter.open(small())
    image = segment(adapter, segments.class_tag(1)).GetRepresentation(NAME)
    image.SetOrigin(*(value + 0.5 for value in image.GetOrigin()))
    assert "not those of the image" in refused(adapter)


def test_another_source_representation_is_refused(adapter, small):
    adapter.open(small())
    adapter.segmentation_node.CreateClosedSurfaceRepresentation()
    assert not adapter.read().changed
    adapter.segmentation_node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    assert "Closed surface" in refused(adapter)


@pytest.mark.parametrize(
    "bad",
    [
        {"prefill": np.zeros((1, 1, 1), np.uint8)},
        {"prefill": np.full((6, 7, 8), 3, np.uint8)},
        {"unsure": np.zeros((6, 7, 9), bool)},
    ],
    ids=["shape", "class", "unsure"],
)
def test_what_does_not_fit_the_box_is_refused_and_nothing_is_open(adapter, small, bad):
    with pytest.raises(WorkError):
        adapter.open(small(**bad))
    assert not adapter.is_open
    assert refused(adapter)


def test_a_box_outside_the_image_is_refused(adapter):
    case = a_case((4, 4, 4))
    with pytest.raises(WorkError, match="does not lie in the image"):
        adapter.open(a_view(case, np.zeros(case.shape), Box((2, 0, 0), (3, 2, 2))))


def test_helpers_are_hidden_and_what_editors_choose_from_is_not(adapter, small):
    adapter.open(small())
    hidden = {role for role in nodes.Role if nodes.find(role) and nodes.find(role).GetHideFromEditors()}
    assert hidden == {nodes.Role.BOX, nodes.Role.EDITOR}
    saved = {role for role in nodes.Role if nodes.find(role) and nodes.find(role).GetSaveWithScene()}
    assert saved == {nodes.Role.IMAGE, nodes.Role.SEGMENTS}


def test_brush_settings_stay_from_patch_to_patch(adapter, small):
    adapter.open(small())
    adapter.editor_node.SetAttribute("Paint,BrushAbsoluteDiameter", "7")
    adapter.close()
    adapter.open(small(name="p2"))
    assert adapter.editor_node.GetAttribute("Paint,BrushAbsoluteDiameter") == "7"
    assert adapter.editor_node.GetSegmentationNode() is adapter.segmentation_node
    assert adapter.editor_node.GetSourceVolumeNode() is adapter.image_node


def test_segments_have_colours_names_and_terminology(adapter, small):
    entry = "Segmentation category and type~SCT^85756007^Tissue~SCT^1^x~^^~~^^~^^"
    labels = (Label("Tumour", "#102030", entry), Label("Edema", None, {"codes": "of another program"}))
    adapter.open(small(labels=labels))
    found = segment(adapter, segments.class_tag(1))
    assert found.GetName() == "Tumour"
    np.testing.assert_allclose(found.GetColor(), (16 / 255, 32 / 255, 48 / 255))
    written = vtk.mutable("")
    assert found.GetTag(found.GetTerminologyEntryTagName(), written)
    assert str(written) == entry
    np.testing.assert_allclose(segment(adapter, segments.class_tag(2)).GetColor(), class_colour(labels[1], 2))


def test_the_grey_values_at_first_tell_the_tissue_around_the_box_apart(adapter):
    case = a_case((20, 40, 40))
    image = np.full(case.shape, -1000, np.int16)
    image[5:15, 5:25, 5:25] = np.random.default_rng(1).integers(0, 100, (10, 20, 20))
    adapter.open(a_view(case, image, Box((8, 12, 12), (4, 6, 6)), labels=LABELS))
    low, high = volumes.window_of(adapter.image_node)
    assert -10 < low < 10
    assert 90 < high < 110


def _matrix(volume):
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix
