"""What the server says, as values: boxes (z, y, x), world in mm (LPS), times in seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Index3 = tuple[int, int, int]
Float3 = tuple[float, float, float]


class Role(StrEnum):
    """What a token may do, from least to most."""

    VIEWER = "viewer"
    ANNOTATOR = "annotator"
    REVIEWER = "reviewer"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class PatchState(StrEnum):
    """States of a patch; a newer server may know further ones."""

    OPEN = "open"
    ANSWERED = "answered"
    CONFIRMED = "confirmed"
    EMPTY = "empty"
    SKIPPED = "skipped"
    REFERRED = "referred"


class JobState(StrEnum):
    """States of a job; a newer server may know further ones."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Health:
    """The server as a whole; devices are described by the server."""

    version: str
    protocol: int
    projects: int
    running_jobs: int
    queued_jobs: int
    disk_free_bytes: int
    devices: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """Whose token it is."""

    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Label:
    """A class. `colour` is `#rrggbb`; `terminology` is passed on as it was given."""

    name: str
    colour: str | None = None
    terminology: Any = None

    def to_json(self) -> dict[str, Any]:
        """What the server is told; nothing for what is not set."""
        given = {"name": self.name, "colour": self.colour, "terminology": self.terminology}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Project:
    """A project; labels are the foreground classes, the first has value 1."""

    id: str
    name: str
    labels: tuple[Label, ...]
    channels: tuple[str, ...]
    patch_size: Index3
    query_size: int
    strategy: str
    profile: str
    strategy_parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    profile_overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)
    planned_cycles: int = 0
    cycles: int = 0


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Settings by the guidelines, each with its reason.

    Attributes:
        patch_size: voxels (z, y, x).
        patch_mm: the same in mm (z, y, x).
        query_size: patches in a batch.
        cycles: trainings.
        class_sizes: median size (z, y, x; mm) of each class.
        reasons: a sentence for each of `patch_size`, `query_size` and `cycles`.
        warnings: sentences, each worth a decision.
    """

    patch_size: Index3
    patch_mm: Float3
    query_size: int
    cycles: int
    class_sizes: Mapping[str, Float3] = field(hash=False)
    reasons: Mapping[str, str] = field(hash=False)
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A case and its voxel grid: shape and spacing (z, y, x), origin and direction as ITK has them (LPS)."""

    id: str
    name: str
    shape: Index3
    spacing: Float3
    origin: Float3
    direction: tuple[float, ...]
    annotated_patches: int
    open_patches: int
    predicted_quality: float | None
    model: str | None


@dataclass(frozen=True, slots=True)
class Box:
    """Voxels of an image's own grid: first voxel and extent, (z, y, x)."""

    start: Index3
    size: Index3

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the box in a (z, y, x) array."""
        z, y, x = (slice(start, start + size) for start, size in zip(self.start, self.size, strict=True))
        return z, y, x

    @classmethod
    def around(cls, centre: Sequence[float], size: Index3, shape: Index3) -> Box:
        """A box with a voxel in its middle, moved and cut so that it lies in an image; all (z, y, x).

        Args:
            centre: voxel index, may lie between voxels.
            size: voxels; the box is smaller where the image is.
            shape: voxels of the image.
        """
        extent = [min(wanted, whole) for wanted, whole in zip(size, shape, strict=True)]
        first = [
            min(max(0, round(float(middle) - (one - 1) / 2)), whole - one)
            for middle, one, whole in zip(centre, extent, shape, strict=True)
        ]
        return cls((first[0], first[1], first[2]), (extent[0], extent[1], extent[2]))

    def to_json(self) -> dict[str, list[int]]:
        """As the server takes it in a body."""
        return {"start": list(self.start), "size": list(self.size)}

    def to_query(self) -> dict[str, str]:
        """As the server takes it in an address."""
        return {"start": ",".join(map(str, self.start)), "size": ",".join(map(str, self.size))}


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on a patch until when, and whether that is the caller."""

    holder: str
    expires: float
    mine: bool


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch.

    Attributes:
        rank: place in its cycle, from 1.
        group: the strategy's group; may be empty.
        class_name: name of the class the group stands for, if it stands for one.
        score: None when no query chose the patch.
        why: what speaks for it, as numbers; may be empty.
        sentence: the same for people.
        origin: `query`, `start` or `placed`.
        state: see `PatchState`.
        revision: of the newest answer; 0 before the first.
        referred_to: the colleague who should look at it.
        placed_by: who placed it.
        early: proposed while the training goes on; replaced when it ends, unless somebody has touched it.
    """

    id: str
    project: str
    case: str
    cycle: int
    rank: int
    box: Box
    group: str
    class_name: str | None
    score: float | None
    why: Mapping[str, Any] | None = field(hash=False)
    sentence: str
    origin: str
    state: str
    revision: int
    lease: Lease | None
    referred_to: str | None = None
    placed_by: str | None = None
    early: bool = False

    @property
    def taken(self) -> bool:
        """Whether somebody else works on it."""
        return self.lease is not None and not self.lease.mine


@dataclass(frozen=True, slots=True)
class Batch:
    """The current batch in rank order; `missing` patches were not found, for the reasons in `shortages`."""

    cycle: int
    model: str | None
    patches: tuple[Patch, ...]
    missing: int
    shortages: Any = field(hash=False)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is."""

    stage: str
    done: int
    total: int
    detail: str
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Job:
    """Long work on the server; `position` is its place in the queue while it waits."""

    id: str
    kind: str
    cycle: int | None
    state: str
    position: int | None
    progress: Progress | None
    log: tuple[str, ...]
    error: str | None
    created: float
    started: float | None
    ended: float | None
    cancelling: bool = False

    @property
    def finished(self) -> bool:
        """Whether it has come to an end, good or bad; one that was interrupted goes on."""
        return self.state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; numbers only grow. `subject` is the id of what it happened to."""

    seq: int
    project: str | None
    kind: str
    payload: Any = field(hash=False)
    time: float
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Events:
    """Events after a number, and the newest number there is."""

    events: tuple[Event, ...]
    last: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two readers agree on a patch, Dice per class; None where neither saw the class."""

    readers: tuple[str, ...]
    dice: Mapping[str, float | None] = field(hash=False)


@dataclass(frozen=True, slots=True)
class UploadState:
    """How far an upload is; `id` is empty when the server has the file already."""

    received: int
    done: bool = False
    id: str = ""
    chunk_bytes: int = 0
