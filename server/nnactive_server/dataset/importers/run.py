"""Import a source folder as a project: check everything, then write it whole or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.files import sync
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset.importers import classes
from nnactive_server.dataset.importers.classes import ClassMap
from nnactive_server.dataset.importers.dicom import scan_dicom
from nnactive_server.dataset.importers.folders import PAIRS_OF_FOLDERS, scan_described, scan_plain
from nnactive_server.dataset.importers.sources import (
    ENDING,
    VOLUME_ENDINGS,
    Scan,
    Source,
    SourceCase,
    volume_files,
)
from nnactive_server.dataset.raw import DESCRIPTION, IMAGES, LABELS, RawDataset
from nnactive_server.dataset.volumes import as_labels, require_finite, require_same_grid, write_volume

UNNAMED = "image"


@dataclass(frozen=True)
class ImportReport:
    """What an import made.

    Attributes:
        kind: of the source: `nnunet`, `msd`, `folder` or `dicom`.
        cases: ids of the cases, sorted.
        channels: names of the channels.
        labels: partial when not every case has a label map.
        labelled: ids of the cases with a label map, sorted.
        warnings: sentences for the user.
    """

    kind: str
    cases: tuple[str, ...]
    channels: tuple[str, ...]
    labels: LabelSet
    labelled: tuple[str, ...]
    warnings: tuple[str, ...]


def import_dataset(
    src: Path,
    project: Path,
    *,
    labels: Mapping[str, int] | None = None,
    channels: Sequence[str] | None = None,
    monitor: Monitor | None = None,
) -> ImportReport:
    """Import a folder of images, with or without label maps, as a new project.

    The kind of source is found out: nnU-Net raw, MSD, a plain folder of NIfTI, NRRD or MetaImage
    files, or DICOM series. Everything is read and checked first; the project is then written beside
    its place and renamed, so that it is there completely or not at all.

    Args:
        src: the source folder; it is only read.
        project: a new or empty folder.
        labels: class names and the values they have in the label maps; needed when there are none.
        channels: names of the channels, e.g. `["CT"]`: nnU-Net chooses the normalisation by them.
        monitor: receives progress; can cancel.

    Returns:
        What was imported, and what is worth a look.

    Raises:
        DatasetError: with every problem found, each by its file; nothing was written.
        Cancelled: the monitor asked to stop; nothing was written.
    """
    src, project = Path(src).resolve(), Path(project).resolve()
    _require_free(src, project)
    monitor = monitor or Monitor()
    scan = scan_source(src)
    if not scan.cases:
        raise DatasetError(_list_problems(src, scan.problems))
    scan.channels = _channels(scan, channels)
    found = _check_cases(scan, monitor)
    class_map = _classes(scan, labels, found)
    if class_map is None or scan.problems:
        raise DatasetError(_list_problems(src, scan.problems))
    _write(project, scan, class_map, monitor)
    labelled = tuple(case.name for case in scan.cases if case.label)
    cases = tuple(case.name for case in scan.cases)
    return ImportReport(scan.kind, cases, scan.channels, class_map.labels, labelled, tuple(scan.warnings))


def _require_free(src: Path, project: Path) -> None:
    if not src.is_dir():
        raise DatasetError(f"{src}: no such folder")
    if project.is_relative_to(src) or src.is_relative_to(project):
        raise DatasetError(f"{project}: source and project must not lie inside each other")
    if project.exists() and not (project.is_dir() and not any(project.iterdir())):
        raise DatasetError(f"{project}: is there already and not an empty folder; choose another place")


def scan_source(src: Path) -> Scan:
    """Find out what kind of source a folder is, and its cases; nothing but headers is read."""
    if (src / DESCRIPTION).is_file():
        scan = scan_described(src)
    elif volume_files(src) or any((src / images).is_dir() for images, _ in PAIRS_OF_FOLDERS):
        scan = scan_plain(src)
    else:
        scan = scan_dicom(src)
    if not scan.cases and not scan.problems:
        scan.problems.append(
            f"{src}: no images found; expected {', '.join(VOLUME_ENDINGS)} files (in the folder itself, "
            f"in {' or '.join(images for images, _ in PAIRS_OF_FOLDERS)}), or DICOM files at any depth"
        )
    return scan


def _channels(scan: Scan, given: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the channels; every case must have as many."""
    names = tuple(given) if given else scan.channels
    if names is None:
        channels = scan.cases[0].channels
        names = (UNNAMED,) if channels == 1 else tuple(f"{UNNAMED}_{i}" for i in range(channels))
        scan.warnings.append(
            "channels have no names, so each image is normalised by its own mean and spread; "
            "name the channel CT if these are CT images"
        )
    for case in scan.cases:
        if case.channels != len(names):
            scan.problems.append(
                f"{case.image[0].path}: has {case.channels} channels where {len(names)} are expected "
                f"({', '.join(names)})"
            )
    return names


