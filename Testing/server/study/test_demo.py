"""The demo: data, run and report in one folder."""

from __future__ import annotations

from functools import partial

import pytest

from nnactive_server.core.errors import DatasetError
from nnactive_server.study import demo as module
from nnactive_server.study.demo import demo
from testkit import numpy_engine

QUICK = {"profile": numpy_engine.NumpyProfile(), "make_engine": numpy_engine.NumpyEngine}


def test_own_data_are_used_where_they_lie(tmp_path):
    source = numpy_engine.make_source(tmp_path / "mine", cases=5)
    before = sorted(p.relative_to(source.root) for p in source.root.rglob("*"))
    made = demo(source.root, tmp_path / "out", **QUICK)
    assert made.summary["dataset"] == "Balls"
    assert len(made.summary["cycles"]) == module.CYCLES
    assert made.report == tmp_path / "out" / "report.html"
    text = made.report.read_text()
    assert "<img" in text or "data:image" in text
    assert sorted(p.relative_to(source.root) for p in source.root.rglob("*")) == before
    assert not (tmp_path / "out" / "data").exists()


def test_volumes_in_another_layout_are_imported(tmp_path):
    source = numpy_engine.make_source(tmp_path / "mine", cases=4)
    (source.root / "dataset.json").unlink()
    made = demo(source.root, tmp_path / "out", **QUICK)
    assert made.summary["labels"] == ["class_1", "class_2"]
    assert (tmp_path / "out" / "data" / "dataset.json").exists()
    assert demo(source.root, tmp_path / "out", **QUICK).summary == made.summary


def test_phantoms_are_made_once_and_the_demo_continues(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CASES", 4)
    monkeypatch.setattr(module, "CYCLES", 2)
    monkeypatch.setattr(module, "make_phantoms", partial(module.make_phantoms, shape=(16, 24, 24)))
    made = demo(None, tmp_path, **QUICK)
    assert made.summary["dataset"] == "Phantom"
    assert len(made.summary["test_cases"]) == 1
    volume = tmp_path / "data" / "imagesTr" / "phantom_000_0000.nii.gz"
    stamp = volume.stat().st_mtime_ns
    again = demo(None, tmp_path, **QUICK)
    assert again.summary == made.summary
    assert volume.stat().st_mtime_ns == stamp


def test_a_folder_that_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=tmp_path.name):
        demo(tmp_path, tmp_path / "out", **QUICK)


@pytest.mark.slow
def test_the_demo_learns_with_nnunet(tmp_path):
    dice = [entry["mean_dice"] for entry in demo(None, tmp_path).summary["cycles"]]
    assert dice[-1] > dice[0]
    assert dice[-1] > 0.5
