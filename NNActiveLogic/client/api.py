"""The server's routes as typed methods. Each call ends in bounded time, with a value or a `ClientError`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from NNActiveLogic.client.addresses import part
from NNActiveLogic.client.answers import Answer, AnswerRecord
from NNActiveLogic.client.arrays import ArrayInfo, VoxelArray
from NNActiveLogic.client.download import Progress, fetch_array, fetch_file
from NNActiveLogic.client.parsing import parse, parse_list
from NNActiveLogic.client.statistics import Statistics
from NNActiveLogic.client.transport import Call, Limits, Transport
from NNActiveLogic.client.upload import has_blob, upload_file
from NNActiveLogic.client.values import (
    Agreement,
    Batch,
    Box,
    Case,
    Events,
    Float3,
    Health,
    Job,
    Label,
    Patch,
    Person,
    Project,
    Suggestion,
)

T = TypeVar("T")
EXPORT_BYTES = 1 << 36
"""Most bytes of an export; models are large."""


class Client:
    """A server, seen with one token.

    Every method raises `ClientError`; which one says what failed. What is asked twice, because an answer got
    lost, happens once: each change carries an Idempotency-Key.

    Args:
        url: the server's address.
        token: of the user.
        limits: time and size.
        ca_file: certificates (PEM) to trust instead of the usual ones.
        allow_plain_http: unencrypted connections to other machines are allowed.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        limits: Limits | None = None,
        ca_file: Path | None = None,
        allow_plain_http: bool = False,
    ) -> None:
        self.transport = Transport(
            url, token, limits=limits, ca_file=ca_file, allow_plain_http=allow_plain_http
        )

    def __repr__(self) -> str:
        return f"Client({self.transport.address.url!r})"

    def close(self) -> None:
        """End pauses between attempts and drop the connections."""
        self.transport.close()

    # The server and its users

    def health(self) -> Health:
        """The server as a whole."""
        return self._get(Health, "/v1/health")

    def me(self) -> Person:
        """Whose token this is."""
        return self._get(Person, "/v1/me")

    def events(self, after: int, wait: float = 0.0, project: str | None = None) -> Events:
        """What happened after an event; waits up to `wait` seconds for the first."""
        query = {"after": str(after), "wait": f"{wait:g}", **({"project": project} if project else {})}
        call = Call("GET", "/v1/events", query=query, extra_seconds=wait)
        return parse(Events, self.transport.json(call), "events")

    # Projects

    def projects(self) -> tuple[Project, ...]:
        """All projects."""
        return self._list(Project, "/v1/projects", "projects")

    def project(self, project: str) -> Project:
        """One project."""
        return self._get(Project, f"/v1/projects/{part(project)}")

    def create_project(
        self, name: str, labels: Sequence[Label], channels: Sequence[str], **settings: Any
    ) -> Project:
        """A new project.

        Args:
            name: for people.
            labels: foreground classes; the first gets value 1.
            channels: name of each image channel.
            settings: patch_size, query_size, strategy, strategy_parameters, profile, profile_overrides; the
                server fills in what is not given.
        """
        body = {
            "name": name,
            "labels": [label.to_json() for label in labels],
            "channels": list(channels),
            **settings,
        }
        return self._send(Project, "POST", "/v1/projects", body)

    def change_project(self, project: str, **settings: Any) -> Project:
        """Change query_size, strategy, strategy_parameters, profile or patch_size."""
        return self._send(Project, "PATCH", f"/v1/projects/{part(project)}", settings)

    def suggestion(
        self,
        project: str,
        boxes: Mapping[str, Sequence[Float3]],
        variable: Sequence[str] = (),
        interest: Sequence[str] = (),
    ) -> Suggestion:
        """Settings by the guidelines; changes nothing.

        Args:
            project: id.
            boxes: rough sizes (z, y, x; mm) of a few structures of each class, by its name.
            variable: classes that look different from case to case.
            interest: classes that set the patch size; all when empty.
        """
        body = {
            "boxes": {name: [list(size) for size in sizes] for name, sizes in boxes.items()},
            "variable": list(variable),
            "interest": list(interest),
        }
        return self._send(Suggestion, "POST", f"/v1/projects/{part(project)}/suggestion", body)

    def statistics(self, project: str) -> Statistics:
        """Learning curve, balance and cost."""
        return self._get(Statistics, f"/v1/projects/{part(project)}/statistics")

    # Cases and their arrays

    def has_file(self, sha256: str) -> bool:
        """Whether the server has a file of this content."""
        return has_blob(self.transport, sha256)

    def upload(self, path: Path, progress: Progress | None = None) -> str:
        """Bring a file to the server unless it is there; returns its SHA-256."""
        return upload_file(self.transport, path, progress)

    def cases(self, project: str) -> tuple[Case, ...]:
        """All cases of a project."""
        return self._list(Case, f"/v1/projects/{part(project)}/cases", "cases")

    def case(self, case: str) -> Case:
        """One case."""
        return self._get(Case, f"/v1/cases/{part(case)}")

    def add_case(self, project: str, channels: Sequence[str], name: str | None = None) -> Case:
        """A case from uploaded files, one for each channel, given by SHA-256."""
        body = {"channels": list(channels), **({"name": name} if name else {})}
        return self._send(Case, "POST", f"/v1/projects/{part(project)}/cases", body)

    def add_case_on_server(self, project: str, server_path: str) -> Case:
        """A case from a file that lies on the server, below a folder its operator allowed."""
        path = f"/v1/projects/{part(project)}/cases"
        return self._send(Case, "POST", path, {"server_path": server_path})

    def image(self, case: str, channel: int = 0, box: Box | None = None) -> VoxelArray:
        """Voxels of a channel, all or those of a box."""
        return fetch_array(self.transport, _image(case, channel, box))

    def save_image(
        self, case: str, target: Path, channel: int = 0, progress: Progress | None = None
    ) -> ArrayInfo | None:
        """Raw voxels of a channel as a file; a broken download goes on where it stopped."""
        limit = self.transport.limits.array_bytes
        return fetch_file(self.transport, _image(case, channel, None), target, limit=limit, progress=progress)

    def prediction(self, case: str, box: Box | None = None) -> VoxelArray:
        """Label values as predicted; NotFoundOnServer with code `not-predicted` before there is a model."""
        return fetch_array(self.transport, _array(case, "prediction", box))

    def uncertainty(self, case: str, measure: str, box: Box | None = None) -> VoxelArray:
        """A map: `predictive_entropy`, `mutual_information` or `class-N`; otherwise like `prediction`."""
        return fetch_array(self.transport, _array(case, f"maps/{part(measure)}", box))

    # Patches

    def queries(self, project: str) -> Batch:
        """The current batch."""
        return self._get(Batch, f"/v1/projects/{part(project)}/queries")

    def patches(self, project: str, state: str | None = None, cycle: int | None = None) -> tuple[Patch, ...]:
        """All patches, or those of a state or cycle."""
        wanted = {"state": state, "cycle": None if cycle is None else str(cycle)}
        query = {key: value for key, value in wanted.items() if value is not None}
        return self._list(Patch, f"/v1/projects/{part(project)}/patches", "patches", query)

    def place_patch(self, project: str, case: str, box: Box, group: str | None = None) -> Patch:
        """A patch that a clinician chose."""
        body = {"case": case, "box": box.to_json(), **({"group": group} if group else {})}
        return self._send(Patch, "POST", f"/v1/projects/{part(project)}/patches", body)

    def start_patches(self, project: str, count: int) -> Batch:
        """Random patches for the start; once a project, before its first training."""
        return self._send(Batch, "POST", f"/v1/projects/{part(project)}/start-patches", {"count": count})

    def patch(self, patch: str) -> Patch:
        """One patch."""
        return self._get(Patch, f"/v1/patches/{part(patch)}")

    def next_patch(self, project: str, besides: Sequence[str] = (), reading: int = 1) -> Patch | None:
        """Lease the next open patch that nobody else holds; None when there is none left.

        Args:
            project: id.
            besides: patches to leave out, such as those fetched ahead; at most about a hundred.
            reading: 2 for one that a colleague has answered and that nobody has read a second time.
        """
        given = {"besides": ",".join(map(part, besides)), "reading": "" if reading == 1 else str(reading)}
        query = {key: value for key, value in given.items() if value}
        found = self.transport.json(Call("POST", f"/v1/projects/{part(project)}/next", query=query))
        return None if found is None else parse(Patch, found, "patch")

    def lease(self, patch: str) -> Patch:
        """Lease this patch; raises Leased when somebody else works on it."""
        return self._send(Patch, "POST", f"/v1/patches/{part(patch)}/lease")

    def heartbeat(self, patch: str, attempts: int | None = None) -> Patch:
        """Prolong one's own lease; raises Conflict when it has ended, Leased when somebody else has it."""
        call = Call("PUT", f"/v1/patches/{part(patch)}/lease")
        return parse(Patch, self.transport.json(call, attempts), "patch")

    def release(self, patch: str) -> None:
        """Give a lease back."""
        self.transport.json(Call("DELETE", f"/v1/patches/{part(patch)}/lease"))

    # Answers

    def annotate(self, patch: str, answer: Answer, revision: int) -> Patch:
        """Answer a patch as seen in a revision; raises Conflict, with the newest answer, when it has changed.

        Work that must not get lost goes through the outbox instead.
        """
        return self.send_answer(patch, answer.to_json(), revision)

    def send_answer(
        self,
        patch: str,
        body: Mapping[str, Any],
        revision: int,
        key: str | None = None,
        attempts: int | None = None,
    ) -> Patch:
        """The same with a prepared body and one's own Idempotency-Key, as the outbox needs it."""
        headers = {"If-Match": f'"{revision}"', **({"Idempotency-Key": key} if key else {})}
        call = Call("PUT", f"/v1/patches/{part(patch)}/annotation", json=dict(body), headers=headers)
        return parse(Patch, self.transport.json(call, attempts), "patch")

    def second_reading(self, patch: str, answer: Answer) -> Patch:
        """Answer a patch that a colleague has answered, without having seen theirs."""
        return self.send_second_reading(patch, answer.to_json())

    def send_second_reading(
        self, patch: str, body: Mapping[str, Any], key: str | None = None, attempts: int | None = None
    ) -> Patch:
        """The same with a prepared body and one's own Idempotency-Key."""
        headers = {"Idempotency-Key": key} if key else {}
        call = Call("POST", f"/v1/patches/{part(patch)}/second-reading", json=dict(body), headers=headers)
        return parse(Patch, self.transport.json(call, attempts), "patch")

    def answer(self, patch: str, revision: int | None = None) -> AnswerRecord:
        """An answer with its labels: the newest, or that of a revision."""
        query = {} if revision is None else {"revision": str(revision)}
        call = Call("GET", f"/v1/patches/{part(patch)}/annotation", query=query)
        return parse(AnswerRecord, self.transport.json(call), "answer")

    def history(self, patch: str) -> tuple[AnswerRecord, ...]:
        """All answers to a patch, without labels."""
        return self._list(AnswerRecord, f"/v1/patches/{part(patch)}/history", "answers")

    def reopen(self, patch: str) -> Patch:
        """Make an answered patch open again; its history stays."""
        return self._send(Patch, "POST", f"/v1/patches/{part(patch)}/reopen")

    def agreement(self, patch: str) -> Agreement:
        """How well two readers agree."""
        return self._get(Agreement, f"/v1/patches/{part(patch)}/agreement")

    # Training

    def start_cycle(self, project: str, early: bool = False) -> Job:
        """Train, evaluate and query; Conflict with code `nothing-annotated` or `running` when it cannot.

        With `early` patches are also proposed from the first part of the training; those nobody has touched
        are replaced when it ends.
        """
        body = {"early": True} if early else None
        return self._send(Job, "POST", f"/v1/projects/{part(project)}/cycles", body)

    def jobs(self, project: str) -> tuple[Job, ...]:
        """All jobs of a project."""
        return self._list(Job, f"/v1/projects/{part(project)}/jobs", "jobs")

    def job(self, job: str) -> Job:
        """One job."""
        return self._get(Job, f"/v1/jobs/{part(job)}")

    def cancel(self, job: str) -> Job:
        """Ask a job to stop at its next checkpoint."""
        return self._send(Job, "POST", f"/v1/jobs/{part(job)}/cancel")

    def resume(self, job: str) -> Job:
        """Queue a job that was cancelled or failed again; it goes on from its last checkpoint."""
        return self._send(Job, "POST", f"/v1/jobs/{part(job)}/resume")

    # Export

    def start_export(self, project: str) -> Job:
        """Have model, labels and list of answers gathered; Conflict, code `no-model`, before there is one."""
        return self._send(Job, "POST", f"/v1/projects/{part(project)}/export")

    def save_export(self, job: str, target: Path, progress: Progress | None = None) -> None:
        """What a job that has succeeded gathered, as a zip; a broken download goes on where it stopped."""
        call = Call("GET", f"/v1/jobs/{part(job)}/file")
        fetch_file(self.transport, call, target, limit=EXPORT_BYTES, progress=progress)

    def _get(self, kind: type[T], path: str) -> T:
        return parse(kind, self.transport.json(Call("GET", path)), kind.__name__.lower())

    def _send(self, kind: type[T], method: str, path: str, body: Any = None) -> T:
        return parse(kind, self.transport.json(Call(method, path, json=body)), kind.__name__.lower())

    def _list(
        self, kind: type[T], path: str, key: str, query: Mapping[str, str] | None = None
    ) -> tuple[T, ...]:
        found = self.transport.json(Call("GET", path, query=query or {}))
        return parse_list(kind, found, key)


def _image(case: str, channel: int, box: Box | None) -> Call:
    query = {"channel": str(channel), **(box.to_query() if box else {})}
    return Call("GET", f"/v1/cases/{part(case)}/image", query=query)


def _array(case: str, what: str, box: Box | None) -> Call:
    return Call("GET", f"/v1/cases/{part(case)}/{what}", query=box.to_query() if box else {})
