"""Scenes that are saved, closed, loaded and added to others."""

import numpy as np
import slicer

from harness import mrml_scene
from harness.mrml_painter import Painter
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
    adapter.leave()
    assert nodes.find_all(nodes.Role.IMAGE) == []
