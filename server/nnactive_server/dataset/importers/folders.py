"""Find the cases in folders of image files: nnU-Net raw, MSD, or plain."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.files import read_json
from nnactive_server.core.labels import LabelSet
from nnactive_server.dataset.importers.sources import (
    ChannelsSource,
    FileSource,
    Scan,
    Source,
    SourceCase,
    stem,
    volume_files,
)
from nnactive_server.dataset.raw import DESCRIPTION, IMAGES, LABELS
from nnactive_server.dataset.volumes import channel_count

PAIRS_OF_FOLDERS = ((IMAGES, LABELS), ("images", "labels"))
_LABEL_ENDING = re.compile(r"(?P<case>.+?)(?:[_\-.]seg|[_\-.]label)")
_CHANNEL_ENDING = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_UNUSUAL = re.compile(r"[^\w.\-]+")


def scan_described(root: Path) -> Scan:
    """A folder with dataset.json: nnU-Net raw (`channel_names`) or MSD (`modality`)."""
    path = root / DESCRIPTION
    document = read_json(path, DatasetError)
    if not isinstance(document, Mapping):
        raise DatasetError(f"{path}: must hold one JSON object")
    key = next((key for key in ("channel_names", "modality") if key in document), None)
    if key is None:
        raise DatasetError(f"{path}: names neither 'channel_names' (nnU-Net) nor 'modality' (MSD)")
    scan = Scan("nnunet" if key == "channel_names" else "msd")
    _read_names(scan, document, key, path)
    if not (root / IMAGES).is_dir():
        scan.problems.append(f"{root / IMAGES}: no such folder; the images are expected there")
        return scan
    if list(root.glob("loop_*.json")):
        scan.warnings.append("loop files are not imported: the new project starts without loops")
    _warn_left_out(scan, root)
    labels = volume_files(root / LABELS) if (root / LABELS).is_dir() else []
    _pair(scan, volume_files(root / IMAGES), labels, split_4d=scan.kind == "msd")
    return scan


def scan_plain(root: Path) -> Scan:
    """A folder of image files: images and labels in two folders, or side by side."""
    scan = Scan("folder")
    _warn_left_out(scan, root)
    for images, labels in PAIRS_OF_FOLDERS:
        if (root / images).is_dir():
            found = volume_files(root / labels) if (root / labels).is_dir() else []
            _pair(scan, volume_files(root / images), found)
            return scan
    files = volume_files(root)
    marked = [path for path in files if _LABEL_ENDING.fullmatch(stem(path))]
    _pair(scan, [path for path in files if path not in marked], marked)
    return scan


def _read_names(scan: Scan, document: Mapping[str, Any], key: str, path: Path) -> None:
    """Channel and label names of a dataset.json, into the scan."""
    channels, labels = document[key], document.get("labels")
    if not isinstance(channels, Mapping) or sorted(channels) != sorted(str(i) for i in range(len(channels))):
        scan.problems.append(f'{path}: \'{key}\' must number the channels "0", "1", … without gaps')
    else:
        scan.channels = tuple(str(channels[str(i)]) for i in range(len(channels)))
    if not isinstance(labels, Mapping):
        scan.problems.append(f"{path}: 'labels' is missing or not an object")
        return
    try:
        scan.labels = LabelSet.from_json(labels, str(path))
    except DatasetError as problem:
        scan.problems.append(str(problem))


def _warn_left_out(scan: Scan, root: Path) -> None:
    for name in ("imagesTs", "labelsTs"):
        if (root / name).is_dir():
            scan.warnings.append(f"{name} is not imported")


def _pair(scan: Scan, images: Sequence[Path], labels: Sequence[Path], *, split_4d: bool = False) -> None:
    """Put image and label files together as cases, into the scan."""
    by_label = _index_labels(scan, labels)
    grouped = _group_channels(scan, images, set(by_label))
    for case, label in by_label.items():
        if case not in grouped:
            scan.problems.append(f"{label}: a label map without an image")
    for name, channels in sorted(grouped.items()):
        sources = _sources(scan, channels, split_4d)
        if sources:
            own = FileSource(by_label[name]) if name in by_label else None
            scan.cases.append(SourceCase(name, sources, own))
    _rename(scan)


def _index_labels(scan: Scan, files: Iterable[Path]) -> dict[str, Path]:
    """Label files by case: `case`, or `case` with one of the endings that mark a label map."""
    found: dict[str, Path] = {}
    for path in files:
        match = _LABEL_ENDING.fullmatch(stem(path))
        case = match["case"] if match else stem(path)
        if case in found:
            scan.problems.append(f"{path}: a second label map of case '{case}' beside {found[case].name}")
        found.setdefault(case, path)
    return found


def _group_channels(scan: Scan, files: Sequence[Path], labelled: set[str]) -> dict[str, dict[int, Path]]:
    """Image files by case and channel; a case given twice is a problem."""
    suffixed = _has_channel_endings([stem(path) for path in files], labelled)
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in files:
        match = _CHANNEL_ENDING.fullmatch(stem(path)) if suffixed else None
        case, channel = (match["case"], int(match["channel"])) if match else (stem(path), 0)
        other = found[case].setdefault(channel, path)
        if other is not path:
            scan.problems.append(f"{path}: case '{case}' is there twice, also as {other.name}")
    return dict(found)


def _has_channel_endings(stems: Sequence[str], labelled: set[str]) -> bool:
    """Whether `_0000`, `_0001` … number channels, not cases.

    They do when every name has such an ending and one ends in `_0000`, unless label maps carry the
    whole name: then `scan_0000` is a case.
    """
    endings = [_CHANNEL_ENDING.fullmatch(name) for name in stems]
    if not endings or labelled & set(stems):
        return False
    return all(endings) and any(match is not None and int(match["channel"]) == 0 for match in endings)


def _sources(scan: Scan, channels: Mapping[int, Path], split_4d: bool) -> tuple[Source, ...]:
    """One source a channel; empty, with a problem noted, when the files do not allow it."""
    first = channels[min(channels)]
    if sorted(channels) != list(range(len(channels))):
        scan.problems.append(f"{first}: has channels {sorted(channels)}; they must be 0, 1, … without gaps")
        return ()
    if not split_4d or len(channels) > 1:
        return tuple(FileSource(channels[i]) for i in range(len(channels)))
    try:
        count = channel_count(first)
    except DatasetError as problem:
        scan.problems.append(str(problem))
        return ()
    return (FileSource(first) if count == 1 else ChannelsSource(first, count),)


def _rename(scan: Scan) -> None:
    """Case ids end up in file names and addresses: other characters than letters, digits, `._-` go."""
    renamed: dict[str, SourceCase] = {}
    for case in scan.cases:
        name = _UNUSUAL.sub("_", case.name)
        if name != case.name:
            scan.warnings.append(f"case '{case.name}' becomes '{name}'")
        if name in renamed:
            scan.problems.append(f"{case.image[0].path}: case id '{name}' is taken by {renamed[name].name!r}")
        renamed[name] = SourceCase(name, case.image, case.label)
    scan.cases = list(renamed.values())
