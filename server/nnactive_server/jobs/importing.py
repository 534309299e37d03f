"""The job `import`: each image of a folder on the server becomes a case."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.geometry import Geometry
from nnactive_server.jobs.handlers_cases import intake, project_folders
from nnactive_server.jobs.handlers_folders import scan_folder
from nnactive_server.jobs.reporting import JobContext
from nnactive_server.store import Project

_log = logging.getLogger(__name__)


def run(context: JobContext) -> dict[str, Any]:
    """Add the cases one after the other; those added before a restart are not added again.

    Args:
        context: its params are `path`, the folder; `roots`, folders that it must lie in; `keep_names`:
            whether the cases get the names of the files.

    Returns:
        `added`, names of the new cases, and `problems`, what could not be used and why.

    Raises:
        DatasetError: the folder cannot be read, or holds nothing that can be used.
        Cancelled: asked to stop; the cases added so far stay.
    """
    params, store = context.job.params, context.store
    project = store.projects.get(context.job.project)
    found = scan_folder(params)
    problems: list[str] = list(found["problems"])
    known = {case.details.get("imported") for case in store.cases.list(project.id)}
    added = []
    for done, entry in enumerate(found["cases"]):
        context.monitor.check()
        context.monitor.report("import", done, len(found["cases"]))
        key = _key(entry)
        if key in known:
            continue
        try:
            added.append(_add(context, project, entry, key))
        except DatasetError as problem:
            problems.append(f"image {done + 1}: {problem}")
            _log.warning("image %d of the folder was left out: %s", done + 1, problem)
    if not added and not known - {None}:
        reason = problems[0] if problems else "it holds no image"
        raise DatasetError(f"nothing in the folder could be used: {reason}")
    project_folders({"data": str(context.data), "projects": [project.id]})
    return {"added": added, "problems": problems}


def _add(context: JobContext, project: Project, entry: Mapping[str, Any], key: str) -> str:
    channels = project.settings["channels"]
    if len(entry["channels"]) != len(channels):
        raise DatasetError(
            f"has {len(entry['channels'])} channels; the project has {len(channels)}: {', '.join(channels)}"
        )
    taken = intake(
        {"data": str(context.data), "channels": entry["channels"], "roots": context.job.params["roots"]}
    )
    details = {"arrays": taken["arrays"], "sources": [], "imported": key}
    cases = context.store.cases
    with context.store.database.write():
        name = entry["name"] if context.job.params["keep_names"] else cases.free_name(project.id)
        return cases.add(
            project.id, name, Geometry.from_json(taken["geometry"]), taken["images"], details
        ).name


def _key(entry: Mapping[str, Any]) -> str:
    """Tells an image again without keeping its path, which may hold a name."""
    paths = [
        path for channel in entry["channels"] for path in ([channel] if isinstance(channel, str) else channel)
    ]
    stamps = [f"{path}\0{Path(path).stat().st_size}" for path in paths]
    return hashlib.sha256("\0".join(stamps).encode("utf-8", "surrogatepass")).hexdigest()
