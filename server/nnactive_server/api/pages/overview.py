"""What the operator's page shows, gathered by counting in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnactive_server import __version__
from nnactive_server.api.learning import Learning, learning
from nnactive_server.api.outlook import Spent, outlook_out, saving_out
from nnactive_server.api.pages.curve import Curve, colour_of, draw
from nnactive_server.api.pages.jobs import JobView, ended, unfinished
from nnactive_server.api.pages.machine import Machine, machine
from nnactive_server.api.server import Server
from nnactive_server.api.simulations import Simulations
from nnactive_server.api.views import SETTLED
from nnactive_server.store import Effort, PatchState, Project, Role, Store, Token, efforts

BUSY_SECONDS = 5
"""Between two looks at a server that has work; likewise at one that has none."""
QUIET_SECONDS = 60
_WAITING = (PatchState.OPEN, PatchState.REFERRED)


@dataclass(frozen=True, slots=True)
class Label:
    """A class: name, colour, and the annotated patches that held it at the last training."""

    name: str
    colour: str
    patches: int | None


@dataclass(frozen=True, slots=True)
class StateCount:
    """Patches in a state: of the newest batch, and of all."""

    state: str
    newest: int
    all: int


@dataclass(frozen=True, slots=True)
class AtWork:
    """Somebody who annotates now: name, seconds so far, case, place of the patch in its batch."""

    name: str
    seconds: float
    case: str
    rank: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a project took so far; seconds.

    Attributes:
        annotation: active time of all annotators.
        training: of the machine.
        computing: likewise, with everything else that belongs to a training.
        patches: whose every voxel somebody told, apart from those nobody is sure of.
    """

    annotation: float
    training: float
    computing: float
    patches: int


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project.

    Attributes:
        name: for people.
        labels: its classes.
        cases: how many.
        batch: name of the newest batch.
        states: patches by state; empty before the first patch.
        answered: patches of the newest batch that wait for nobody; likewise `asked`, all of it.
        missing: patches for which the last query found no room.
        at_work: who annotates now.
        people: what each annotator has done.
        cost: so far.
        model: version of the newest model.
        trainings: complete ones.
        curve: None before the first figure.
        outlook: what one more training would bring, a sentence; empty when nobody knows.
        saving: what was saved by the strategy, likewise; empty without a study.
    """

    name: str
    labels: tuple[Label, ...]
    cases: int
    batch: str
    states: tuple[StateCount, ...]
    answered: int
    asked: int
    missing: int
    at_work: tuple[AtWork, ...]
    people: tuple[Effort, ...]
    cost: Cost
    model: str | None
    trainings: int
    curve: Curve | None
    outlook: str
    saving: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole page.

    Attributes:
        version: of the server.
        caller: who looks.
        now: seconds since 1970.
        machine: below the server.
        jobs: that run or wait.
        ended: the last ones.
        projects: all.
        tokens: all, the newest first; None for callers who may not see them.
        refresh: seconds until the next look.
    """

    version: str
    caller: Token
    now: float
    machine: Machine
    jobs: tuple[JobView, ...]
    ended: tuple[JobView, ...]
    projects: tuple[ProjectView, ...]
    tokens: tuple[Token, ...] | None
    refresh: int


def look(server: Server, caller: Token) -> Overview:
    """The server as `caller` may see it."""
    store = server.store
    projects = store.projects.list()
    names = {project.id: project.name for project in projects}
    jobs = unfinished(store, names)
    return Overview(
        version=__version__,
        caller=caller,
        now=store.database.now(),
        machine=machine(server.data, [f"{job.title} for {job.project}" for job in jobs if job.running]),
        jobs=jobs,
        ended=ended(store, names),
        projects=tuple(_project(store, project, server.settings.simulations) for project in projects),
        tokens=store.tokens.list()[::-1] if caller.role.covers(Role.ADMIN) else None,
        refresh=BUSY_SECONDS if jobs else QUIET_SECONDS,
    )


def _project(store: Store, project: Project, simulations: Simulations | None) -> ProjectView:
    known, counts = learning(store, project.id), store.patches.counts(project.id)
    people = efforts(store.database, project.id)
    # A query that found no room leaves no patches, and its batch is the newest one nevertheless.
    newest = max([*counts, known.next_training])
    states = _states(counts, newest)
    asked = sum(one.newest for one in states)
    cost = _cost(known, people, sum(one.all for one in states if one.state in SETTLED))
    outlook = outlook_out(known.newest)
    return ProjectView(
        name=project.name,
        labels=_labels(project, known),
        cases=store.cases.count(project.id),
        batch=f"batch {newest}" if newest else "patches for the start",
        states=states,
        answered=asked - sum(one.newest for one in states if one.state in _WAITING),
        asked=asked,
        missing=known.newest.get("missing", 0),
        at_work=_at_work(store, project.id),
        people=people,
        cost=cost,
        model=known.model,
        trainings=known.next_training,
        curve=draw(known.results, project.settings["labels"]),
        outlook=outlook.words if outlook else "",
        saving=_saving(simulations, project, cost, known.next_training),
    )


def _saving(simulations: Simulations | None, project: Project, cost: Cost, trainings: int) -> str:
    if simulations is None:
        return ""
    spent = Spent(cost.patches, cost.annotation, cost.computing)
    return saving_out(simulations, project.settings, spent, trainings).words


def _labels(project: Project, known: Learning) -> tuple[Label, ...]:
    holding: Mapping[str, int] = known.newest.get("classes", {})
    return tuple(
        Label(label["name"], colour_of(label, index), holding.get(label["name"]))
        for index, label in enumerate(project.settings["labels"])
    )


def _states(counts: Mapping[int, Mapping[PatchState, int]], newest: int) -> tuple[StateCount, ...]:
    if not counts:
        return ()
    return tuple(
        StateCount(
            state, counts.get(newest, {}).get(state, 0), sum(one.get(state, 0) for one in counts.values())
        )
        for state in PatchState
    )


def _at_work(store: Store, project: str) -> tuple[AtWork, ...]:
    now, found = store.database.now(), []
    for lease in store.leases.held(project):
        patch = store.patches.get(lease.patch)
        case = store.cases.get(patch.case).name
        found.append(AtWork(lease.holder, now - lease.granted, case, patch.rank))
    return tuple(found)


def _cost(known: Learning, people: tuple[Effort, ...], patches: int) -> Cost:
    seconds: list[Mapping[str, Any]] = [result["seconds"] for result in known.results]
    return Cost(
        annotation=sum(one.seconds for one in people),
        training=sum(one.get("train", 0.0) for one in seconds),
        computing=sum(sum(one.values()) for one in seconds),
        patches=patches,
    )
