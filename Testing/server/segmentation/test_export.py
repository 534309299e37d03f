from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnactive_server.core.errors import SegmentationError
from nnactive_server.dataset import Volume
from nnactive_server.segmentation import Engine, export_model, get_profile


@pytest.fixture(scope="module")
def exported(trained: tuple[Engine, object], tmp_path_factory) -> object:
    engine, members = trained
    return export_model(engine._workdir, members, tmp_path_factory.mktemp("export") / "model")


def exact(engine: Engine) -> Engine:
    """The same engine in float32, as stock nnU-Net computes on a processor."""
    hardware = replace(engine.hardware, autocast=None)
    return Engine(engine._dataset, engine._workdir, engine._profile, hardware=hardware)


def stock_prediction(model: Path, member: int, image: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Labels (z, y, x) and softmax (C, z, y, x) of stock nnU-Net."""
    stock = nnUNetPredictor(
        tile_step_size=0.75,
        use_mirroring=False,
        device=torch.device("cpu"),
        perform_everything_on_device=False,
        allow_tqdm=False,
    )
    stock.initialize_from_trained_model_folder(str(model), (member,))
    properties = {"spacing": list(image.geometry.spacing)}
    labels, softmax = stock.predict_single_npy_array(image.array, properties, None, None, True)
    return labels, softmax


@pytest.mark.parametrize("member", [0, 1])
def test_stock_nnunet_loads_the_export_and_predicts_the_same(trained, project, exported, member, capsys):
    engine, members = trained
    ours = list(exact(engine).predict(members, "case_4"))[member]
    labels, softmax = stock_prediction(exported, member, project.read_image("case_4"))
    capsys.readouterr()
    # Stock nnU-Net adds tiles up in float16, whose tile weights underflow towards the image's corners.
    inside = tuple(slice(n // 4, -(n // 4)) for n in ours.shape[1:])
    assert np.abs(softmax - ours)[(slice(None), *inside)].max() < 5e-3
    assert (labels == ours.argmax(0))[inside].mean() > 0.995
    assert (labels == ours.argmax(0)).mean() > 0.98


def test_stock_nnunet_agrees_on_a_case_that_must_be_turned_and_resampled(make_project, tmp_path, capsys):
    project = make_project(
        cases=3, annotated=2, shape=(24, 14, 26), spacing=(1.0, 2.5, 1.0), last_spacing=(1.3, 2.5, 0.8)
    )
    engine = Engine(project, tmp_path / "work", get_profile("smoke", members=1))
    engine.prepare(project.cases)
    engine.update_labels(project.cases[:2])
    engine.train(tmp_path / "m", cases=project.cases[:2], seed=1, cycle=0)
    (ours,) = exact(engine).predict(tmp_path / "m", "case_2")
    _, softmax = stock_prediction(
        export_model(tmp_path / "work", tmp_path / "m", tmp_path / "model"), 0, project.read_image("case_2")
    )
    capsys.readouterr()
    inside = tuple(slice(n // 4, -(n // 4)) for n in ours.shape[1:])
    assert np.abs(softmax - ours)[(slice(None), *inside)].max() < 1e-2


def test_stock_nnunet_loads_a_network_with_dropout_and_leaves_nothing_out(
    with_dropout, project, tmp_path, capsys
):
    engine, members = with_dropout
    (ours,) = exact(engine).predict(members, "case_4", test=True)
    model = export_model(engine._workdir, members, tmp_path / "model")
    _, softmax = stock_prediction(model, 0, project.read_image("case_4"))
    capsys.readouterr()
    inside = tuple(slice(n // 4, -(n // 4)) for n in ours.shape[1:])
    assert np.abs(softmax - ours)[(slice(None), *inside)].max() < 5e-3


def test_an_existing_folder_is_never_overwritten(trained, exported):
    engine, members = trained
    with pytest.raises(SegmentationError, match="not empty"):
        export_model(engine._workdir, members, exported)


def test_nothing_trained_is_an_error(trained, tmp_path):
    with pytest.raises(SegmentationError, match="no trained member"):
        export_model(trained[0]._workdir, tmp_path, tmp_path / "model")
