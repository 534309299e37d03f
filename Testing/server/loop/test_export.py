"""What a project gives away."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from nnactive_server.core.errors import LoopError
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import read_label
from nnactive_server.loop import export_project, latest_members


def write_model(workdir, members, dest):
    dest.mkdir(parents=True)
    (dest / "from.txt").write_text(f"{workdir.name} {members.parent.name}")
    return dest


def test_model_labels_and_patches_are_written(bench, tmp_path):
    bench.cycle().run()
    bench.annotate(1, {"case_2": Patch((1, 1, 1), (4, 4, 4))})
    second = bench.cycle(number=1)
    second.update_labels()
    second.train()
    written = export_project(bench.project.root, tmp_path / "dest", write_model)
    assert (tmp_path / "dest" / "model" / "from.txt").read_text() == "work cycle_001"
    assert written["label_maps"] == 3
    exported = read_label(tmp_path / "dest" / "labels" / "case_2.nii.gz").array
    np.testing.assert_array_equal(exported, bench.project.read_label("case_2").array)
    with (tmp_path / "dest" / "patches.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["loop"], row["case"], row["start_y"]) for row in rows] == [
        ("0", "case_0", "4"),
        ("0", "case_1", "3"),
        ("1", "case_2", "1"),
    ]


def test_an_unfinished_training_is_not_exported(bench, tmp_path):
    bench.cycle().run()
    bench.annotate(1, {"case_2": Patch((1, 1, 1), (4, 4, 4))})
    bench.cycle(number=1).update_labels()
    assert latest_members(bench.project.root).number == 0
    with pytest.raises(LoopError, match="no cycle has finished"):
        latest_members(tmp_path)


def test_a_folder_with_files_is_refused(bench, tmp_path):
    bench.cycle().run()
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest" / "precious.txt").write_text("x")
    with pytest.raises(LoopError, match="not empty"):
        export_project(bench.project.root, tmp_path / "dest", write_model)
