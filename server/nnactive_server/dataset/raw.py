"""The nnU-Net raw layout: one folder with dataset.json, imagesTr and labelsTr.

A *project* is such a folder whose label set is partial (it holds the ignore id), with loop files
beside dataset.json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.files import read_json, write_json
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.dataset import volumes
from nnactive_server.dataset.volumes import Volume

DESCRIPTION = "dataset.json"
IMAGES = "imagesTr"
LABELS = "labelsTr"


@dataclass(frozen=True, slots=True)
class RawDataset:
    """A folder in nnU-Net's raw layout.

    Attributes:
        root: the folder that holds dataset.json.
        name: the data set's name.
        labels: what the label values mean; partial in a project.
        channels: names of the image channels, in channel order.
        file_ending: of all images and label maps, with the dot, e.g. `.nii.gz`.
        cases: ids of all cases with images, sorted; a label map may be absent.
    """

    root: Path
    name: str
    labels: LabelSet
    channels: tuple[str, ...]
    file_ending: str
    cases: tuple[str, ...]

    @classmethod
    def open(cls, root: Path) -> RawDataset:
        """Read dataset.json and list the cases.

        Raises:
            DatasetError: no or malformed dataset.json, or a case without one of its channels.
        """
        path = Path(root) / DESCRIPTION
        document = read_json(path, DatasetError)
        labels = LabelSet.from_json(_entry(document, "labels", Mapping, path), str(path))
        channels = _channels(_entry(document, "channel_names", Mapping, path), path)
        ending = _entry(document, "file_ending", str, path)
        name = str(document.get("name") or path.parent.resolve().name)
        cases = _list_cases(path.parent / IMAGES, ending, len(channels))
        return cls(Path(root), name, labels, channels, ending, cases)

    @classmethod
    def create(
        cls,
        root: Path,
        labels: LabelSet,
        channels: Sequence[str],
        file_ending: str = ".nii.gz",
        name: str | None = None,
    ) -> RawDataset:
        """Make the folders and write dataset.json; image files already in place become its cases.

        Raises:
            DatasetError: no channel, or images in place that do not fit.
        """
        if not channels:
            raise DatasetError(f"{root}: name at least one image channel")
        root = Path(root)
        for folder in (IMAGES, LABELS):
            (root / folder).mkdir(parents=True, exist_ok=True)
        document = {
            "name": name or root.name,
            "channel_names": {str(i): channel for i, channel in enumerate(channels)},
            "labels": labels.to_json(),
            "numTraining": len(_list_cases(root / IMAGES, file_ending, len(channels))),
            "file_ending": file_ending,
        }
        write_json(root / DESCRIPTION, document)
        return cls.open(root)

    def image_paths(self, case: str) -> tuple[Path, ...]:
        """The image files of a case, one a channel, in channel order."""
        self._require(case)
        folder = self.root / IMAGES
        return tuple(folder / f"{case}_{i:04d}{self.file_ending}" for i in range(len(self.channels)))

    def label_path(self, case: str) -> Path:
        """Where the label map of a case lies, or will lie."""
        self._require(case)
        return self.root / LABELS / f"{case}{self.file_ending}"

    def has_label(self, case: str) -> bool:
        """Whether the case has a label map."""
        return self.label_path(case).is_file()

    def read_image(self, case: str) -> Volume:
        """The image of a case: (C, z, y, x) float32.

        Raises:
            DatasetError: see `volumes.read_image`.
        """
        return volumes.read_image(self.image_paths(case))

    def read_label(self, case: str) -> Volume:
        """The label map of a case: (z, y, x), values checked against `labels`, grid against the image.

        Raises:
            DatasetError: missing, unreadable, or with values that `labels` does not name.
            GeometryMismatch: not on the image's grid.
        """
        path = self.label_path(case)
        label = volumes.read_label(path)
        unknown = unknown_values(label.array, self.labels)
        if unknown:
            raise DatasetError(
                f"{path}: holds label values {unknown} that {DESCRIPTION} does not name; "
                f"allowed are {sorted(self.labels.allowed)}"
            )
        volumes.require_same_grid(path, label.geometry, self.image_paths(case)[0], self.geometry(case))
        return label

    def geometry(self, case: str) -> Geometry:
        """The grid of a case, from the header of its first channel."""
        return volumes.read_geometry(self.image_paths(case)[0])

    def _require(self, case: str) -> None:
        if case not in self.cases:
            raise DatasetError(f"{self.root / IMAGES}: no case '{case}'")


def unknown_values(array: np.ndarray, labels: LabelSet) -> list[int]:
    """The values in a label array (any shape) that `labels` does not allow, sorted."""
    values = np.flatnonzero(np.bincount(array.ravel())) if array.dtype == np.uint8 else np.unique(array)
    return [int(v) for v in values if v not in labels.allowed]


def _entry(document: Any, key: str, kind: type, path: Path) -> Any:
    if not isinstance(document, Mapping):
        raise DatasetError(f"{path}: must hold one JSON object")
    if not isinstance(document.get(key), kind):
        raise DatasetError(f"{path}: '{key}' is missing or not of the right kind; see nnU-Net's raw format")
    return document[key]


def _channels(entry: Mapping[str, object], path: Path) -> tuple[str, ...]:
    expected = [str(i) for i in range(len(entry))]
    if not entry or sorted(entry, key=str) != sorted(expected):
        raise DatasetError(f'{path}: \'channel_names\' must number the channels "0", "1", … without gaps')
    return tuple(str(entry[key]) for key in expected)


def _list_cases(folder: Path, ending: str, channels: int) -> tuple[str, ...]:
    """Ids of the cases in an images folder, sorted; every case must have every channel."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; nnU-Net's raw layout keeps the images there")
    pattern = re.compile(r"(?P<case>[^.].*)_(?P<channel>\d{4})" + re.escape(ending))
    found: dict[str, set[int]] = {}
    for match in filter(None, (pattern.fullmatch(path.name) for path in folder.iterdir())):
        found.setdefault(match["case"], set()).add(int(match["channel"]))
    wrong = sorted(case for case, present in found.items() if present != set(range(channels)))
    if wrong:
        raise DatasetError(
            f"{folder}: {len(wrong)} cases do not have exactly the {channels} channels of {DESCRIPTION}, "
            f"first {wrong[0]} with channels {sorted(found[wrong[0]])}"
        )
    return tuple(sorted(found))
