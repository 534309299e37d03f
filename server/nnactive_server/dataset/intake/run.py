"""Take in one image: find out what it is, check it, write it plain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import SimpleITK as sitk

from nnactive_server.core.errors import DatasetError
from nnactive_server.dataset.intake import archives, binary, texts
from nnactive_server.dataset.intake.contents import Contents, IntakeLimits
from nnactive_server.dataset.intake.writing import TakenIn, write_nifti

LIMITS = IntakeLimits()
_HEAD = 64


def take_in(source: Path | Sequence[Path], target: Path, limits: IntakeLimits = LIMITS) -> TakenIn:
    """Write an image file that nobody has checked as a plain `.nii` file that holds nothing but voxels.

    NIfTI (version 1 or 2, plain or gzip), NRRD and MetaImage in one file, and a zip of the slices of one
    DICOM series are known by their first bytes; the name of a file plays no part. Sizes are checked before
    memory is taken, and voxels are copied in pieces. No word of the source's header reaches the new file.
    Voxels keep their type where it is one of `TakenIn.dtype`; others get the smallest of these that holds
    the same values, floating-point numbers four bytes.

    Args:
        source: the file; or the files of one DICOM series.
        target: a new file. Temporary files are made beside it and removed.
        limits: what is refused.

    Raises:
        DatasetError: another kind of file, a damaged, too large or unusable image; without the names of files
            or words from their headers.
        OSError: the disk is full or failing.
    """
    with ExitStack() as stack:
        stack.enter_context(_silence())
        return write_nifti(target, _open(source, target.parent, limits, stack))


@contextmanager
def _silence() -> Iterator[None]:
    """Keep ITK's warnings, which quote headers and name temporary files, off the standard error."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def _open(source: Path | Sequence[Path], folder: Path, limits: IntakeLimits, stack: ExitStack) -> Contents:
    if not isinstance(source, Path):
        return _series(source, limits)
    head = _head(source)
    if not head:
        raise DatasetError("an empty file; send it again")
    if head.startswith(binary.GZIP) or binary.is_nifti(head):
        return binary.open_nifti(source, folder, limits)
    if texts.is_nrrd(head):
        return texts.open_nrrd(source, folder, limits)
    if texts.is_meta(head):
        return texts.open_meta(source, folder, limits)
    if head.startswith(archives.MAGIC):
        return _series(stack.enter_context(archives.unpacked(source, folder, limits)), limits)
    raise DatasetError("no image file; send NIfTI, NRRD, MetaImage or a zip of DICOM slices")


def _series(paths: Sequence[Path], limits: IntakeLimits) -> Contents:
    from nnactive_server.dataset.intake.series import open_series  # pydicom: 0.4 s that other formats save

    return open_series(paths, limits)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as problem:
        raise DatasetError(f"the file cannot be read ({problem.strerror})") from None
