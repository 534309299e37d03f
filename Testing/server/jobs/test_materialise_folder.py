"""The project folder made from the store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core.errors import StoreError
from nnactive_server.dataset import RawDataset
from nnactive_server.jobs.projects_on_disk import open_project
from nnactive_server.store import Store
from testkit.clinic import Clinic


@pytest.fixture
def clinic(store: Store, data: Path, source: RawDataset) -> Clinic:
    return Clinic.found(store, data, source, cases=2)


@pytest.fixture
def opened(clinic: Clinic) -> Callable[[], RawDataset]:
    return lambda: open_project(clinic.data, clinic.project, clinic.store.cases, clinic.store.blobs)


def images(clinic: Clinic) -> list[str]:
    return sorted(path.name for path in (clinic.root / "imagesTr").iterdir())


def test_the_folder_is_a_plain_partial_data_set(
    clinic: Clinic, source: RawDataset, opened: Callable[[], RawDataset]
) -> None:
    project = opened()
    assert RawDataset.open(clinic.root) == project
    assert (project.cases, project.channels, project.file_ending) == (("case_0", "case_1"), ("MR",), ".nii")
    assert project.labels == source.labels.as_partial()
    for case in project.cases:
        np.testing.assert_array_equal(project.read_image(case).array, source.read_image(case).array)
        stored = clinic.store.blobs.path(clinic.store.cases.by_name(clinic.project.id, case).images[0])
        assert project.image_paths(case)[0].samefile(stored)


def test_opening_again_changes_nothing_and_a_new_case_joins(
    clinic: Clinic, opened: Callable[[], RawDataset]
) -> None:
    first = opened()
    inodes = [first.image_paths(case)[0].stat().st_ino for case in first.cases]
    label = first.label_path("case_0")
    label.write_bytes(b"kept")
    clinic.add_case("case_2")
    second = opened()
    assert second.cases == ("case_0", "case_1", "case_2")
    assert [second.image_paths(case)[0].stat().st_ino for case in first.cases] == inodes
    assert label.read_bytes() == b"kept"


def test_images_are_copied_where_links_fail(
    source: RawDataset, opened: Callable[[], RawDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refused)
    project = opened()
    path = project.image_paths("case_0")[0]
    assert path.stat().st_nlink == 1
    np.testing.assert_array_equal(project.read_image("case_0").array, source.read_image("case_0").array)
    inode = path.stat().st_ino
    assert opened().image_paths("case_0")[0].stat().st_ino == inode


def test_files_that_the_store_does_not_know_go(clinic: Clinic, opened: Callable[[], RawDataset]) -> None:
    folder = opened().root / "imagesTr"
    whole = images(clinic)
    for name in ("ghost_0000.nii", "case_0_0001.nii", ".12ab.case_9_0000.nii"):
        (folder / name).write_bytes(b"left behind")
    cut = folder / "case_1_0000.nii"
    cut.unlink()
    cut.write_bytes(b"cut off")
    opened()
    assert images(clinic) == whole
    assert cut.stat().st_size > 1000


def test_a_missing_image_is_named(clinic: Clinic, opened: Callable[[], RawDataset]) -> None:
    clinic.store.blobs.remove(clinic.store.cases.by_name(clinic.project.id, "case_1").images[0])
    with pytest.raises(StoreError, match=r"case_1: its image .* missing"):
        opened()


def test_a_case_with_other_channels_is_named(clinic: Clinic, opened: Callable[[], RawDataset]) -> None:
    known = clinic.store.cases.by_name(clinic.project.id, "case_0")
    clinic.store.cases.add(clinic.project.id, "two", known.geometry, known.images * 2)
    with pytest.raises(StoreError, match="case two: has 2 images, the project 1"):
        opened()


def test_many_may_open_a_project_while_cases_are_added(clinic: Clinic, source: RawDataset) -> None:
    """Two channels: half a case would be an error."""
    two = Clinic(
        clinic.store,
        clinic.data,
        source,
        clinic.store.projects.create("Two", dict(clinic.project.settings) | {"channels": ["a", "b"]}),
    )
    known = clinic.store.cases.by_name(clinic.project.id, "case_0")
    seen: list[int] = []
    problems: list[Exception] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                project = open_project(two.data, two.project, two.store.cases, two.store.blobs)
                seen.append(len(project.cases))
            except Exception as problem:  # noqa: BLE001
                problems.append(problem)
                return

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        two.store.cases.add(two.project.id, f"case_{number}", known.geometry, known.images * 2)
        open_project(two.data, two.project, two.store.cases, two.store.blobs)
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(open_project(two.data, two.project, two.store.cases, two.store.blobs).cases) == 20
