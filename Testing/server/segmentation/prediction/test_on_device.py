"""Prediction whose softmax stays on the device until maps are made of it; here that is the processor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnactive_server.core.mapfiles import MAPS, map_path, read_quality
from nnactive_server.core.voxels import open_voxels
from nnactive_server.loop.crossval import cross_validate
from nnactive_server.loop.folder import CycleFolder
from nnactive_server.loop.outputs import OutputFolder, Outputs
from nnactive_server.segmentation import Engine
from nnactive_server.segmentation.hardware import detect
from nnactive_server.segmentation.prediction.tiles import Tiles

HOST = replace(detect(), device=torch.device("cpu"), autocast=None, resident=False)
DEVICE = replace(HOST, resident=True)
SLABS = {"whole": {}, "in slabs": {"prediction_bytes": 1_000_000}}


@pytest.fixture
def on(trained):
    """The trained engine on other hardware, and its members."""
    engine, folder = trained

    def make(hardware):
        return Engine(engine._dataset, engine._workdir, engine._profile, None, hardware), folder

    return make


@pytest.mark.parametrize("changes", SLABS.values(), ids=SLABS)
def test_members_are_tensors_on_a_device_and_arrays_elsewhere(project, on, changes):
    for hardware, kind in ((DEVICE, torch.Tensor), (HOST, np.ndarray)):
        engine, folder = on(replace(hardware, **changes))
        for slab in engine.slabs(folder, project.cases[0]):
            assert all(type(member) is kind for member in slab.members)


@pytest.mark.parametrize("changes", SLABS.values(), ids=SLABS)
def test_maps_made_on_a_device_are_those_made_of_arrays(project, on, tmp_path, changes):
    case, found = project.cases[0], []
    for name, hardware in (("host", HOST), ("device", DEVICE)):
        engine, folder = on(replace(hardware, **changes))
        outputs = Outputs(folder, [OutputFolder(tmp_path / name)], project.labels)
        outputs.make_maps(engine, case)
        maps = OutputFolder(tmp_path / name).maps(case)
        found.append(({each: open_voxels(map_path(maps, each)).array() for each in MAPS}, read_quality(maps)))
    (host, quality), (device, other) = found
    assert quality == other
    for name in MAPS:
        assert host[name].dtype == device[name].dtype
        np.testing.assert_allclose(device[name].astype(float), host[name].astype(float), atol=1e-3)


def test_cross_validation_counts_the_same_voxels(project, on, tmp_path):
    found = []
    for name, hardware in (("host", HOST), ("device", DEVICE)):
        engine, members = on(hardware)
        folder = CycleFolder(tmp_path / name, 0)
        folder.members.parent.mkdir(parents=True)
        folder.members.symlink_to(members)
        found.append(cross_validate(folder, project, engine))
    assert found[0] == found[1]
    assert found[0]["folds"]


def test_a_gpu_gets_larger_batches_and_a_frugal_one_single_tiles(trained):
    plan, cuda = trained[0].plan, replace(HOST, device=torch.device("cuda", 0))
    sizes = [Tiles(plan, hardware, 0.5)._batch for hardware in (HOST, cuda, cuda.sparing(), HOST.sparing())]
    assert sizes[1] > sizes[0] > sizes[2] == 1
    assert sizes[3] == 2
