"""What is drawn at the panel is what the server trains on, voxel for voxel, whatever the geometry."""

from __future__ import annotations

import numpy as np
import pytest

CLASSES = ("head", "body", "tail")
SHAPE = (15, 18, 21)
BOX = {"start": [4, 0, 9], "size": [7, 9, 12]}
"""Touches two borders of the image."""
TURNED = ((0.8, -0.6, 0.0), (0.48, 0.64, -0.6), (0.36, 0.48, 0.8))
"""Columns are the directions of i, j and k (RAS)."""
GEOMETRIES = {
    "straight": (np.eye(3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    "flipped": (np.diag((-1.0, -1.0, 1.0)), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
    "anisotropic": (np.eye(3), (0.4, 0.7291666, 5.0), (0.0, 0.0, 0.0)),
    "left-handed": (np.diag((1.0, 1.0, -1.0)), (1.0, 2.0, 1.5), (0.0, 0.0, 0.0)),
    "far away": (np.eye(3), (1.0, 1.0, 1.0), (-217.3, 1033.7, 512.125)),
    "axes swapped": (np.eye(3)[[2, 0, 1]], (1.0, 1.2, 3.3), (5.0, 6.0, 7.0)),
    "oblique": (np.array(TURNED), (0.9, 1.1, 2.5), (-12.5, 80.25, 3.125)),
    "oblique, left-handed": (
        np.array(TURNED) @ np.diag((1.0, 1.0, -1.0)),
        (0.9, 1.1, 2.5),
        (40.0, -7.0, 3.0),
    ),
}


def make_volume(name, number):
    """A volume of the scene with voxels of its own."""
    import slicer
    import slicer.util

    directions, spacing, origin = GEOMETRIES[name]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = directions @ np.diag(spacing), origin
    values = np.random.default_rng(number).integers(-500, 1500, SHAPE).astype(np.int16)
    node = slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name=name)
    node.CreateDefaultDisplayNodes()
    return node


@pytest.fixture
def volumes(nnactive):
    """One volume of each geometry, in the scene."""
    return [make_volume(name, number) for number, name in enumerate(GEOMETRIES)]


@pytest.fixture
def ann(sit_down, live, volumes, steps):
    """Every volume is in the project, with one box. The truth is noise, so that no voxel goes unnoticed."""
    from testkit.known_scans import Scans

    clinician = sit_down(Scans("Geometries", "MR", CLASSES, ()))
    clinician.agree()
    steps.click(clinician.panel.sections["project"].images.ui.allButton)
    clinician._arrived(len(volumes))
    rng = np.random.default_rng(7)
    clinician.know([rng.integers(0, len(CLASSES) + 1, SHAPE).astype(np.uint8) for _ in volumes])
    for case in clinician.cases:
        place = {"case": case.id, "box": BOX, "group": CLASSES[0]}
        live.call(
            "POST", f"/v1/projects/{clinician.opened.project.id}/patches", json=place
        ).raise_for_status()
    clinician.until(lambda: len(clinician.opened.records.now.patches) == len(volumes))
    for section in ("workList", "patch"):
        clinician.unfold(section)
    return clinician


def test_every_geometry_and_every_way_to_draw_arrives_bit_for_bit(ann, volumes, exact):
    from NNActiveLogic.scene.grid import Grid

    grids = [Grid.of_volume(volume) for volume in volumes]
    ways = [brushed, hidden, renamed, without_a_class, with_unsure, overlapping, under_a_transform, reopened]
    ann.begin()
    for way in ways:
        case = next(one for one in ann.cases if one.id == ann.patch.case)
        assert Grid.of_case(case).is_same(grids[ann.cases.index(case)])
        assert ann.patch.box.size == tuple(BOX["size"])
        way(ann)
    assert ann.state == "done"
    ann.all_sent()
    labels, ignore = exact(ann, 0)
    assert set(labels) == set(ann.truth)
    box = tuple(slice(at, at + n) for at, n in zip(BOX["start"], BOX["size"], strict=True))
    for label in labels.values():
        outside = np.ones(SHAPE, bool)
        outside[box] = False
        assert (label[outside] == ignore).all()


def brushed(ann):
    ann.brush(ann.wanted)
    ann.accept_as_it_is()


def hidden(ann):
    ann.write(ann.wanted)
    display = ann.adapter.segmentation_node.GetDisplayNode()
    display.SetSegmentVisibility(ann.segment("class-1"), False)
    ann.accept_as_it_is()


def renamed(ann):
    segmentation = ann.adapter.segmentation_node.GetSegmentation()
    names = ("tail", "head", "something else")
    for value, name in enumerate(names, 1):
        segmentation.GetSegment(ann.segment(f"class-{value}")).SetName(name)
    ann.brush(ann.wanted)
    ann.accept_as_it_is()


def without_a_class(ann):
    truth = ann.truth[ann.patch.case]
    truth[truth == 2] = 0
    ann.brush(ann.wanted)
    ann.accept_as_it_is()


def with_unsure(ann):
    ann.brush(ann.wanted)
    unsure = np.random.default_rng(3).random(ann.wanted.shape) < 0.2
    ann.mark_unsure(unsure)
    ann.accept_as_it_is(unsure)


def overlapping(ann):
    """Refused with the reason; then drawn apart."""
    import slicer

    node = ann.adapter.segmentation_node
    ann.write(ann.wanted)
    for value in (1, 2):
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            ann.in_image(np.ones(ann.wanted.shape, bool)).astype(np.uint8),
            node,
            ann.segment(f"class-{value}"),
            ann.adapter.image_node,
        )
    here = ann.patch.id
    ann.press("accept")
    assert "overlap" in ann.host.widget.ui.messageLabel.text
    assert ann.patch.id == here
    ann.write(ann.wanted)
    ann.accept_as_it_is()


def under_a_transform(ann):
    """Refused with the reason; then put back."""
    import slicer

    ann.brush(ann.wanted)
    image = ann.adapter.image_node
    image.SetAndObserveTransformNodeID(
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode").GetID()
    )
    here = ann.patch.id
    ann.press("accept")
    assert "transform" in ann.host.widget.ui.messageLabel.text
    assert ann.patch.id == here
    image.SetAndObserveTransformNodeID(None)
    ann.accept_as_it_is()


def reopened(ann):
    """Half drawn, saved with the scene, the scene closed and opened again, and drawn to its end."""
    import tempfile
    from pathlib import Path

    from harness import mrml_scene

    half = ann.wanted.copy()
    half[:, ::2] = 0
    ann.brush(half)
    here = ann.patch.id
    with tempfile.TemporaryDirectory() as folder:
        path = mrml_scene.write_scene(Path(folder))
        ann.host.close_scene()
        assert ann.patch is None
        mrml_scene.read_scene(path)
    ann.begin()
    assert ann.patch.id == here
    assert np.array_equal(ann.adapter.read().labels, half)
    ann.brush(ann.wanted)
    ann.accept_as_it_is()
