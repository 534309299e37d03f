"""The folder of a project, made from the store: the plain nnU-Net raw layout that the loop works on."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from nnactive_server.core.errors import NotFound, StoreError
from nnactive_server.core.files import link_or_copy
from nnactive_server.core.labels import LabelSet
from nnactive_server.dataset import RawDataset
from nnactive_server.dataset.raw import IMAGES
from nnactive_server.jobs.layout import project_root
from nnactive_server.store import Blobs, Case, Cases, Project

FILE_ENDING = ".nii"
"""Of images and label maps: uncompressed, so that an image is the stored file itself."""
_LOCK = ".images.lock"


def open_project(data: Path, project: Project, cases: Cases, blobs: Blobs) -> RawDataset:
    """Bring a project's folder up to date with the store, and open it.

    Each case of the store gets its images, as hard links to the stored files (copies where links fail), and
    files of anything else leave `imagesTr`. Can be called at any time, by several processes at once, also
    while a cycle goes on: files appear whole, and a case that is in the store is never taken away.

    Args:
        data: the server's data folder.
        project: as stored.
        cases: of the store.
        blobs: of the store.

    Returns:
        The project; its cases are all those of the store, and its labels hold the ignore id.

    Raises:
        StoreError: a stored image is missing, or a case has more or fewer channels than the project.
    """
    root = project_root(data, project.id)
    labels = LabelSet(tuple(label["name"] for label in project.settings["labels"]), partial=True)
    channels = [str(channel) for channel in project.settings["channels"]]
    with _alone(root):
        # Read inside the lock: a case that another process adds now must not look like a leftover.
        _reconcile(root / IMAGES, _wanted(cases.list(project.id), len(channels), blobs))
        return RawDataset.create(root, labels, channels, FILE_ENDING, project.name)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Wait for other processes that bring the same folder up to date; that takes them moments."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / _LOCK).open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _wanted(cases: Sequence[Case], channels: int, blobs: Blobs) -> dict[str, Path]:
    """The stored file for each file name in the images folder."""
    wanted = {}
    for case in cases:
        if len(case.images) != channels:
            raise StoreError(
                f"case {case.name}: has {len(case.images)} images, the project {channels} channels"
            )
        for channel, sha256 in enumerate(case.images):
            wanted[f"{case.name}_{channel:04d}{FILE_ENDING}"] = _stored(blobs, case, sha256)
    return wanted


def _stored(blobs: Blobs, case: Case, sha256: str) -> Path:
    try:
        return blobs.path(sha256)
    except NotFound as problem:
        raise StoreError(
            f"case {case.name}: its image {sha256} is missing from the store; restore it from a backup"
        ) from problem


def _reconcile(folder: Path, wanted: Mapping[str, Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        # Temporary files are leftovers of a killed process: only who holds the lock writes here.
        if path.name not in wanted:
            path.unlink()
    for name, source in wanted.items():
        target = folder / name
        if not target.exists() or target.stat().st_size != source.stat().st_size:
            link_or_copy(source, target)
