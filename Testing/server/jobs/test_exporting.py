"""The job `export`: model, labels and list of patches in one file."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core.errors import Cancelled, NNActiveError
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset import RawDataset
from nnactive_server.jobs import exporting
from nnactive_server.jobs.layout import export_file
from nnactive_server.jobs.reporting import JobContext
from nnactive_server.store import Job, Store
from testkit import numpy_engine
from testkit.clinic import Clinic


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RawDataset:
    return numpy_engine.make_source(tmp_path_factory.mktemp("source"), cases=3)


@pytest.fixture
def clinic(store: Store, data: Path, source: RawDataset) -> Clinic:
    return Clinic.found(store, data, source)


def copy_members(_workdir: Path, members: Path, dest: Path) -> Path:
    """The models of the numpy engine are files that need no conversion."""
    dest.mkdir(parents=True)
    for path in members.iterdir():
        (dest / path.name).write_bytes(path.read_bytes())
    return dest


def context(clinic: Clinic, monitor: Monitor | None = None) -> JobContext:
    job: Job = clinic.store.jobs.enqueue(clinic.project.id, "export", {})
    claimed = clinic.store.jobs.claim(1)
    assert claimed is not None
    assert claimed.id == job.id
    return JobContext(clinic.store, clinic.data, claimed, monitor or Monitor())


def test_model_labels_and_patches_are_in_one_file(clinic: Clinic) -> None:
    placed = clinic.start()
    clinic.cycle()
    about = exporting.run(here := context(clinic), copy_members)
    path = export_file(clinic.data, clinic.project.id, here.job.id)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        assert json.loads(archive.read("export.json")) == about
        rows = list(csv.DictReader(io.StringIO(archive.read("patches.csv").decode())))
    assert about["model"] == "cycle-000"
    assert about["label_maps"] == len({clinic.case_name(patch) for patch in placed})
    assert {name.split("/")[0] for name in names} == {"model", "labels", "patches.csv", "export.json"}
    assert len([name for name in names if name.startswith("labels/")]) == about["label_maps"]
    assert len([row for row in rows if row["loop"] == "0"]) == len(placed)
    assert np.isclose(float(rows[0]["seconds"]), 30.0)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_only_the_newest_export_is_kept(clinic: Clinic) -> None:
    clinic.start()
    clinic.cycle()
    first = context(clinic)
    exporting.run(first, copy_members)
    clinic.store.jobs.cancel(first.job.id)
    clinic.store.jobs.finish(first.job.id, first.job.attempt, "cancelled", "")
    second = context(clinic)
    exporting.run(second, copy_members)
    kept = [one.stem for one in export_file(clinic.data, clinic.project.id, "x").parent.iterdir()]
    assert kept == [second.job.id]


def test_without_a_model_it_says_so_and_leaves_nothing(clinic: Clinic) -> None:
    clinic.start()
    with pytest.raises(NNActiveError, match=r"no such file|no cycle has finished"):
        exporting.run(here := context(clinic), copy_members)
    assert not export_file(clinic.data, clinic.project.id, here.job.id).exists()


def test_it_stops_when_asked(clinic: Clinic) -> None:
    clinic.start()
    clinic.cycle()
    monitor = Monitor()

    def stop(workdir: Path, members: Path, dest: Path) -> Path:
        monitor.cancel()
        return copy_members(workdir, members, dest)

    with pytest.raises(Cancelled):
        exporting.run(here := context(clinic, monitor), stop)
    folder = export_file(clinic.data, clinic.project.id, here.job.id).parent
    assert not list(folder.iterdir())
