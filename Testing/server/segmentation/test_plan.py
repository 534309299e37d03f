from __future__ import annotations

import numpy as np
import pytest
import torch

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.dataset import Volume, write_volume
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.plan import fingerprint_case, make_plan
from nnactive_server.segmentation.training.recipe import Recipe

LABELS = LabelSet(("a",), partial=True)
AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def image(shape, spacing=(1.0, 1.0, 1.0), value=50.0) -> Volume:
    return Volume(np.full((1, *shape), value, np.float32), Geometry(shape, spacing, (0.0, 0.0, 0.0), AXES))


def plan_for(shape, spacing, profile, channel="MRI"):
    description = {
        "channel_names": {"0": channel},
        "labels": LABELS.to_json(),
        "file_ending": ".nii.gz",
    }
    prints = {"x": fingerprint_case("x", image(shape, spacing), None, LABELS)}
    return make_plan(prints, description, profile, "tiny", lambda: np.array([[1.0, 2.0, 3.0]]))


def test_ignore_voxels_do_not_count_as_foreground():
    volume = image((6, 6, 6))
    volume.array[0, 0, 0, 0] = 900.0
    label = np.full((6, 6, 6), LABELS.ignore, np.uint8)
    label[0, 0, 0] = 1
    label[1] = 0
    assert fingerprint_case("x", volume, label, LABELS).intensities.tolist() == [[900.0]]


def test_without_annotation_intensities_come_from_the_images():
    properties = plan_for((20, 20, 20), (1, 1, 1), get_profile("smoke"), "CT").plans[
        "foreground_intensity_properties_per_channel"
    ]
    assert properties["0"]["mean"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((35, 50, 36), (1, 1, 1)), ((20, 256, 256), (5, 0.8, 0.8)), ((300, 200, 250), (1.5, 1.5, 1.5))],
)
def test_crops_stay_within_the_profiles_volume(shape, spacing):
    plan = plan_for(shape, spacing, get_profile("fast-cpu", crop_voxels=32**3))
    assert 0 < np.prod(plan.configuration.patch_size) <= 32**3


def test_the_paper_profile_keeps_nnunets_own_plan():
    plan = plan_for((35, 50, 36), (1, 1, 1), get_profile("paper"))
    assert list(plan.configuration.patch_size) == [40, 56, 40]
    assert plan.configuration.network_arch_init_kwargs["features_per_stage"][0] == 32


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_dropout_follows_every_convolution_block_or_there_is_none(dropout):
    network = Recipe(plan_for((20, 20, 20), (1, 1, 1), get_profile("smoke", dropout=dropout))).network()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.InstanceNorm3d)]
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Dropout3d)]
    assert [layer.p for layer in layers] == [dropout] * (len(norms) if dropout else 0)


def test_the_plan_is_frozen_once_made(project, tmp_path):
    engine = Engine(project, tmp_path, get_profile("smoke"))
    engine.prepare(project.cases[:3])
    before = (tmp_path / "plans.json").read_bytes()
    Engine(project, tmp_path, get_profile("smoke", features=16)).prepare(project.cases)
    assert (tmp_path / "plans.json").read_bytes() == before


def test_an_empty_image_is_named(make_project, tmp_path):
    project = make_project(cases=2, annotated=1)
    path = project.image_paths("case_1")[0]
    write_volume(path, np.zeros(project.geometry("case_1").shape, np.float32), project.geometry("case_1"))
    with pytest.raises(SegmentationError, match=r"case_1_0000.*every voxel is zero"):
        Engine(project, tmp_path, get_profile("smoke")).prepare(project.cases)
