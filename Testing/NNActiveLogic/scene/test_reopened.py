"""Scenes that are saved, closed, loaded and added to others."""

import numpy as np
import pytest
import slicer
import slicer.util
from scipy.spatial.transform import Rotation

from harness import mrml_scene
from harness.mrml_painter import Painter
from harness.mrml_patches import a_case, a_view
from NNActiveLogic.client.values import Box
from NNActiveLogic.scene import SceneAdapter, nodes, segments


def painted(adapter, view):
    """Something that no prediction says."""
    where = np.zeros(view.case.shape, bool)
    where[view.patch.box.slices][::2, 1:, :3] = True
    painter = Painter(adapter.editor_node)
    node = adapter.segmentation_node
    painter.paint(segments.segment_ids(node, segments.class_tag(2))[0], where)
    where[view.patch.box.slices][:, :, -1] = True
    where[view.patch.box.slices][:, :, :3] = False
    painter.paint(segments.segment_ids(node, segments.UNSURE)[0], where)
    return adapter.read()


def same(one, other):
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.unsure, other.unsure)
    assert one.changed == other.changed


def test_painted_work_goes_on_in_a_scene_that_was_saved_and_loaded(adapter, small, tmp_path):
    view = small()
    adapter.open(view)
    expected = painted(adapter, view)
    path = mrml_scene.write_scene(tmp_path)
    mrml_scene.read_scene(path)
    assert not adapter.is_open
    fresh = SceneAdapter()
    fresh.open(view)
    assert fresh.resumed
    same(fresh.read(), expected)
    assert fresh.edits() == 0
    assert fresh.editor_node.GetMaskSegmentID()
    Painter(fresh.editor_node).paint(
        segments.segment_ids(fresh.segmentation_node, segments.class_tag(1))[0],
        np.ones(view.case.shape, bool),
    )
    assert (fresh.read().labels == 1).all()
    assert fresh.edits() == 1
    fresh.leave()
    assert nodes.find_all(nodes.Role.SEGMENTS) == []


GEOMETRIES = {
    "oblique": Rotation.from_euler("xyz", (20, -35, 10), degrees=True).as_matrix(),
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "axes swapped": np.eye(3)[[2, 0, 1]],
}


def through_a_bundle(folder):
    """Saved as one .mrb file and opened again."""
    path = folder / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path), None)
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.ReadFromMRB(str(path), False)


def through_a_folder(folder):
    """Saved as an .mrml file with its data beside it, and opened again."""
    mrml_scene.read_scene(mrml_scene.write_scene(folder))


@pytest.mark.parametrize("reopened", [through_a_bundle, through_a_folder])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_geometry_comes_back_voxel_for_voxel(adapter, geometry, reopened, tmp_path):
    direction = tuple(GEOMETRIES[geometry].ravel())
    case = a_case((12, 16, 20), (3.3, 0.7291666, 1.1), (-210.7, 33.3, 512.125), direction)
    rng = np.random.default_rng(1)
    box = Box((3, 4, 5), (6, 7, 8))
    prefill = rng.integers(0, 3, box.size).astype(np.uint8)
    view = a_view(case, rng.normal(0, 9, case.shape).astype(np.int16), box, prefill=prefill)
    adapter.open(view)
    node = adapter.segmentation_node
    expected = painted(adapter, view)
    one = segments.segment_ids(node, segments.class_tag(1))[0]
    node.GetSegmentation().GetSegment(one).SetName("renamed")
    node.GetDisplayNode().SetSegmentVisibility(one, False)
    reopened(tmp_path)
    fresh = SceneAdapter()
    fresh.open(view)
    assert fresh.resumed
    same(fresh.read(), expected)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(fresh.image_node), view.image.values)
    fresh.leave()


def test_slice_views_that_follow_an_oblique_image_find_back_after_loading(adapter, views, tmp_path):
    case = a_case((12, 16, 20), direction=GEOMETRIES["oblique"].ravel().tolist())
    view = a_view(case, np.zeros(case.shape, np.int16), Box((3, 4, 5), (6, 7, 8)))
    adapter.open(view)
    turned = [np.array(one.node.GetSliceToRAS().GetData()) for one in views.slices]
    through_a_folder(tmp_path)
    adapter.open(view)
    again = [np.array(one.node.GetSliceToRAS().GetData()) for one in views.slices]
    np.testing.assert_allclose(again, turned, atol=1e-6)
    adapter.leave()
    assert [one.node.GetOrientation() for one in views.slices] == ["Axial", "Sagittal", "Coronal"]


