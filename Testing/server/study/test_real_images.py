"""The loop on real scans, with nnU-Net, when the shared data are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnactive_server.dataset import RawDataset, read_loops
from nnactive_server.segmentation import get_profile
from nnactive_server.study.report import write_report
from nnactive_server.study.simulate import Settings, simulate

HIPPOCAMPUS = Path(__file__).parents[4] / "shared" / "data" / "Dataset004_Hippocampus"

pytestmark = pytest.mark.skipif(not HIPPOCAMPUS.exists(), reason=f"no real images at {HIPPOCAMPUS}")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> RawDataset:
    """Eight of the hippocampus cases."""
    whole = RawDataset.open(HIPPOCAMPUS)
    root = tmp_path_factory.mktemp("few") / "Hippocampus"
    (root / "imagesTr").mkdir(parents=True)
    (root / "labelsTr").mkdir()
    for case in whole.cases[:8]:
        for path in (*whole.image_paths(case), whole.label_path(case)):
            (root / path.parent.name / path.name).symlink_to(path)
    return RawDataset.create(root, whole.labels, whole.channels, whole.file_ending, "Hippocampus")


def test_the_loop_runs_on_real_scans_and_uncovers_only_its_boxes(few, tmp_path):
    settings = Settings("clasp-pe", 2, 4, (20, 20, 20), 1, get_profile("smoke", iterations=4))
    summary = simulate(few, tmp_path, settings)
    assert [cycle["patches"] for cycle in summary["cycles"]] == [4, 8]
    assert all(0 <= cycle["mean_dice"] <= 1 for cycle in summary["cycles"])
    project = RawDataset.open(tmp_path)
    boxes = [entry for loop in read_loops(tmp_path) for entry in loop]
    assert not {entry.case for entry in boxes} & set(summary["test_cases"])
    for case in {entry.case for entry in boxes}:
        label, truth = project.read_label(case).array, few.read_label(case).array
        inside = np.zeros(label.shape, bool)
        for entry in boxes:
            if entry.case == case:
                inside[entry.patch.slices] = True
        assert (label[~inside] == project.labels.ignore).all()
        assert (label[inside] == truth[inside]).all()
    assert "Hippocampus" in write_report(tmp_path).read_text()
