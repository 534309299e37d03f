"""Projects: labels, channels, and how patches are chosen and models trained."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response

from nnactive_server.api.access import Admin, Annotator, Viewer
from nnactive_server.api.bodies import ProjectChange, ProjectIn, SuggestionIn
from nnactive_server.api.learning import learning, statistics
from nnactive_server.api.once import OnceOnly
from nnactive_server.api.problems import Problem
from nnactive_server.api.replies import ProjectOut, StatisticsOut, SuggestionOut
from nnactive_server.api.server import Here, Server
from nnactive_server.api.views import project_out
from nnactive_server.core.errors import InvalidInput
from nnactive_server.core.labels import LabelSet
from nnactive_server.segmentation.profiles import get_profile
from nnactive_server.store import Project

router = APIRouter(prefix="/v1/projects", tags=["projects"])
_FROZEN = ("profile", "profile_overrides")
"""Settings that the first training fixes: later members go on from earlier ones."""


@router.get("")
def list_projects(server: Here, caller: Viewer) -> list[ProjectOut]:
    """All projects, oldest first."""
    return [_shown(server, project) for project in server.store.projects.list()]


@router.post("", status_code=201, response_model=ProjectOut)
def create_project(body: ProjectIn, server: Here, caller: Admin, once: OnceOnly) -> Response:
    """A new project; its first training needs cases and answers."""
    settings = body.model_dump(mode="json", exclude={"name"})
    _check(settings)

    def work() -> ProjectOut:
        return _shown(server, server.store.projects.create(body.name, settings))

    return once(201, work)


@router.get("/{project}")
def read_project(project: str, server: Here, caller: Viewer) -> ProjectOut:
    """One project."""
    return _shown(server, server.store.projects.get(project))


@router.patch("/{project}", response_model=ProjectOut)
def change_project(
    project: str, body: ProjectChange, server: Here, caller: Admin, once: OnceOnly
) -> Response:
    """Change how patches are chosen; a cycle that has begun goes on with what it was begun with."""

    def work() -> ProjectOut:
        known = server.store.projects.get(project)
        changes = body.model_dump(mode="json", exclude_none=True)
        _refuse_frozen(server, known, changes)
        settings = {**known.settings, **changes}
        _check(settings)
        return _shown(server, server.store.projects.change(project, known.revision, settings))

    return once(200, work)


@router.get("/{project}/statistics")
def read_statistics(project: str, server: Here, caller: Viewer) -> StatisticsOut:
    """Learning curve, class balance and cost so far; what was saved, and what one more cycle would bring."""
    return statistics(server.store, server.store.projects.get(project), server.settings.simulations)


@router.post("/{project}/suggestion")
def suggest(project: str, body: SuggestionIn, server: Here, caller: Annotator) -> SuggestionOut:
    """Patch size, query size and cycles by the guidelines, from rough sizes of structures; no change."""
    known = server.store.projects.get(project)
    cases = server.store.cases.list(project)
    found = server.task(
        "suggest",
        {
            "geometries": [asdict(case.geometry) for case in cases],
            "labels": [label["name"] for label in known.settings["labels"]],
            **body.model_dump(mode="json"),
        },
    )
    return SuggestionOut(**found)


def _shown(server: Server, project: Project) -> ProjectOut:
    return project_out(project, learning(server.store, project.id).next_training)


def _check(settings: dict[str, Any]) -> None:
    """Whether labels, strategy and profile are such as a training accepts; raises NNActiveError."""
    # Loaded when it is first needed: it brings in scipy.
    from nnactive_server.query import get_strategy

    if len(set(settings["channels"])) != len(settings["channels"]):
        raise InvalidInput("channels: names repeat; give each channel a name of its own")
    LabelSet(tuple(label["name"] for label in settings["labels"]), partial=True)
    get_strategy(settings["strategy"], **settings["strategy_parameters"])
    get_profile(settings["profile"], **settings["profile_overrides"])


def _refuse_frozen(server: Server, project: Project, changes: dict[str, Any]) -> None:
    changed = [
        name for name in _FROZEN if changes.get(name, project.settings[name]) != project.settings[name]
    ]
    known = learning(server.store, project.id)
    if changed and (known.results or known.training):
        raise Problem(
            409, "training-begun", f"{changed[0]}: fixed since the first training; make a new project instead"
        )