def test_a_class_that_was_painted_nowhere_comes_back_too(adapter, small, tmp_path):
    view = small(prefill=None)
    adapter.open(view)
    through_a_bundle(tmp_path)
    adapter.open(view)
    assert adapter.resumed
    reading = adapter.read()
    assert not reading.labels.any()
    assert (reading.unsure, reading.changed) == (None, False)


def test_taken_up_work_is_shown_alone_and_its_box_is_hidden_again(adapter, small, tmp_path):
    first, second = small(), small(name="p2")
    adapter.open(first)
    expected = painted(adapter, first)
    node = adapter.segmentation_node
    node.GetDisplayNode().SetSegmentVisibility(segments.segment_ids(node, segments.BOX)[0], True)
    node.SetDisplayVisibility(False)
    path = mrml_scene.write_scene(tmp_path)
    mrml_scene.read_scene(path)
    adapter.open(second)
    slicer.mrmlScene.SetURL(str(path))
    assert slicer.mrmlScene.Import()
    adapter.open(first)
    assert adapter.resumed
    assert nodes.find_all(nodes.Role.SEGMENTS) == [adapter.segmentation_node]
    display = adapter.segmentation_node.GetDisplayNode()
    assert display.GetVisibility()
    box = segments.segment_ids(adapter.segmentation_node, segments.BOX)[0]
    assert not display.GetSegmentVisibility(box)
    same(adapter.read(), expected)


def test_the_same_adapter_goes_on_too(adapter, small, tmp_path):
    view = small()
    adapter.open(view)
    expected = painted(adapter, view)
    mrml_scene.read_scene(mrml_scene.write_scene(tmp_path))
    adapter.open(view)
    assert adapter.resumed
    same(adapter.read(), expected)


def test_helpers_do_not_come_with_a_saved_scene(adapter, small, tmp_path):
    adapter.open(small())
    mrml_scene.read_scene(mrml_scene.write_scene(tmp_path))
    found = {role for role in nodes.Role if nodes.find(role)}
    assert found == {nodes.Role.IMAGE, nodes.Role.SEGMENTS}


def test_work_on_an_answer_that_was_given_since_is_not_taken_up(adapter, small, tmp_path):
    view = small()
    adapter.open(view)
    painted(adapter, view)
    mrml_scene.read_scene(mrml_scene.write_scene(tmp_path))
    later = small(revision=1)
    adapter.open(later)
    assert not adapter.resumed
    np.testing.assert_array_equal(adapter.read().labels, later.prefill)
    assert len(nodes.find_all(nodes.Role.SEGMENTS)) == 1


def test_opening_a_patch_again_starts_from_the_prediction(adapter, small):
    view = small()
    adapter.open(view)
    painted(adapter, view)
    adapter.open(view)
    assert not adapter.resumed
    np.testing.assert_array_equal(adapter.read().labels, view.prefill)


def test_closing_the_scene_closes_the_patch(adapter, small, bench):
    before = mrml_scene.node_ids()
    adapter.open(small())
    bench.clear()
    assert not adapter.is_open
    assert adapter.image_node is None
    adapter.mark_stale()
    adapter.close()
    adapter.open(small())
    assert not adapter.read().changed
    adapter.leave()
    assert mrml_scene.node_ids() == before


def test_a_scene_that_brings_our_nodes_a_second_time_does_no_harm(adapter, small, tmp_path):
    view = small()
    adapter.open(view)
    path = mrml_scene.write_scene(tmp_path)
    slicer.mrmlScene.SetURL(str(path))
    assert slicer.mrmlScene.Import()
    assert len(nodes.find_all(nodes.Role.SEGMENTS)) == 2
    assert adapter.is_open
    np.testing.assert_array_equal(adapter.read().labels, view.prefill)
    adapter.open(small(name="p2"))
    assert len(nodes.find_all(nodes.Role.SEGMENTS)) == 1
    assert nodes.find_all(nodes.Role.IMAGE) == [adapter.image_node]
    adapter.leave()
    assert nodes.find_all(nodes.Role.IMAGE) == []