def _check_cases(scan: Scan, monitor: Monitor) -> dict[Path, set[int]]:
    """Read every voxel once; problems go into the scan. Returns the values in each label map."""
    found: dict[Path, set[int]] = {}
    for done, case in enumerate(scan.cases):
        monitor.check()
        monitor.report("check", done, len(scan.cases), case.name)
        try:
            grid = _check_image(case)
        except DatasetError as problem:
            scan.problems.append(str(problem))
            grid = None
        try:
            if case.label:
                found[case.label.path] = _check_label(case.label, case.image[0], grid)
        except DatasetError as problem:
            scan.problems.append(str(problem))
    return found


def _check_image(case: SourceCase) -> Geometry:
    """Read all channels of a case; returns their common grid."""
    first: Geometry | None = None
    for source in case.image:
        for volume in source.read():
            require_finite(volume.array, source.path)
            first = first or volume.geometry
            require_same_grid(source.path, volume.geometry, case.image[0].path, first)
    if first is None:
        raise DatasetError(f"{case.name}: has no image")
    return first


def _check_label(label: Source, image: Source, grid: Geometry | None) -> set[int]:
    """Read a label map; returns the values in it. The grid is None when the image is not usable."""
    (volume,) = label.read()
    values = np.unique(as_labels(volume.array, label.path))
    if grid:
        require_same_grid(label.path, volume.geometry, image.path, grid)
    return set(values.tolist())


def _classes(scan: Scan, names: Mapping[str, int] | None, found: Mapping[Path, set[int]]) -> ClassMap | None:
    """The label set, from the caller's names, the source's, or the values found; None with a problem."""
    try:
        class_map = _class_map(scan, names, found)
    except DatasetError as problem:
        scan.problems.append(str(problem))
        return None
    for path, values in found.items():
        unknown = sorted(values - set(class_map.values))
        if unknown:
            scan.problems.append(
                f"{path}: holds label values {unknown}; known are {sorted(class_map.values)}"
            )
    if class_map.changes:
        scan.warnings.append(
            "label values were renumbered: " + ", ".join(f"{a} to {b}" for a, b in class_map.changes.items())
        )
    unlabelled = sum(case.label is None for case in scan.cases)
    if unlabelled and not class_map.labels.partial:
        if unlabelled < len(scan.cases):
            scan.warnings.append(f"{unlabelled} of {len(scan.cases)} cases have no label map")
        class_map = replace(class_map, labels=class_map.labels.as_partial())
    return class_map


def _class_map(scan: Scan, names: Mapping[str, int] | None, found: Mapping[Path, set[int]]) -> ClassMap:
    if names:
        return classes.from_names(names)
    if scan.labels:
        return classes.from_label_set(scan.labels)
    if not any(case.label for case in scan.cases):
        raise DatasetError("no label maps: name the classes to segment with labels={'name': 1, …}")
    class_map = classes.from_values(value for values in found.values() for value in values)
    scan.warnings.append(f"classes are named by their values: {', '.join(class_map.labels.classes)}")
    return class_map


def _list_problems(src: Path, problems: Sequence[str]) -> str:
    how_many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"{src}: {how_many}, nothing was written:\n" + "\n".join(f"  - {problem}" for problem in problems)


def _write(project: Path, scan: Scan, class_map: ClassMap, monitor: Monitor) -> None:
    """Write beside the project's place, then rename."""
    project.parent.mkdir(parents=True, exist_ok=True)
    temporary = project.with_name(f".{secrets.token_hex(4)}.{project.name}")
    try:
        for done, case in enumerate(scan.cases):
            monitor.check()
            monitor.report("write", done, len(scan.cases), case.name)
            _write_case(temporary, case, class_map)
        monitor.report("write", len(scan.cases), len(scan.cases))
        RawDataset.create(temporary, class_map.labels, scan.channels or (), ENDING, project.name)
        for folder in (temporary / IMAGES, temporary / LABELS, temporary):
            sync(folder)
        if project.exists():
            project.rmdir()  # empty, as checked; not every system renames onto a folder
        temporary.rename(project)
        sync(project.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_case(root: Path, case: SourceCase, class_map: ClassMap) -> None:
    targets = (root / IMAGES / f"{case.name}_{i:04d}{ENDING}" for i in count())
    for source in case.image:
        if source.original:
            _copy(source.original, next(targets))
            continue
        for volume in source.read():
            write_volume(next(targets), volume.array, volume.geometry)
    if case.label:
        _write_label(root / LABELS / f"{case.name}{ENDING}", case.label, class_map)


def _write_label(target: Path, label: Source, class_map: ClassMap) -> None:
    """Label maps already stored as bytes are copied, others converted and renumbered."""
    (volume,) = label.read()
    if label.original and volume.array.dtype == np.uint8 and not class_map.changes:
        _copy(label.original, target)
    else:
        write_volume(target, class_map.apply(as_labels(volume.array, label.path)), volume.geometry)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    sync(target)
