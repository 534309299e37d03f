"""One scene for the process; each test begins and ends with an empty one, and VTK may not complain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed; it has Slicer's own MRML libraries")

from harness import mrml_patches, mrml_scene
from harness import views as harness_views
from NNActiveLogic.client.values import Box
from NNActiveLogic.scene import SceneAdapter

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture(scope="session")
def bench():
    return mrml_scene.start()


@pytest.fixture(autouse=True)
def scene(bench):
    """An empty scene; the test fails when MRML or VTK report an error."""
    bench.clear()
    bench.complaints()
    yield bench.scene
    bench.clear()
    assert bench.complaints() == []


@pytest.fixture
def views():
    """Red, Yellow, Green and 3D, drawn off screen."""
    reason = harness_views.why_not()
    if reason:
        pytest.skip(reason)
    return harness_views.shared((300, 240))


@pytest.fixture
def adapter():
    return SceneAdapter()


@pytest.fixture
def small():
    """A view of a small noisy case with a prediction and a heat map."""
    rng = np.random.default_rng(0)
    case = mrml_patches.a_case((12, 16, 20), (2.0, 1.5, 1.0), (10.0, -5.0, 30.0))
    box = Box((3, 4, 5), (6, 7, 8))

    def make(**changes):
        image = rng.normal(100, 20, case.shape).astype(np.int16)
        heat = rng.uniform(0, 1, case.shape).astype(np.float16)
        prefill = np.zeros(box.size, np.uint8)
        prefill[1:3, 2:5, 2:4], prefill[3:5, 2:5, 4:7] = 1, 2
        return mrml_patches.a_view(case, image, box, **({"heat": heat, "prefill": prefill} | changes))

    return make
