"""Values of the store as replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnactive_server.api.problems import public
from nnactive_server.api.replies import (
    AnswerOut,
    BoxOut,
    CaseOut,
    EventOut,
    JobOut,
    LabelOut,
    LabelsOut,
    LeaseOut,
    PatchOut,
    ProgressOut,
    ProjectOut,
)
from nnactive_server.store import (
    AnswerRecord,
    Case,
    Event,
    Job,
    Lease,
    Origin,
    PatchRecord,
    PatchState,
    Progress,
    Project,
    Token,
)

_OPEN = (PatchState.OPEN, PatchState.REFERRED)
SETTLED = (PatchState.ANSWERED, PatchState.CONFIRMED, PatchState.EMPTY)


def project_out(project: Project, cycles: int) -> ProjectOut:
    """A project; `cycles` trainings are complete."""
    given = dict(project.settings)
    labels = [LabelOut(**label) for label in given.pop("labels")]
    return ProjectOut(id=project.id, name=project.name, labels=labels, cycles=cycles, **given)


def case_out(
    case: Case, counts: Mapping[PatchState, int], quality: Mapping[str, float | None], model: str | None
) -> CaseOut:
    """A case.

    Args:
        case: as stored.
        counts: its patches by state.
        quality: predicted quality by case name, of the newest model.
        model: version of that model.
    """
    grid = case.geometry
    return CaseOut(
        id=case.id,
        name=case.name,
        shape=grid.shape,
        spacing=grid.spacing,
        origin=grid.origin,
        direction=grid.direction,
        annotated_patches=sum(counts.get(state, 0) for state in SETTLED),
        open_patches=sum(counts.get(state, 0) for state in _OPEN),
        predicted_quality=quality.get(case.name),
        model=model if case.name in quality else None,
    )


def patch_out(patch: PatchRecord, caller: Token) -> PatchOut:
    """A patch as the caller sees it."""
    why = dict(patch.explanation)
    sentence, class_name = why.pop("sentence", None), why.pop("class", None)
    return PatchOut(
        id=patch.id,
        project=patch.project,
        case=patch.case,
        cycle=patch.cycle,
        rank=patch.rank,
        box=BoxOut(start=patch.box.start, size=patch.box.size),
        group=patch.group,
        class_name=class_name,
        score=patch.score,
        why=why or None,
        sentence=sentence or _sentence(patch),
        origin=patch.origin,
        state=patch.state,
        revision=patch.revision,
        referred_to=patch.referred_to,
        placed_by=patch.placed_by,
        lease=_lease_out(patch.lease, caller),
        early=patch.early,
    )


def answer_out(
    record: AnswerRecord,
    label: LabelsOut | None = None,
    unsure: LabelsOut | None = None,
    prefill: LabelsOut | None = None,
) -> AnswerOut:
    """An answer, with its labels where they are given."""
    said = record.answer
    return AnswerOut(
        kind=said.kind,
        annotator=said.annotator,
        revision=record.revision,
        reading=record.reading,
        time=record.at,
        seconds=said.seconds,
        edits=said.edits,
        prefilled_model=said.prefill_model,
        comment=said.comment,
        reason=said.reason,
        refer_to=said.referred_to,
        label=label,
        unsure=unsure,
        prefill=prefill,
    )


def job_out(job: Job, position: int | None) -> JobOut:
    """A job; `position` is its place in the queue, from 1."""
    return JobOut(
        id=job.id,
        project=job.project,
        kind=job.kind,
        cycle=job.params.get("cycle"),
        state=job.state,
        position=position,
        progress=_progress_out(job.progress),
        log=[public(line) for line in job.log],
        error=public(job.error) or None,
        attempt=job.attempt,
        cancelling=job.cancel_requested,
        created=job.created,
        started=job.started,
        ended=job.finished,
    )


def event_out(event: Event) -> EventOut:
    """An event."""
    payload: dict[str, Any] = dict(event.payload)
    if "error" in payload:
        payload["error"] = public(payload["error"])
    return EventOut(
        seq=event.seq,
        project=event.project,
        kind=event.kind,
        subject=event.subject,
        payload=payload,
        time=event.at,
    )


def _lease_out(lease: Lease | None, caller: Token) -> LeaseOut | None:
    if lease is None:
        return None
    return LeaseOut(holder=lease.holder, expires=lease.expires, mine=lease.holder == caller.name)


def _progress_out(progress: Progress | None) -> ProgressOut | None:
    if progress is None:
        return None
    return ProgressOut(
        stage=progress.stage,
        done=progress.done,
        total=progress.total,
        detail=progress.detail,
        eta_seconds=progress.eta,
    )


def _sentence(patch: PatchRecord) -> str:
    if patch.origin == Origin.PLACED:
        return f"Placed by {patch.placed_by}."
    return "Drawn at random for the start." if patch.origin == Origin.START else ""
