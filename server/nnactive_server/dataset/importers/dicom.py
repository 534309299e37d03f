"""Find the series in a folder of DICOM files, whatever the files are called.

Only what places the voxels is taken from the headers: no name, identifier or date reaches the
project, and cases are numbered.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.dataset.importers.slices import Slice, frames, stack
from nnactive_server.dataset.importers.sources import Scan, SourceCase
from nnactive_server.dataset.volumes import Volume

_CHANNELS = {"MR": "MRI", "CT": "CT", "PT": "PET"}
COLOUR = "colour images"
_SKIPPED_TYPES = {"LOCALIZER", "SCOUT"}


@dataclass(frozen=True)
class SeriesSource:
    """One DICOM series.

    Attributes:
        path: the first file, in reading order; stands for the series in messages.
        slices: sorted by position along the normal of the slices.
        grid: the volume they make.
    """

    path: Path
    slices: tuple[Slice, ...]
    grid: Geometry
    channels: int = field(default=1, init=False)

    @property
    def original(self) -> Path | None:
        """None: DICOM is always converted."""
        return None

    def read(self) -> tuple[Volume, ...]:
        """Voxels (z, y, x) with the rescale slope and intercept of each file applied.

        Whole numbers come back as int32, anything else as float32.

        Raises:
            DatasetError: a file cannot be decoded.
        """
        files = {slice_.path: _decode(slice_.path) for slice_ in self.slices}
        array = np.stack([files[slice_.path][slice_.frame] for slice_ in self.slices])
        if array.shape != self.grid.shape:
            raise DatasetError(f"{self.path}: decodes to {array.shape}, its header says {self.grid.shape}")
        whole = array.astype(np.int32) if np.isfinite(array).all() else array
        return (Volume(whole if np.array_equal(whole, array) else array, self.grid),)


def scan_dicom(root: Path) -> Scan:
    """Every image series below a folder, as `case_001`, `case_002`, … in the order of the file names."""
    scan = Scan("dicom")
    groups: dict[tuple[str, str], list[pydicom.Dataset]] = defaultdict(list)
    skipped: Counter[str] = Counter()
    for header in _headers(root):
        reason = reason_to_skip(header)
        if reason:
            skipped[reason] += 1
        else:
            groups[series_key(header)].append(header)
    scan.warnings += [f"{count} DICOM files left out: {reason}" for reason, count in sorted(skipped.items())]
    found = [(series, headers) for headers in groups.values() if (series := _build(scan, headers))]
    found.sort(key=lambda pair: pair[0].path)
    scan.cases = [SourceCase(f"case_{i:03d}", (series,)) for i, (series, _) in enumerate(found, start=1)]
    _note_modality(scan, found)
    _warn_same_study(scan, [headers for _, headers in found])
    return scan


def _headers(root: Path) -> Iterator[pydicom.Dataset]:
    """Headers of all DICOM files below a folder, in the order of their paths."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if not path.is_file() or any(part.startswith(".") for part in inside) or path.name == "DICOMDIR":
            continue
        header = _header(path)
        if header is not None:
            yield header


def _header(path: Path) -> pydicom.Dataset | None:
    """The header of a DICOM file, None for any other file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd private values are not this importer's business
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, EOFError, OSError):
            return None
    header.filename = str(path)
    return header


def reason_to_skip(header: pydicom.Dataset) -> str | None:
    """Why a DICOM file is no slice of an image; None when it is one."""
    if not header.get("Rows") or not header.get("Columns"):
        return "not images (reports, structures, plans)"
    if header.get("Modality") in ("SEG", "RTDOSE"):
        return "segmentation and dose objects; export labels as NIfTI instead"
    if _SKIPPED_TYPES & set(header.get("ImageType") or ()):
        return "localizers"
    if header.get("SamplesPerPixel", 1) != 1:
        return COLOUR
    return None


def series_key(header: pydicom.Dataset) -> tuple[str, str]:
    """Series UID; files whose UID was blanked are told apart by their folder."""
    uid = str(header.get("SeriesInstanceUID") or "")
    return uid, "" if uid else str(Path(header.filename).parent)


def _build(scan: Scan, headers: Sequence[pydicom.Dataset]) -> SeriesSource | None:
    """One series from its headers; None, with a problem noted, when they do not make a volume."""
    path = Path(headers[0].filename)
    try:
        slices, grid = stack([slice_ for header in headers for slice_ in frames(header)])
    except DatasetError as problem:
        scan.problems.append(f"{path} (a series of {len(headers)} files): {problem}")
        return None
    return SeriesSource(path, slices, grid)


def _note_modality(scan: Scan, found: Sequence[tuple[SeriesSource, Sequence[pydicom.Dataset]]]) -> None:
    """The channel's name, which decides how nnU-Net normalises (CT by fixed intensities)."""
    by_modality: dict[str, Path] = {}
    for series, headers in found:
        by_modality.setdefault(str(headers[0].get("Modality") or "image"), series.path)
    if len(by_modality) > 1:
        examples = ", ".join(f"{name} ({path})" for name, path in sorted(by_modality.items()))
        scan.problems.append(f"series of several modalities: {examples}; import one modality at a time")
    elif by_modality:
        modality = next(iter(by_modality))
        scan.channels = (_CHANNELS.get(modality, modality),)


def _warn_same_study(scan: Scan, series: Sequence[Sequence[pydicom.Dataset]]) -> None:
    """Cases of one patient on both sides of the test split make results look too good."""
    patients = Counter(str(headers[0].get("StudyInstanceUID") or "") for headers in series)
    shared = sum(count for uid, count in patients.items() if uid and count > 1)
    if shared:
        scan.warnings.append(
            f"{shared} cases share a study with another case; keep the cases of one patient on one side "
            "of the test split"
        )


def _decode(path: Path) -> np.ndarray:
    """The frames (frame, y, x) of a DICOM file, rescaled; SimpleITK's GDCM knows the compressed syntaxes."""
    try:
        image = sitk.ReadImage(str(path), sitk.sitkFloat64)
    except RuntimeError as problem:
        raise DatasetError(
            f"{path}: its pixels cannot be decoded; check that the file is complete"
        ) from problem
    array: np.ndarray = sitk.GetArrayFromImage(image).astype(np.float32)
    return array
