"""Patches: the current batch, what clinicians place, and who works on what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Query, Response

from nnactive_server.api.access import Annotator, Viewer
from nnactive_server.api.bodies import PatchIn, StartIn
from nnactive_server.api.learning import learning
from nnactive_server.api.lists import listed, shown
from nnactive_server.api.once import OnceOnly
from nnactive_server.api.problems import Problem
from nnactive_server.api.replies import BatchOut, PatchOut
from nnactive_server.api.server import Here
from nnactive_server.api.views import patch_out
from nnactive_server.core.errors import Conflict, InvalidInput
from nnactive_server.core.patch import Patch
from nnactive_server.store import Lease, NewPatch, Origin, PatchState, Token

router = APIRouter(prefix="/v1", tags=["patches"])


@router.get("/projects/{project}/queries", response_model=BatchOut)
def current_batch(project: str, server: Here, caller: Viewer) -> Response:
    """The newest cycle's patches in the order of their ranks."""
    known = learning(server.store, project)
    # A query that found no room leaves no patches, and its batch is the current one nevertheless.
    cycle = max(server.store.patches.newest_cycle(project) or 0, known.next_training)
    patches = server.store.patches.list(project, cycle=cycle)
    return shown(
        BatchOut(
            cycle=cycle,
            model=known.model,
            patches=[patch_out(patch, caller) for patch in patches],
            missing=known.newest.get("missing", 0),
            shortages=known.newest.get("shortages", []),
        )
    )


@router.get("/projects/{project}/patches", response_model=list[PatchOut])
def list_patches(
    project: str,
    server: Here,
    caller: Viewer,
    state: PatchState | None = None,
    cycle: Annotated[int | None, Query(ge=0, le=1 << 31)] = None,
    case: str | None = None,
    limit: Annotated[int | None, Query(ge=1, le=10_000)] = None,
    offset: Annotated[int, Query(ge=0, le=1 << 31)] = 0,
) -> Response:
    """Patches by cycle and rank: all, or those of a state, cycle or case; pages with `limit` and `offset`."""
    most = -1 if limit is None else limit
    found = server.store.patches.list(project, cycle, state, case, most, offset)
    return listed(PatchOut, [patch_out(patch, caller) for patch in found])


@router.post("/projects/{project}/patches", status_code=201, response_model=PatchOut)
def place(project: str, body: PatchIn, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """A patch that a clinician places, for the start or at any later time."""

    def work() -> PatchOut:
        known = learning(server.store, project)
        new = NewPatch(body.case, Patch(body.box.start, body.box.size), None, body.group)
        made = server.store.patches.place(project, known.placing, new, caller.name)
        return patch_out(made, caller)

    return once(201, work)


@router.post("/projects/{project}/start-patches", status_code=201, response_model=BatchOut)
def draw_start(project: str, body: StartIn, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """Random patches for the start, which overlap neither each other nor those there; once a project."""
    earlier = once.earlier()
    if earlier is not None:
        return earlier
    owner = server.store.projects.get(project)
    if learning(server.store, project).placing:
        raise Problem(409, "training-begun", "Random patches are for the start; now the model proposes them.")
    cases = {case.name: case for case in server.store.cases.list(project)}
    if not cases:
        raise InvalidInput("count: the project has no images yet; add cases first")
    names = {case.id: case.name for case in cases.values()}
    taken: dict[str, list[dict[str, list[int]]]] = {}
    for patch in server.store.patches.list(project):
        box = {"start": list(patch.box.start), "size": list(patch.box.size)}
        taken.setdefault(names[patch.case], []).append(box)
    found = server.task(
        "start-patches",
        {
            "shapes": {name: list(case.geometry.shape) for name, case in cases.items()},
            "patch_size": owner.settings["patch_size"],
            "count": body.count,
            "seed": owner.settings["seed"],
            "taken": taken,
        },
    )
    batch = [
        NewPatch(cases[one["case"]].id, Patch(one["start"], one["size"]), None, "random")
        for one in found["patches"]
    ]

    def work() -> BatchOut:
        made = server.store.patches.propose(project, 0, batch, Origin.START)
        shown = [patch_out(patch, caller) for patch in made]
        return BatchOut(cycle=0, model=None, patches=shown, missing=body.count - len(made), shortages=[])

    return once(201, work)


@router.get("/patches/{patch}", response_model=PatchOut)
def read_patch(patch: str, server: Here, caller: Viewer) -> Response:
    """One patch; its revision is the ETag."""
    shown = patch_out(server.store.patches.get(patch), caller)
    return Response(
        shown.model_dump_json(), headers={"ETag": f'"{shown.revision}"'}, media_type="application/json"
    )


@router.post(
    "/projects/{project}/next", response_model=PatchOut, responses={204: {"description": "None left"}}
)
def lease_next(
    project: str,
    server: Here,
    caller: Annotator,
    once: OnceOnly,
    besides: Annotated[str, Query(max_length=4000)] = "",
    reading: Annotated[int, Query(ge=1, le=2)] = 1,
) -> Response:
    """Lease the first patch that waits for an answer and that nobody else holds; 204 when there is none.

    `besides` names patches to leave out, with commas, such as those fetched ahead. `reading=2` asks for one
    that a colleague has answered.
    """
    leases = server.store.leases
    find = leases.next_open if reading == 1 else leases.next_second_reading
    left_out = [one for one in besides.split(",") if one]
    seconds = server.settings.limits.lease_seconds

    def work() -> PatchOut | None:
        found = find(project, caller.name, seconds, None, left_out)
        return None if found is None else patch_out(found, caller)

    return once(200, work)


@router.post("/patches/{patch}/lease", response_model=PatchOut)
def take_lease(patch: str, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """Lease this patch, or prolong one's own lease of it."""

    def work() -> PatchOut:
        with _leased(caller):
            server.store.leases.take(patch, caller.name, server.settings.limits.lease_seconds)
        return patch_out(server.store.patches.get(patch), caller)

    return once(200, work)


@router.put("/patches/{patch}/lease", response_model=PatchOut)
def renew_lease(patch: str, server: Here, caller: Annotator, once: OnceOnly) -> Response:
    """The heartbeat: prolong a lease that has not ended."""

    def work() -> PatchOut:
        with _leased(caller):
            server.store.leases.renew(patch, caller.name, server.settings.limits.lease_seconds)
        return patch_out(server.store.patches.get(patch), caller)

    return once(200, work)


@router.delete("/patches/{patch}/lease")
def release_lease(patch: str, server: Here, caller: Annotator) -> PatchOut:
    """Give a lease back; fine when it has ended already."""
    server.store.leases.release(patch, caller.name)
    return patch_out(server.store.patches.get(patch), caller)


@contextmanager
def _leased(caller: Token) -> Iterator[None]:
    """Turn the store's conflict into one that says who works on the patch."""
    try:
        yield
    except Conflict as conflict:
        lease = conflict.current
        if isinstance(lease, Lease) and lease.holder != caller.name:
            text = f"{lease.holder} works on this patch."
            raise Problem(409, "leased", text, holder=lease.holder, expires=lease.expires) from conflict
        raise Problem(409, "lease-ended", str(conflict)) from conflict
