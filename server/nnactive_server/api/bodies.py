"""What clients may send: closed models, so that an unknown key is an error and not a silent loss."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_CLASSES = 200
MAX_CHANNELS = 16
MAX_PATCH_VOXELS = 1 << 24
"""Of one box, 256 cubed: label maps of a box are in memory several times while an answer is taken in."""
MAX_TERMINOLOGY = 8192
"""Characters of a class's terminology as JSON."""
_DEEPEST = 16
_LARGEST = 2**53
"""Whole numbers up to here are the same in every program that reads JSON."""


def _one_line(text: str) -> str:
    """A name for people: no control characters, and none that change the direction of what is read."""
    if not text.isprintable() or text != text.strip():
        raise ValueError("needs printable characters without blanks around them")
    return text


def _fits(size: tuple[int, int, int]) -> tuple[int, int, int]:
    if math.prod(size) > MAX_PATCH_VOXELS:
        raise ValueError(f"has {math.prod(size)} voxels; a patch has at most {MAX_PATCH_VOXELS}")
    return size


def _plain(value: Any) -> Any:
    """JSON that can be stored, sent again and read by any program."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
    except (ValueError, RecursionError):
        raise ValueError("needs finite numbers, whole characters and few levels") from None
    if len(text) > MAX_TERMINOLOGY or not _shallow(value, _DEEPEST):
        raise ValueError(f"needs at most {MAX_TERMINOLOGY} characters and {_DEEPEST} levels")
    return value


def _shallow(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_shallow(one, levels - 1) for one in inside)


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_one_line)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
Key = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Extent = Annotated[int, Field(ge=1, le=1 << 16, strict=True)]
Index = Annotated[int, Field(ge=0, le=1 << 16, strict=True)]
Size3 = tuple[Extent, Extent, Extent]
Start3 = tuple[Index, Index, Index]
Patch3 = Annotated[Size3, AfterValidator(_fits)]
Millimetres = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
Extent3 = tuple[Millimetres, Millimetres, Millimetres]
Whole = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
Value = Annotated[str, StringConstraints(max_length=200)] | bool | Whole | float | None
Parameters = Annotated[dict[Key, Value], Field(max_length=50)]


class Body(BaseModel):
    """A closed model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LabelIn(Body):
    """A class; `terminology` is kept as it is."""

    name: Name
    colour: Colour | None = None
    terminology: Annotated[Any, AfterValidator(_plain)] = None


class ProjectIn(Body):
    """A new project; what is not given has the default of the server."""

    name: Name
    labels: Annotated[list[LabelIn], Field(min_length=1, max_length=MAX_CLASSES)]
    channels: Annotated[list[Name], Field(min_length=1, max_length=MAX_CHANNELS)]
    patch_size: Patch3 = (32, 32, 32)
    query_size: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 20
    strategy: Name = "clasp-pe"
    strategy_parameters: Parameters = Field(default_factory=dict)
    profile: Name = "fast-cpu"
    profile_overrides: Parameters = Field(default_factory=dict)
    planned_cycles: Annotated[int, Field(ge=1, le=1000, strict=True)] = 5
    seed: Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)] = 12345


class ProjectChange(Body):
    """Settings that may change later; what is not given stays."""

    patch_size: Patch3 | None = None
    query_size: Annotated[int, Field(ge=1, le=10_000, strict=True)] | None = None
    strategy: Name | None = None
    strategy_parameters: Parameters | None = None
    profile: Name | None = None
    profile_overrides: Parameters | None = None
    planned_cycles: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None


class SuggestionIn(Body):
    """Rough sizes (z, y, x; mm) of a few structures of each class, as somebody measured them by eye."""

    boxes: Annotated[
        dict[Name, Annotated[list[Extent3], Field(max_length=1000)]],
        Field(min_length=1, max_length=MAX_CLASSES),
    ]
    variable: Annotated[list[Name], Field(max_length=MAX_CLASSES)] = Field(default_factory=list)
    interest: Annotated[list[Name], Field(max_length=MAX_CLASSES)] = Field(default_factory=list)


class UploadIn(Body):
    """A file that is to come."""

    sha256: Sha256
    size: Annotated[int, Field(ge=1, le=_LARGEST, strict=True)]


class CaseIn(Body):
    """A case: uploaded files, one a channel, or a file on the server."""

    channels: Annotated[list[Sha256], Field(min_length=1, max_length=MAX_CHANNELS)] | None = None
    server_path: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> CaseIn:
        if (self.channels is None) == (self.server_path is None):
            raise ValueError("give either 'channels' or 'server_path'")
        return self


class FolderIn(Body):
    """A folder on the server whose images become cases."""

    server_path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    keep_names: bool = False


class BoxIn(Body):
    """Voxels (z, y, x) of an image's own grid."""

    start: Start3
    size: Patch3


class PatchIn(Body):
    """A patch that somebody places."""

    case: Name
    box: BoxIn
    group: Annotated[str, StringConstraints(max_length=200), AfterValidator(_one_line)] = ""


class StartIn(Body):
    """Random patches for the start."""

    count: Annotated[int, Field(ge=1, le=10_000, strict=True)]


class CycleIn(Body):
    """A training; with `early` patches are proposed from its first part, and replaced when it ends."""

    early: Annotated[bool, Field(strict=True)] = False


class LabelsIn(Body):
    """Labels of a box (z, y, x): base64 of the zlib-compressed bytes in C order."""

    encoding: Literal["zlib"]
    dtype: Literal["uint8"]
    shape: Patch3
    data: str


class AnswerIn(Body):
    """What an annotator says about a patch."""

    kind: Literal["labelled", "confirmed", "empty", "skipped", "referred"]
    label: LabelsIn | None = None
    unsure: LabelsIn | None = None
    seconds: Annotated[float, Field(ge=0, le=1e7)] = 0.0
    edits: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    prefilled_model: Name | None = None
    comment: Annotated[str, StringConstraints(max_length=4000)] = ""
    reason: Literal["bad-image", "cannot-tell", "out-of-scope"] | None = None
    refer_to: Name | None = None
