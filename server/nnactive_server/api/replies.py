"""What the server says: the models of its replies. Boxes are (z, y, x) voxels, times seconds since 1970."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

Index3 = tuple[int, int, int]
Float3 = tuple[float, float, float]


class Out(BaseModel):
    """A reply."""

    model_config = ConfigDict(frozen=True)


class HealthOut(Out):
    """The server as a whole."""

    version: str
    protocol: int
    projects: int
    running_jobs: int
    queued_jobs: int
    disk_free_bytes: int
    devices: list[dict[str, Any]]


class PersonOut(Out):
    """Whose token it is."""

    name: str
    role: str


class LabelOut(Out):
    """A class; its value in label maps is its place in the list, from 1."""

    name: str
    colour: str | None = None
    terminology: Any = None


class ProjectOut(Out):
    """A project."""

    id: str
    name: str
    labels: list[LabelOut]
    channels: list[str]
    patch_size: Index3
    query_size: int
    strategy: str
    strategy_parameters: dict[str, Any]
    profile: str
    profile_overrides: dict[str, Any]
    planned_cycles: int
    seed: int
    cycles: int


class SuggestionOut(Out):
    """Settings by the guidelines, each with its reason."""

    patch_size: Index3
    patch_mm: Float3
    query_size: int
    cycles: int
    class_sizes: dict[str, Float3]
    reasons: dict[str, str]
    warnings: list[str]


class UploadOut(Out):
    """An upload as it stands."""

    id: str = ""
    received: int
    done: bool = False
    chunk_bytes: int = 0


class CaseOut(Out):
    """A case and its voxel grid: shape and spacing (z, y, x), origin in mm (LPS), direction as ITK has it."""

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


class BoxOut(Out):
    """Voxels (z, y, x) of an image's own grid."""

    start: Index3
    size: Index3


class LeaseOut(Out):
    """Who works on a patch."""

    holder: str
    expires: float
    mine: bool


class PatchOut(Out):
    """A patch."""

    id: str
    project: str
    case: str
    cycle: int
    rank: int
    box: BoxOut
    group: str
    class_name: str | None
    score: float | None
    why: dict[str, Any] | None
    sentence: str
    origin: str
    state: str
    revision: int
    referred_to: str | None
    placed_by: str | None
    lease: LeaseOut | None
    early: bool


class BatchOut(Out):
    """The current batch."""

    cycle: int
    model: str | None
    patches: list[PatchOut]
    missing: int
    shortages: list[Any]


class LabelsOut(Out):
    """Labels of a box, as in `LabelsIn`."""

    encoding: str
    dtype: str
    shape: Index3
    data: str


class AnswerOut(Out):
    """An answer; `label` and `unsure` only where one answer is asked for."""

    kind: str
    annotator: str
    revision: int
    reading: int
    time: float
    seconds: float
    edits: int
    prefilled_model: str | None
    comment: str
    reason: str | None
    refer_to: str | None
    label: LabelsOut | None = None
    unsure: LabelsOut | None = None
    prefill: LabelsOut | None = None


class AgreementOut(Out):
    """How well two readers agree: Dice of each class, None where neither saw it."""

    readers: list[str]
    dice: dict[str, float | None]


class ProgressOut(Out):
    """How far a job is."""

    stage: str
    done: int
    total: int
    detail: str
    eta_seconds: float | None


class JobOut(Out):
    """Long work."""

    id: str
    project: str
    kind: str
    cycle: int | None
    state: str
    position: int | None
    progress: ProgressOut | None
    log: list[str]
    error: str | None
    attempt: int
    cancelling: bool
    created: float
    started: float | None
    ended: float | None


class CycleOut(Out):
    """A point of the learning curve. Minutes are active annotation time so far."""

    cycle: int
    model: str
    patches: int
    foreground_voxels: int
    annotated_voxels: int
    minutes: float
    mean_dice: float | None
    dice_per_class: dict[str, float | None] | None
    fold_spread: dict[str, float | None] | None
    independent: bool
    before_training: dict[str, float | None] | None
    seconds: dict[str, float]


class RangeOut(Out):
    """An expected value with its interval."""

    low: float
    mean: float
    high: float


class OutlookOut(Out):
    """What one more cycle would bring: gain of Mean Dice (0 to 1), and whether that is worth its work.

    `gain` and `worth` are null when there is not enough data to say. `patches` would be annotated; the curve
    has `trainings` points, of Dice on cases held out of training (`held-out`) or on answers that the model
    had not seen yet (`before-training`).
    """

    gain: RangeOut | None
    worth: bool | None
    patches: int
    trainings: int
    judged_on: str
    words: str


class SimulationOut(Out):
    """Simulations that a saving rests on: one setting of a study, and its paired runs."""

    study: str
    dataset: str
    regime: str
    profile: str
    seeds: int


class SavingOut(Out):
    """What was probably saved against a baseline so far; null when there is not enough data to say.

    `share` is saved of the baseline's patches for the same Dice, by simulation; `patches` and `hours` are
    what that makes of this project's own answers and their time. `..._by_foreground`: if marking structures
    takes the time, and not each patch the same. Negative: more was needed. What computing took is not taken
    off, because it is no annotator's time.
    """

    baseline: str | None
    share: RangeOut | None = None
    share_by_foreground: RangeOut | None = None
    patches: RangeOut | None = None
    hours: RangeOut | None = None
    hours_by_foreground: RangeOut | None = None
    compute_hours: float
    rests_on: list[SimulationOut] = []
    words: str


class StatisticsOut(Out):
    """Learning curve, annotated patches that hold each class, and what it cost so far.

    `outlook` is null before the first training.
    """

    cycles: list[CycleOut]
    balance: dict[str, int]
    cost: dict[str, float]
    outlook: OutlookOut | None = None
    saving: SavingOut | None = None


class EventOut(Out):
    """Something that happened."""

    seq: int
    project: str | None
    kind: str
    subject: str
    payload: dict[str, Any]
    time: float


class EventsOut(Out):
    """Events after a number, and the newest number of all."""

    events: list[EventOut]
    last: int
