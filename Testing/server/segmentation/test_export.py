from __future__ import annotations

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnactive_server.core.errors import SegmentationError
from nnactive_server.segmentation import Engine, export_model


@pytest.fixture(scope="module")
def exported(trained: tuple[Engine, object], tmp_path_factory) -> object:
    engine, members = trained
    return export_model(engine._workdir, members, tmp_path_factory.mktemp("export") / "model")


@pytest.mark.parametrize("member", [0, 1])
def test_stock_nnunet_loads_the_export_and_predicts_the_same(trained, project, exported, member, capsys):
    engine, members = trained
    ours = list(engine.predict(members, "case_4"))[member]
    stock = nnUNetPredictor(
        tile_step_size=0.75,
        use_mirroring=False,
        device=torch.device("cpu"),
        perform_everything_on_device=False,
        allow_tqdm=False,
    )
    stock.initialize_from_trained_model_folder(str(exported), (member,))
    image = project.read_image("case_4")
    labels, softmax = stock.predict_single_npy_array(
        image.array, {"spacing": list(image.geometry.spacing)}, None, None, True
    )
    capsys.readouterr()
    # Stock nnU-Net adds tiles up in float16, whose tile weights underflow towards the image's corners.
    inside = tuple(slice(n // 4, -(n // 4)) for n in ours.shape[1:])
    assert np.abs(softmax - ours)[(slice(None), *inside)].max() < 5e-3
    assert (labels == ours.argmax(0))[inside].mean() > 0.995
    assert (labels == ours.argmax(0)).mean() > 0.98


def test_an_existing_folder_is_never_overwritten(trained, exported):
    engine, members = trained
    with pytest.raises(SegmentationError, match="not empty"):
        export_model(engine._workdir, members, exported)


def test_nothing_trained_is_an_error(trained, tmp_path):
    with pytest.raises(SegmentationError, match="no trained member"):
        export_model(trained[0]._workdir, tmp_path, tmp_path / "model")
