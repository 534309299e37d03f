"""Where the files of projects and jobs lie in a server's data folder."""

from __future__ import annotations

from pathlib import Path

PROJECTS = "projects"
LOGS = "logs"
EXPORTS = "exports"
LOCK = "supervisor.lock"


def project_root(data: Path, project: str) -> Path:
    """Folder of a project (id): nnU-Net raw layout, loop files, and what the cycles leave."""
    return data / PROJECTS / project


def export_file(data: Path, project: str, job: str) -> Path:
    """What the export job (id) of a project (id) gathered; only the newest export of a project is kept."""
    return project_root(data, project) / EXPORTS / f"{job}.zip"


def job_log(data: Path, job: str) -> Path:
    """What the worker of a job (id) wrote to its standard output and error, of all attempts."""
    return data / LOGS / f"{job}.log"


def supervisor_lock(data: Path) -> Path:
    """File that the one supervisor of a data folder keeps locked."""
    return data / LOCK


def model_name(cycle: int) -> str:
    """Version of the model that a cycle (from 0) trained."""
    return f"cycle-{cycle:03d}"
