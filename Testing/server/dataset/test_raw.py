from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core.errors import DatasetError, GeometryMismatch
from nnactive_server.dataset import RawDataset, write_volume

Make = Callable[..., RawDataset]


def test_a_created_data_set_opens_as_it_was_made(make_source: Make) -> None:
    made = make_source(cases=3, channels=2)
    opened = RawDataset.open(made.root)
    assert opened == made
    assert opened.cases == ("c0", "c1", "c2")
    assert opened.channels == ("T0", "T1")
    assert [path.name for path in opened.image_paths("c1")] == ["c1_0000.nii.gz", "c1_0001.nii.gz"]
    assert opened.read_image("c1").array.shape == (2, 8, 9, 10)
    assert opened.read_label("c1").array.shape == opened.geometry("c1").shape == (8, 9, 10)


def test_the_description_is_what_nnunet_reads(make_project: Make) -> None:
    document = json.loads((make_project(cases=2).root / "dataset.json").read_text())
    assert document == {
        "name": "project",
        "channel_names": {"0": "T0"},
        "labels": {"background": 0, "organ": 1, "lesion": 2, "ignore": 3},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }


def test_a_case_may_lack_its_label_but_not_a_channel(make_source: Make) -> None:
    source = make_source(channels=2)
    source.label_path("c0").unlink()
    assert not RawDataset.open(source.root).has_label("c0")
    assert RawDataset.open(source.root).has_label("c1")
    source.image_paths("c2")[1].unlink()
    with pytest.raises(DatasetError, match=r"imagesTr: 1 cases .* first c2 with channels \[0\]"):
        RawDataset.open(source.root)


def test_hidden_and_foreign_files_are_no_cases(make_source: Make) -> None:
    source = make_source()
    for name in ("._c9_0000.nii.gz", ".ab12.c9_0000.nii.gz", "notes.txt", "c9.nii.gz"):
        (source.root / "imagesTr" / name).touch()
    assert RawDataset.open(source.root).cases == source.cases


def test_channel_ten_comes_after_channel_two(make_source: Make) -> None:
    source = make_source(cases=1, channels=11)
    assert source.channels[2] == "T2"
    assert RawDataset.open(source.root).channels[10] == "T10"


def test_a_label_value_without_a_name_is_refused(make_source: Make) -> None:
    source = make_source()
    label = source.read_label("c0")
    label.array[0, 0, 0] = 3
    write_volume(source.label_path("c0"), label.array, label.geometry)
    with pytest.raises(DatasetError, match=r"c0\.nii\.gz: holds label values \[3\]"):
        source.read_label("c0")
    partial = RawDataset.create(source.root, source.labels.as_partial(), source.channels, ".nii.gz")
    assert partial.read_label("c0").array[0, 0, 0] == partial.labels.ignore


def test_a_label_on_another_grid_is_refused(make_source: Make, make_geometry: Callable) -> None:
    source = make_source()
    write_volume(
        source.label_path("c0"), np.zeros((8, 9, 10), np.uint8), make_geometry((8, 9, 10), (10, 20, 31))
    )
    with pytest.raises(GeometryMismatch, match=r"c0\.nii\.gz: not on the grid of c0_0000"):
        source.read_label("c0")


def test_asking_for_a_case_that_is_not_there_says_so(make_source: Make) -> None:
    with pytest.raises(DatasetError, match=r"no case '\.\./c0'"):
        make_source().image_paths("../c0")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("labels", None, "'labels' is missing"),
        ("channel_names", {"1": "T0"}, "number the channels"),
        ("channel_names", {}, "number the channels"),
        ("file_ending", 3, "'file_ending'"),
        ("labels", {"background": 0, "a": [1, 2]}, "region"),
    ],
)
def test_a_malformed_description_is_named(make_source: Make, key: str, value: object, words: str) -> None:
    path = make_source().root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DatasetError, match=rf"dataset\.json.*{words}"):
        RawDataset.open(path.parent)


def test_the_real_hippocampus_set_opens(real: Path) -> None:
    data = RawDataset.open(real / "Dataset004_Hippocampus")
    assert len(data.cases) == 130
    assert data.labels.classes == ("Anterior", "Posterior")
    case = data.cases[0]
    assert data.read_image(case).array.shape[1:] == data.read_label(case).array.shape
