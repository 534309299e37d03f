from __future__ import annotations

import numpy as np
import pytest
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import Volume, write_patches
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.preprocessing import ANNOTATED, CaseStore, preprocess_image


def prepared(project, folder) -> tuple[Engine, CaseStore]:
    engine = Engine(project, folder, get_profile("smoke"))
    engine.prepare(project.cases)
    return engine, CaseStore(folder / "cases", engine.plan)


def test_new_annotation_changes_the_label_and_leaves_the_image_alone(make_project, tmp_path):
    project = make_project(border=4)
    engine, store = prepared(project, tmp_path)
    case = project.cases[0]
    engine.update_labels([case])
    image = (tmp_path / "cases" / f"{case}.image.npy").read_bytes()
    before = store.training_case(case).annotated_voxels
    write_patches(project, case, {Patch((5, 5, 5), (3, 3, 3)): np.zeros((3, 3, 3), np.uint8)})
    engine.update_labels([case])
    assert store.training_case(case).annotated_voxels > before
    assert (tmp_path / "cases" / f"{case}.image.npy").read_bytes() == image


def test_normalisation_does_not_depend_on_annotation(make_project, tmp_path):
    """nnU-Net's own mask would differ: unannotated air counts as inside the body for it."""
    with_labels, without = make_project(border=4), make_project(border=4, annotated=0)
    _, annotated_store = prepared(with_labels, tmp_path / "a")
    _, bare_store = prepared(without, tmp_path / "b")
    for case in with_labels.cases:
        np.testing.assert_array_equal(annotated_store.image(case), bare_store.image(case))


@pytest.mark.parametrize(
    ("settings", "masked"),
    [
        ({}, False),
        ({"channel": "CT"}, False),
        ({"border": 4}, True),
        (
            {"shape": (24, 14, 26), "spacing": (1.0, 2.5, 1.0), "border": 2, "last_spacing": (1.3, 2.5, 0.8)},
            True,
        ),
    ],
    ids=["MR", "CT", "with air", "turned, cropped, other voxels"],
)
def test_images_are_what_nnunet_makes_of_them(make_project, tmp_path, settings, masked):
    project = make_project(cases=3, annotated=0, **settings)
    engine, _ = prepared(project, tmp_path)
    plan = engine.plan
    assert plan.configuration.use_mask_for_norm == [masked]
    images = [project.read_image(case) for case in project.cases]
    holes = images[0].array.copy()
    holes[:, 7:11, 6:8, 9:12] = 0  # inside the body; nnU-Net counts it as a part of it
    for image in (*images, Volume(holes, images[0].geometry)):
        theirs, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
            image.array,
            None,
            {"spacing": list(image.geometry.spacing)},
            plan.manager,
            plan.configuration,
            plan.dataset_json,
        )
        ours, own = preprocess_image(image, plan)
        resampled = theirs.shape[1:] != properties["shape_after_cropping_and_before_resampling"]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 if resampled else 0)
        assert own.pop("shape_on_plan_grid") == list(theirs.shape[1:])
        assert own == {key: as_lists(properties[key]) for key in own}
    nothing = preprocess_image(Volume(np.zeros_like(holes), images[0].geometry), plan)[0]
    assert np.unique(nothing).size == 1
    assert np.isfinite(nothing).all()


def as_lists(value):
    return [as_lists(entry) for entry in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("number", [0, 3])
def test_labels_follow_the_image_through_crop_axis_order_and_resampling(make_project, tmp_path, number):
    project = make_project(
        cases=4,
        annotated=4,
        shape=(24, 14, 26),
        spacing=(1.0, 2.5, 1.0),
        border=2,
        last_spacing=(1.3, 2.5, 0.8),
    )
    engine, store = prepared(project, tmp_path)
    case = project.cases[number]
    engine.update_labels([case])
    stored = store.training_case(case)
    assert stored.label.shape == stored.image.shape[1:]
    assert engine.plan.manager.transpose_forward != [0, 1, 2]
    cropped = store.properties(case)["shape_after_cropping_and_before_resampling"]
    assert (list(stored.label.shape) != cropped) == (number == 3)
    bright = stored.image[0][stored.label == 2].mean()
    dark = stored.image[0][stored.label == 0].mean()
    assert bright > dark + 1


def test_positions_point_at_voxels_of_their_class(trained):
    engine, _ = trained
    store = CaseStore(engine._workdir / "cases", engine.plan)
    case = store.training_case("case_0")
    for label, where in case.positions.items():
        found = set(case.label[tuple(where.T)].tolist())
        assert found == ({0, 1, 2} if label == ANNOTATED else {label})
    assert len(case.positions[ANNOTATED]) == case.annotated_voxels


def test_an_unprepared_case_is_named(trained):
    engine, _ = trained
    with pytest.raises(SegmentationError, match="case_9 is not preprocessed"):
        CaseStore(engine._workdir / "cases", engine.plan).properties("case_9")
