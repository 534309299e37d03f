"""Cases: images that were uploaded, or that lie on the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response

from nnactive_server.api.access import Admin, Annotator, Viewer
from nnactive_server.api.bodies import CaseIn, FolderIn
from nnactive_server.api.learning import learning
from nnactive_server.api.lists import listed
from nnactive_server.api.once import OnceOnly
from nnactive_server.api.problems import Problem
from nnactive_server.api.replies import CaseOut, JobOut
from nnactive_server.api.server import Here, Server
from nnactive_server.api.views import case_out, job_out
from nnactive_server.core.errors import InvalidInput, NNActiveError
from nnactive_server.core.geometry import Geometry
from nnactive_server.store import Case

router = APIRouter(prefix="/v1", tags=["cases"])


@dataclass(frozen=True, slots=True)
class _Taken:
    """Images that were read, stripped and stored."""

    geometry: Geometry
    images: tuple[str, ...]
    arrays: Sequence[Mapping[str, Any]]


@router.get("/projects/{project}/cases", response_model=list[CaseOut])
def list_cases(project: str, server: Here, caller: Viewer) -> Response:
    """The cases of a project, by name."""
    cases = server.store.cases.list(project)
    counts = server.store.patches.counts_by_case(project)
    known = learning(server.store, project)
    rows = [case_out(case, counts.get(case.id, {}), known.quality, known.model) for case in cases]
    return listed(CaseOut, rows)


@router.get("/cases/{case}")
def read_case(case: str, server: Here, caller: Viewer) -> CaseOut:
    """One case."""
    return _shown(server, server.store.cases.get(case))


@router.post("/projects/{project}/cases", status_code=201, response_model=CaseOut)
def add_case(project: str, body: CaseIn, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """A case from uploaded files, one a channel in their order, or from a file or DICOM folder on the server.

    Only voxels and their grid are kept; what else a header says is dropped. Without a name the case gets one
    that says nothing about the file.
    """
    earlier = once.earlier()
    if earlier is not None:
        _forget(server, body.channels or ())  # the server may have died before it could
        return earlier
    owner = server.store.projects.get(project)
    count = len(body.channels or [""])
    wanted = owner.settings["channels"]
    if count != len(wanted):
        raise InvalidInput(f"channels: {count} files; this project has the channels {', '.join(wanted)}")
    if body.channels:
        taken = _known(server, body.channels) or _read(server, body.channels)
    else:
        taken = _take_in(server, [_on_server(server, body.server_path or "")])
    sources = [{"sha256": sha256, "size": server.known_size(sha256) or 0} for sha256 in body.channels or ()]

    def work() -> CaseOut:
        name = body.name or server.store.cases.free_name(project)
        details = {"arrays": taken.arrays, "sources": sources}
        return _shown(server, server.store.cases.add(project, name, taken.geometry, taken.images, details))

    reply = once(201, work)
    _forget(server, set(body.channels or ()) - set(taken.images))
    server.folders.refresh(project)
    return reply


@router.post("/projects/{project}/folder", status_code=202, response_model=JobOut)
def add_folder(project: str, body: FolderIn, server: Here, caller: Admin, once: OnceOnly) -> Response:
    """Make a case of each image in a folder on the server: nnU-Net raw, NIfTI, NRRD, MHA, DICOM; a job."""
    server.store.projects.get(project)
    folder = _on_server(server, body.server_path)
    params = {
        "path": str(folder),
        "roots": [str(root) for root in server.settings.import_roots],
        "keep_names": body.keep_names,
    }

    def work() -> JobOut:
        job = server.store.jobs.enqueue(project, "import", params)
        return job_out(job, server.store.jobs.position(job))

    reply = once(202, work)
    server.supervisor.wake()
    return reply


def _shown(server: Server, case: Case) -> CaseOut:
    known = learning(server.store, case.project)
    counts = server.store.patches.counts_by_case(case.project).get(case.id, {})
    return case_out(case, counts, known.quality, known.model)


def _known(server: Server, channels: Sequence[str]) -> _Taken | None:
    """Files that cases were made of before, on one grid; None when any has to be read."""
    sources = [server.store.cases.of_source(sha256) for sha256 in channels]
    found = [source for source in sources if source is not None]
    if len(found) < len(sources) or len({source.case.geometry for source in found}) > 1:
        return None
    arrays = [source.case.details["arrays"][source.channel] for source in found]
    return _Taken(found[0].case.geometry, tuple(source.image for source in found), arrays)


def _read(server: Server, channels: Sequence[str]) -> _Taken:
    paths = _uploaded(server, channels)
    try:
        return _take_in(server, paths)
    except NNActiveError:
        if all(path.exists() for path in paths):
            raise
    # Somebody else made a case of such a file meanwhile, and it was removed: now that case has its voxels.
    return _read(server, channels)


def _uploaded(server: Server, channels: Sequence[str]) -> list[Path]:
    paths = []
    for sha256 in channels:
        source = server.store.cases.of_source(sha256)
        stored = sha256 if source is None or server.store.blobs.exists(sha256) else source.image
        if not server.store.blobs.refresh(stored):
            raise InvalidInput(f"channels: file {sha256} is not here; upload it first")
        paths.append(server.store.blobs.path(stored))
    return paths


def _forget(server: Server, uploads: Iterable[str]) -> None:
    """Remove files as they were sent: their headers may hold names."""
    for sha256 in uploads:
        server.store.discard(sha256)


def _on_server(server: Server, given: str) -> Path:
    """A path below one of the folders that the operator allowed."""
    roots = server.settings.import_roots
    # A path that is not absolute is taken from the first folder, so clients need not know where it lies.
    try:
        path = ((roots[0] if roots else Path("/")) / given).resolve()
        allowed = any(path.is_relative_to(root) for root in roots) and (path.is_file() or path.is_dir())
    except (OSError, ValueError, RuntimeError):  # nothing of this name can be there, or a circle of links
        allowed = False
    if not allowed:
        raise Problem(
            403,
            "folder-not-allowed",
            "This path is not below a folder that the server's operator allowed with --import-root.",
        )
    return path


def _take_in(server: Server, paths: Sequence[Path]) -> _Taken:
    found = server.task(
        "intake",
        {
            "data": str(server.data),
            "channels": [str(path) for path in paths],
            "roots": [str(root) for root in server.settings.import_roots],
            "limits": {"voxels": server.settings.limits.image_voxels},
        },
    )
    return _Taken(Geometry.from_json(found["geometry"]), tuple(found["images"]), found["arrays"])
