"""From the scene to the server and back: what was painted is what the server trains on, in every geometry."""

import time

import numpy as np
import pytest
import slicer
import slicer.util

from harness.mrml_painter import Painter
from harness.mrml_patches import a_case
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.presenter import Presenter
from NNActiveLogic.presenter.labels_table import LabelRow
from NNActiveLogic.presenter.uploads import NewCase
from NNActiveLogic.scene import SceneAdapter, outgoing, placing, segments
from NNActiveLogic.scene.grid import Grid
from testkit.directions import TILTED
from testkit.live_server import LiveServer
from testkit.server_labels import partial_labels

GEOMETRIES = {
    "oblique": TILTED,
    "flipped": np.diag([-1.0, 1.0, -1.0]),
    "left-handed": TILTED @ np.diag([1.0, 1.0, -1.0]),
    "axes swapped": np.eye(3)[[2, 0, 1]],
}
"""All with unequal spacing and an origin far from zero."""
CLASSES = ("large", "small", "nowhere")
SIZE = (6, 7, 8)
TYPES = (np.int16, np.uint8, np.float32, np.int32)


class Settings(dict):
    def set(self, key, value):
        self[key] = value


class Somebody:
    """A presenter with a real scene."""

    def __init__(self, server, folder):
        self.scene = SceneAdapter()
        self.presenter = Presenter(
            self.scene, Settings(), folder, lambda: None, limits=Limits(attempts=1), wait=0.2
        )
        self.presenter.connection.connect(server.url, server.tokens["ann"])
        self.settle(lambda: self.presenter.connection.online)
        self.presenter.connection.agree()

    def settle(self, condition, seconds=20.0):
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, (self.presenter.notice, self.presenter.opened.uploads.view())
            self.presenter.tick()
            time.sleep(0.005)

    def make_project(self):
        rows, made = [LabelRow(name) for name in CLASSES], []
        settings = {"patch_size": SIZE, "query_size": 4, "profile": "smoke"}
        assert self.presenter.projects.create("geometry", rows, ["CT"], made.append, **settings).ok
        self.settle(lambda: made)
        assert self.presenter.open(made[0].id).ok
        self.settle(lambda: self.presenter.opened is not None)
        return self.presenter.opened

    def paint(self, truth, unsure):
        """Both (z, y, x) of the whole image; the class that is nowhere is not touched."""
        node = self.scene.segmentation_node
        painter = Painter(self.scene.editor_node)
        for tag, mask in [
            (segments.class_tag(1), truth == 1),
            (segments.class_tag(2), truth == 2),
            (segments.UNSURE, unsure),
        ]:
            identity = segments.segment_ids(node, tag)[0]
            painter.paint(identity, mask)
            node.GetSegmentation().GetSegment(identity).SetName(f"renamed {tag}")
        hidden = segments.segment_ids(node, segments.class_tag(2))[0]
        node.GetDisplayNode().SetSegmentVisibility(hidden, False)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("geometry") / "data") as server:
        yield server


def a_volume(name, direction, dtype, rng):
    case = a_case((14, 17, 19), (3.3, 0.7291666, 1.1), (-210.7, 33.3, 512.125), direction.ravel().tolist())
    values = rng.uniform(0, 200, case.shape).astype(dtype)
    matrix = Grid.of_case(case).matrix()
    return slicer.util.addVolumeFromArray(values, matrix, name)


def test_labels_on_the_server_equal_the_voxels_painted(live, tmp_path):
    rng = np.random.default_rng(3)
    me = Somebody(live, tmp_path / "outbox")
    opened = me.make_project()
    truths, unsures, boxes = {}, {}, {}
    for (name, direction), dtype in zip(GEOMETRIES.items(), TYPES, strict=True):
        volume = a_volume(name, direction, dtype, rng)
        before = {case.id for case in opened.records.now.cases}
        assert opened.uploads.add([NewCase(outgoing.take_channels([volume]), name)]).ok
        me.settle(lambda before=before: len(opened.records.now.cases) > len(before))
        (case,) = [one for one in opened.records.now.cases if one.id not in before]
        assert Grid.of_case(case).is_same(Grid.of_volume(volume))
        truths[case.id] = rng.integers(0, 3, case.shape)
        unsures[case.id] = rng.random(case.shape) < 0.1
        # At the border of the image, so that the box has to be moved.
        box = placing.box_at(Grid.of_case(case).to_ras((1, 8, 17)), case, SIZE)
        assert box.size == SIZE
        placed = []
        me.presenter.projects.place(opened.project.id, case.id, box, CLASSES[0], placed.append)
        me.settle(lambda placed=placed: placed)
        boxes[case.id] = box

    assert opened.session.next().ok
    for number in range(len(boxes)):
        me.settle(lambda: opened.session.state == "editing")
        patch = opened.session.patch
        assert patch.box == boxes[patch.case]
        shown = slicer.util.arrayFromVolume(me.scene.image_node)
        sent = slicer.util.arrayFromVolume(slicer.util.getNode(opened.session.screen.view.case.name))
        np.testing.assert_array_equal(shown, sent)
        me.paint(truths[patch.case], unsures[patch.case])
        assert opened.session.accept().ok
        me.settle(lambda number=number: opened.session.state == ("done" if number == 3 else "editing"))
    me.settle(lambda: not opened.sending.entries)
    me.presenter.close()

    found, ignore = partial_labels(live.data, opened.project.id, 0)
    assert found.keys() == boxes.keys()
    for case, labels in found.items():
        expected = np.full(labels.shape, ignore)
        inside = boxes[case].slices
        expected[inside] = np.where(unsures[case][inside], ignore, truths[case][inside])
        np.testing.assert_array_equal(labels, expected)
