"""A CT: loaded in Slicer, sent from there, boxes placed with the mouse, drawn in and answered."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def scans():
    from testkit.known_scans import CT, ct_scan

    if not CT.exists():
        pytest.skip(f"no real images at {CT}")
    return ct_scan()


def test_a_ct_volume_is_opened_and_answered(live, sit_down, scans, exact):
    from NNActiveLogic.scene import nodes
    from testkit.clinician import load_volume, voxels_of

    volume = load_volume(scans.scans[0].image, "Thorax of Mr Smith")
    ann = sit_down(scans)
    ann.add_volume(volume)
    assert ann.cases[0].name == "case-0001"
    ann.know([scans.scans[0].truth])
    ann.settle_by(live, patch_size=[10, 24, 28], query_size=6)
    ann.place_boxes()
    assert ann.opened.budget().ready
    ann.begin()
    shown = nodes.find(nodes.Role.IMAGE)
    np.testing.assert_array_equal(voxels_of(shown), voxels_of(volume))
    assert ann.views.red.pixels().std() > 20, "the image is drawn"
    found = []
    while ann.state == "editing":
        found += [value for value in range(1, 4) if (ann.wanted == value).any()]
        ann.answer(ann.brush if len(found) % 2 else ann.write)
    assert set(found) == {1, 2, 3}
    ann.all_sent()
    labels, ignore = exact(ann, 0)
    assert 0 < (labels[ann.cases[0].id] != ignore).mean() < 1
