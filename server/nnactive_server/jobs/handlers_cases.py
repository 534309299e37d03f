"""Tasks about cases: taking in images, a project's plain folder."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import DatasetError
from nnactive_server.dataset.intake import IntakeLimits, TakenIn, take_in
from nnactive_server.dataset.volumes import require_same_grid
from nnactive_server.jobs.projects_on_disk import open_project
from nnactive_server.store import Blobs, Store
from nnactive_server.store.blobs import SHA256, space_needed
from nnactive_server.store.state import FILES

Paths = str | Sequence[str]
"""A file, a folder of one DICOM series, or the files of one."""


def intake(params: Mapping[str, Any]) -> dict[str, Any]:
    """Store the images of a new case as plain files; the caller adds the case.

    Args:
        params: `data`, the server's data folder; `channels`, for each channel the path of a stored upload, of
            an image file, of a folder with one DICOM series, or the list of its files; `roots`, folders
            outside the store that may be read, if any; `limits`, fields of `IntakeLimits`, if any.

    Returns:
        `geometry` of all channels; for each channel `images` (SHA-256 of the stored file), `arrays` (`dtype`
        and `offset` of the voxels in it) and `sources` (SHA-256 of the upload, null for other files).

    Raises:
        DatasetError: a channel that cannot be used, named by its number; nothing was stored.
        GeometryMismatch: channels on different grids; likewise.
        NoSpace: the disk is full.
    """
    blobs = Blobs(Path(params["data"]) / FILES)
    limits = IntakeLimits(**params.get("limits", {}))
    roots = resolved((blobs.root, *params.get("roots", ())))
    channels: Sequence[Paths] = params["channels"]
    if not channels:
        raise DatasetError("a case needs an image for each channel of the project")
    files = [blobs.temporary / f"{secrets.token_hex(8)}.nii" for _ in channels]
    try:
        taken: list[TakenIn] = []
        for number, (channel, file) in enumerate(zip(channels, files, strict=True)):
            taken.append(_take_in(number, _sources(channel, roots, limits), file, limits, blobs))
            require_same_grid(
                Path(f"channel {number}"), taken[-1].geometry, Path("channel 0"), taken[0].geometry
            )
        images = [_keep(blobs, file, each.sha256) for file, each in zip(files, taken, strict=True)]
    finally:
        for file in files:
            file.unlink(missing_ok=True)
    return {
        "geometry": asdict(taken[0].geometry),
        "images": images,
        "arrays": [{"dtype": each.dtype, "offset": each.offset} for each in taken],
        "sources": [_upload(channel, blobs) for channel in channels],
    }


def project_folders(params: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the plain folders of projects up to date with the store.

    Args:
        params: `data`, the server's data folder; `projects`, their ids.

    Returns:
        `cases`: how many each project has.

    Raises:
        NotFound: no such project.
        StoreError: see `open_project`.
    """
    data, cases = Path(params["data"]), {}
    with Store(data) as store:
        for project in params["projects"]:
            dataset = open_project(data, store.projects.get(project), store.cases, store.blobs)
            cases[project] = len(dataset.cases)
    return {"cases": cases}


def resolved(paths: Iterable[str | Path]) -> tuple[Path, ...]:
    """Folders with their links followed."""
    return tuple(Path(path).resolve() for path in paths)


def allowed(path: str, roots: Sequence[Path]) -> Path:
    """A path with its links followed; raises DatasetError when it is missing or leads out of all roots."""
    try:
        found = Path(path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise DatasetError("there is no such file or folder on the server") from None
    if not any(found.is_relative_to(root) for root in roots):
        raise DatasetError("it lies outside the folders that the server's operator allowed")
    return found


def _sources(channel: Paths, roots: Sequence[Path], limits: IntakeLimits) -> Path | list[Path]:
    """The file, or the files of a series, to read for a channel."""
    if not isinstance(channel, str):
        return [allowed(path, roots) for path in channel]
    path = allowed(channel, roots)
    if not path.is_dir():
        return path
    inside = [each for each in path.rglob("*") if each.is_file() and not each.name.startswith(".")]
    if len(inside) > limits.members:
        raise DatasetError(f"a folder of {len(inside)} files; at most {limits.members} make one series")
    return [allowed(str(each), roots) for each in sorted(inside)]


def _take_in(
    number: int, source: Path | list[Path], target: Path, limits: IntakeLimits, blobs: Blobs
) -> TakenIn:
    try:
        with space_needed(blobs.root):
            taken = take_in(source, target, limits)
    except DatasetError as problem:
        raise DatasetError(f"channel {number}: {problem}") from problem
    size = target.stat().st_size
    blobs.check_size(size, written=size)
    return taken


def _keep(blobs: Blobs, file: Path, sha256: str) -> str:
    return sha256 if blobs.refresh(sha256) else blobs.settle(file, sha256)


def _upload(channel: Paths, blobs: Blobs) -> str | None:
    """SHA-256 of a stored upload, which is its path; None for other files."""
    if not isinstance(channel, str):
        return None
    path = Path(channel).resolve()
    name = path.parent.name + path.name
    stored = path.is_relative_to(blobs.root.resolve()) and SHA256.fullmatch(name)
    return name if stored else None
