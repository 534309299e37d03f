from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from nnactive_server.core.errors import Cancelled, DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset import ImportReport, RawDataset, import_dataset, read_image, write_volume
from nnactive_server.dataset.importers import run

Make = Callable[..., RawDataset]
SHAPE = (6, 7, 8)


@pytest.fixture
def put(tmp_path: Path, make_geometry: Callable[..., Geometry]) -> Callable[..., Path]:
    """Writes one file below `src`; a plain number becomes a label or image with that value inside."""

    def write(name: str, value: float = 1, angle: float = 30) -> Path:
        array = np.zeros(SHAPE, np.float32 if value > 9 else np.uint8)
        array[2:4, 2:4, 2:4] = value
        path = tmp_path / "src" / name
        write_volume(path, array, make_geometry(SHAPE, (0, 0, angle), flipped=True))
        return path

    return write


@pytest.fixture
def bring(tmp_path: Path) -> Callable[..., tuple[ImportReport, RawDataset]]:
    """Imports `src` as `project`."""

    def call(**words: Any) -> tuple[ImportReport, RawDataset]:
        report = import_dataset(tmp_path / "src", tmp_path / "project", **words)
        return report, RawDataset.open(tmp_path / "project")

    return call


def problems(tmp_path: Path, **words: Any) -> str:
    """What a refused import says; checks that nothing was written."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DatasetError) as caught:
        import_dataset(tmp_path / "src", tmp_path / "project", **words)
    assert sorted(tmp_path.iterdir()) == before
    return str(caught.value)


def test_nnunet_raw_is_copied_byte_for_byte(make_source: Make, tmp_path: Path) -> None:
    source = make_source(cases=3, channels=2)
    report = import_dataset(source.root, tmp_path / "project")
    project = RawDataset.open(tmp_path / "project")
    assert report == ImportReport("nnunet", source.cases, ("T0", "T1"), source.labels, source.cases, ())
    assert (project.cases, project.channels, project.labels) == (source.cases, source.channels, source.labels)
    for case in source.cases:
        assert project.label_path(case).read_bytes() == source.label_path(case).read_bytes()
        for ours, theirs in zip(project.image_paths(case), source.image_paths(case), strict=True):
            assert ours.read_bytes() == theirs.read_bytes()


def test_a_partly_annotated_project_can_be_imported_again(make_project: Make, tmp_path: Path) -> None:
    (source := make_project()).root.joinpath("loop_000.json").write_text('{"patches": []}')
    report = import_dataset(source.root, tmp_path / "again")
    assert report.labels == source.labels
    assert report.labelled == ()
    assert any("loop files" in text for text in report.warnings)


def describe(src: Path, **entries: object) -> None:
    (src / "dataset.json").write_text(json.dumps(entries))


def test_msd_channels_on_a_fourth_axis_are_split(
    tmp_path: Path, put: Callable[..., Path], bring: Callable[..., Any]
) -> None:
    put("labelsTr/b_01.nii.gz")
    put("labelsTr/._b_01.nii.gz").write_bytes(b"macOS")
    single = sitk.ReadImage(tmp_path / "src/labelsTr/b_01.nii.gz", sitk.sitkFloat32)
    (tmp_path / "src" / "imagesTr").mkdir()
    joined = sitk.JoinSeries([single + 10.0, single * 20.0])
    sitk.WriteImage(joined, tmp_path / "src/imagesTr/b_01.nii.gz")
    (tmp_path / "src/imagesTr/._b_01.nii.gz").write_bytes(b"macOS")
    describe(
        tmp_path / "src",
        modality={"0": "FLAIR", "1": "T1"},
        labels={"0": "background", "1": "edema"},
        tensorImageSize="4D",
    )
    report, project = bring()
    assert (report.kind, report.channels, report.labels.classes) == ("msd", ("FLAIR", "T1"), ("edema",))
    image, label = project.read_image("b_01"), project.read_label("b_01")
    np.testing.assert_array_equal(image.array[0], label.array + 10.0)
    np.testing.assert_array_equal(image.array[1], label.array * 20.0)
    assert image.geometry.differences(read_image([tmp_path / "src/labelsTr/b_01.nii.gz"]).geometry) == []


def test_msd_with_one_channel_keeps_its_names(
    put: Callable[..., Path], bring: Callable[..., Any], tmp_path: Path
) -> None:
    for i in range(2):
        put(f"imagesTr/h_{i:03d}.nii.gz", 50)
        put(f"labelsTr/h_{i:03d}.nii.gz")
    put("imagesTs/h_009.nii.gz", 50)
    describe(tmp_path / "src", modality={"0": "MRI"}, labels={"0": "background", "1": "Anterior"})
    report, _ = bring()
    assert report.cases == ("h_000", "h_001")
    assert report.warnings == ("imagesTs is not imported",)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/{}.nii.gz", "labels/{}.nii.gz"),
        ("imagesTr/{}.nrrd", "labelsTr/{}.nrrd"),
        ("images/{}_0000.nii.gz", "labels/{}.nii.gz"),
        ("{}.nii.gz", "{}_seg.nii.gz"),
        ("{}.nrrd", "{}-label.nrrd"),
        ("{}.mha", "{}_label.nii"),
        ("{}_0000.nii.gz", "{}_seg.nii.gz"),
    ],
)
def test_plain_folders_are_understood(
    put: Callable[..., Path], bring: Callable[..., Any], image: str, label: str
) -> None:
    for case in ("p1", "p2"):
        grey = put(image.format(case), 50)
        put(label.format(case))
    report, project = bring(channels=["CT"])
    assert (report.kind, report.cases, report.labelled) == ("folder", ("p1", "p2"), ("p1", "p2"))
    assert project.labels.to_json() == {"background": 0, "class_1": 1}
    assert report.warnings == ("classes are named by their values: class_1",)
    original = read_image([grey])
    np.testing.assert_array_equal(project.read_image("p2").array, original.array)
    assert project.read_image("p2").geometry.differences(original.geometry, tolerance_voxels=1e-5) == []
    assert project.read_label("p2").array.sum() == 8


def test_images_alone_become_a_project_to_annotate(
    put: Callable[..., Path], bring: Callable[..., Any]
) -> None:
    put("a.nii.gz", 50)
    report, project = bring(labels={"liver": 1, "tumour": 2})
    assert report.labels.partial
    assert report.labelled == ()
    assert project.labels.to_json() == {"background": 0, "liver": 1, "tumour": 2, "ignore": 3}
    assert any("channels have no names" in text for text in report.warnings)


def test_a_case_without_label_among_others_makes_the_project_partial(
    put: Callable[..., Path], bring: Callable[..., Any]
) -> None:
    put("images/a.nii.gz", 50)
    put("images/b.nii.gz", 50)
    put("labels/a.nii.gz")
    report, project = bring(labels={"x": 1}, channels=["CT"])
    assert project.labels.partial
    assert (project.has_label("a"), project.has_label("b")) == (True, False)
    assert report.warnings == ("1 of 2 cases have no label map",)


def test_channels_are_told_by_their_endings(put: Callable[..., Path], bring: Callable[..., Any]) -> None:
    put("a_0000.nii.gz", 50)
    put("a_0001.nii.gz", 60)
    report, project = bring(labels={"x": 1})
    assert report.channels == ("image_0", "image_1")
    assert project.read_image("a").array.max(axis=(1, 2, 3)).tolist() == [50, 60]


def test_numbers_that_labels_share_are_names_not_channels(
    put: Callable[..., Path], bring: Callable[..., Any]
) -> None:
    for case in ("scan_0000", "scan_0001"):
        put(f"images/{case}.nii.gz", 50)
        put(f"labels/{case}.nii.gz")
    assert bring()[0].cases == ("scan_0000", "scan_0001")


def test_values_with_gaps_are_renumbered_and_reported(
    put: Callable[..., Path], bring: Callable[..., Any]
) -> None:
    put("images/a.nii.gz", 50)
    put("labels/a.nii.gz", 7)
    report, project = bring(labels={"organ": 3, "lesion": 7})
    assert np.unique(project.read_label("a").array).tolist() == [0, 2]
    assert "label values were renumbered: 3 to 1, 7 to 2" in report.warnings


def test_unusual_letters_leave_case_ids(put: Callable[..., Path], bring: Callable[..., Any]) -> None:
    put("head & neck 1.nii.gz", 50)
    report, _ = bring(labels={"x": 1})
    assert report.cases == ("head_neck_1",)


def test_every_problem_is_listed_with_its_file(put: Callable[..., Path], tmp_path: Path) -> None:
    for case in ("fine", "turned", "strange", "twice", "nan"):
        put(f"images/{case}.nii.gz", 50)
        put(f"labels/{case}.nii.gz", 5 if case == "strange" else 1, angle=31 if case == "turned" else 30)
    put("images/twice.nrrd", 50)
    put("labels/alone.nii.gz")
    bad = sitk.GetImageFromArray(np.full(SHAPE, np.nan, np.float32))
    sitk.WriteImage(bad, tmp_path / "src/images/nan.nii.gz")
    sitk.WriteImage(sitk.Image(4, 5, sitk.sitkUInt8), tmp_path / "src/images/flat.nrrd")
    sitk.WriteImage(sitk.Image([4, 5, 6, 3], sitk.sitkUInt8), tmp_path / "src/images/time.nii.gz")
    (tmp_path / "src/images/broken.nii.gz").write_bytes(b"x")
    text = problems(tmp_path, labels={"x": 1})
    for name, words in {
        "labels/turned.nii.gz": "not on the grid of turned.nii.gz",
        "labels/strange.nii.gz": "label values [5]",
        "images/twice.nrrd": "is there twice, also as twice.nii.gz",
        "labels/alone.nii.gz": "without an image",
        "images/nan.nii.gz": "336 voxels are NaN",
        "images/flat.nrrd": "a 2D image",
        "images/time.nii.gz": "a 4D image",
        "images/broken.nii.gz": "not a readable image",
    }.items():
        assert any(name in line and words in line for line in text.splitlines()), (name, text)
    assert "8 problems" in text
    assert "fine" not in text


def test_a_missing_channel_is_named(make_source: Make, tmp_path: Path) -> None:
    source = make_source(channels=2)
    source.image_paths("c1")[1].unlink()
    source.image_paths("c2")[0].unlink()
    source.root.rename(tmp_path / "src")
    text = problems(tmp_path)
    assert "c1_0000.nii.gz: has 1 channels where 2 are expected (T0, T1)" in text
    assert "c2_0001.nii.gz: has channels [1]" in text


def test_channels_on_two_grids_are_named(put: Callable[..., Path], tmp_path: Path) -> None:
    put("a_0000.nii.gz", 50)
    put("a_0001.nii.gz", 50, angle=40)
    assert "a_0001.nii.gz: not on the grid of a_0000.nii.gz" in problems(tmp_path, labels={"x": 1})


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "name the classes"),
        ({"a": 1, "b": 1}, "share a value"),
        ({"a": -1}, "whole number"),
        ({"a": 0}, "share"),
    ],
)
def test_class_names_that_do_not_work_are_refused(
    put: Callable[..., Path], tmp_path: Path, labels: dict[str, int] | None, words: str
) -> None:
    put("a.nii.gz", 50)
    assert words in problems(tmp_path, labels=labels)


def test_a_description_that_names_nothing_is_refused(put: Callable[..., Path], tmp_path: Path) -> None:
    put("imagesTr/a.nii.gz", 50)
    describe(tmp_path / "src", name="x")
    assert "names neither 'channel_names'" in problems(tmp_path)
    describe(tmp_path / "src", channel_names={"0": "CT"}, labels={"background": 0, "a": [1, 2]})
    assert "region-based labels are not supported" in problems(tmp_path)


def test_an_empty_folder_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "notes.txt").write_text("nothing here")
    text = problems(tmp_path)
    assert "no images found; expected .nii.gz" in text
    assert "1 problem," in text


def test_a_place_in_use_is_left_alone(put: Callable[..., Path], tmp_path: Path) -> None:
    put("a.nii.gz", 50)
    (tmp_path / "project").mkdir()
    import_dataset(tmp_path / "src", tmp_path / "project", labels={"x": 1})
    before = sorted((tmp_path / "project").rglob("*"))
    with pytest.raises(DatasetError, match="not an empty folder"):
        import_dataset(tmp_path / "src", tmp_path / "project", labels={"x": 1})
    assert sorted((tmp_path / "project").rglob("*")) == before
    with pytest.raises(DatasetError, match="inside each other"):
        import_dataset(tmp_path / "src", tmp_path / "src" / "project", labels={"x": 1})
    with pytest.raises(DatasetError, match="no such folder"):
        import_dataset(tmp_path / "nowhere", tmp_path / "project2")


def test_a_failure_in_the_middle_leaves_nothing(
    make_source: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source()
    real_copy, calls = shutil.copyfile, []

    def full_disk(src: Path, dst: Path) -> None:
        calls.append(dst)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        real_copy(src, dst)

    monkeypatch.setattr(run.shutil, "copyfile", full_disk)
    with pytest.raises(OSError, match="No space"):
        import_dataset(source.root, tmp_path / "project")
    assert len(calls) == 4
    assert list(tmp_path.iterdir()) == [source.root]


def test_a_cancelled_import_leaves_nothing(make_source: Make, tmp_path: Path) -> None:
    class Impatient(Monitor):
        def report(self, stage: str, done: int, total: int, detail: str = "") -> None:  # noqa: ARG002
            if (stage, done) == ("write", 1):
                self.cancel()

    source = make_source()
    with pytest.raises(Cancelled):
        import_dataset(source.root, tmp_path / "project", monitor=Impatient())
    assert list(tmp_path.iterdir()) == [source.root]


def test_the_flipped_real_mr_and_ct_are_imported_as_they_are(real: Path, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    shutil.copy(real / "ct_thorax/example_ct_sm.nii.gz", tmp_path / "src/ct.nii.gz")
    shutil.copy(real / "ct_thorax/example_seg.nii.gz", tmp_path / "src/ct_seg.nii.gz")
    report = import_dataset(tmp_path / "src", tmp_path / "project", channels=["CT"])
    project = RawDataset.open(tmp_path / "project")
    assert report.labelled == ("ct",)
    assert project.read_label("ct").geometry == project.geometry("ct")
    source = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "src/ct_seg.nii.gz"))
    assert np.array_equal(project.read_label("ct").array > 0, source > 0)
