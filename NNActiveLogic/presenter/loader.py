"""All that is shown of a patch, fetched on a thread and kept in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import prod

import numpy as np

from NNActiveLogic.client.answers import AnswerRecord, Kind
from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.errors import NotFoundOnServer
from NNActiveLogic.client.outbox import Entry
from NNActiveLogic.client.values import Box, Case, Patch
from NNActiveLogic.presenter.cache import ArrayCache, Key
from NNActiveLogic.presenter.desk import Desk
from NNActiveLogic.presenter.disputes import crop_of
from NNActiveLogic.work import PatchView

WHOLE_MAP_VOXELS = 1 << 24
"""Maps of larger images are loaded round the box only."""
CONTEXT = 1.0
"""So many sizes of the box on each side of it, where not the whole map is loaded."""


class Origin(StrEnum):
    """What the work on a patch starts from."""

    NOTHING = "nothing"
    PREDICTION = "prediction"
    EARLIER = "earlier"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What the work on a patch starts from.

    Attributes:
        origin: see `Origin`.
        labels: label values of the box; None to start empty.
        unsure: voxels of the box that an earlier answer left open.
        model: whose prediction it is, or was.
        seconds: that somebody worked on it already.
    """

    origin: Origin
    labels: np.ndarray | None = field(default=None, repr=False)
    unsure: np.ndarray | None = field(default=None, repr=False)
    model: str | None = None
    seconds: float = 0.0


class Loader:
    """Makes views of patches. `load` runs on a thread, everything else on that of the windows.

    Args:
        desk: of the project.
        cache: for voxels.
    """

    def __init__(self, desk: Desk, cache: ArrayCache) -> None:
        self._desk, self._cache = desk, cache
        self._cases: dict[str, Case] = {}
        self._versions: tuple[str, ...] = ()

    def know(self, cases: Iterable[Case]) -> None:
        """These cases need not be asked for."""
        self._cases.update({case.id: case for case in cases})

    def case_name(self, case: str) -> str:
        """Of a case, for people; empty when it is not known."""
        return self._cases[case].name if case in self._cases else ""

    def models(self, versions: Sequence[str]) -> None:
        """The project's models, oldest first: what comes from any but the newest is stale."""
        if tuple(versions) != self._versions:
            self._versions = tuple(versions)
            self._cache.drop(lambda key: key[0] in ("heat", "start"))

    def is_stale(self, model: str | None) -> bool:
        """Whether a model is older than the newest."""
        return model in self._versions[:-1]

    def keys(self, patch: Patch) -> tuple[Key, ...]:
        """Where what is shown of a patch is kept."""
        return (_image_key(patch), self._heat_key(patch), self._start_key(patch))

    def view(self, patch: Patch, start: Start | None = None) -> PatchView | None:
        """A view from the cache; None when something has to be loaded first.

        Args:
            patch: to be shown.
            start: what the work starts from; what was loaded unless given.
        """
        case = self._cases.get(patch.case)
        try:
            image, heat = self._cache.get(_image_key(patch)), self._cache.get(self._heat_key(patch))
            start = start or self._cache.get(self._start_key(patch))
        except KeyError:
            return None
        if case is None or start is None:
            return None
        model = heat.info.model if heat is not None else start.model
        return PatchView(
            patch=patch,
            case=case,
            labels=self._desk.project.labels,
            image=image,
            heat=heat,
            prefill=start.labels,
            unsure=start.unsure,
            stale=self.is_stale(model) or self.is_stale(start.model),
            model=model,
        )

    def start(self, patch: Patch) -> Start:
        """What the work on a loaded patch starts from; raises KeyError when it is not loaded."""
        found: Start = self._cache.get(self._start_key(patch))
        return found

    def load(self, patch: Patch) -> None:
        """Fetch what is not in the cache; raises ClientError. The smallest first, as it decides the least."""
        case = self._cases.get(patch.case) or self._desk.client.case(patch.case)
        self._cases[case.id] = case
        self.fetch_heat(patch, self._desk.preferences.heat.measure)
        key = self._start_key(patch)
        if key not in self._cache:
            start = self._first_start(patch)
            self._cache.put(key, start, sum(a.nbytes for a in (start.labels, start.unsure) if a is not None))
        self.fetch_image(case.id)

    def fetch_image(self, case: str) -> VoxelArray:
        """Channel 0 of a whole case, loaded when needed. On a thread; raises ClientError."""
        key = ("image", case)
        try:
            found: VoxelArray = self._cache.get(key)
        except KeyError:
            found = self._desk.client.image(case)
            self._cache.put(key, found, found.values.nbytes)
        return found

    def fits_ahead(self, patch: Patch) -> bool:
        """Whether the image may be worth loading ahead; small voxel types are assumed."""
        case = self._cases.get(patch.case)
        return case is None or 2 * prod(case.shape) <= self._cache.limit

    def heat(self, patch: Patch, measure: str) -> VoxelArray | None:
        """A heat map from the cache; raises KeyError when it is not there."""
        found: VoxelArray | None = self._cache.get(self._heat_key(patch, measure))
        return found

    def fetch_heat(self, patch: Patch, measure: str) -> VoxelArray | None:
        """A heat map, loaded when needed; None before there is a model. On a thread; raises ClientError."""
        key = self._heat_key(patch, measure)
        if key not in self._cache:
            try:
                found = _drawable(self._desk.client.uncertainty(patch.case, measure, self._heat_box(patch)))
            except NotFoundOnServer:
                found = None
            self._cache.put(key, found, 0 if found is None else found.values.nbytes)
            return found
        return self.heat(patch, measure)

    def _first_start(self, patch: Patch) -> Start:
        if patch.revision > 0 and self._desk.preferences.reading == 1:
            earlier = self._earlier(patch)
            if earlier is not None:
                return earlier
        if not self._desk.preferences.prefill:
            return Start(Origin.NOTHING)
        try:
            found = self._desk.client.prediction(patch.case, patch.box)
        except NotFoundOnServer:
            return Start(Origin.NOTHING)
        return Start(Origin.PREDICTION, found.values.astype(np.uint8), None, found.info.model)

    def _earlier(self, patch: Patch) -> Start | None:
        """What was said about a patch before; None when that holds no labels."""
        try:
            record = self._desk.client.answer(patch.id)
            if record.kind not in list(Kind) and record.revision > 1:
                # Taken back: what counts is what was there before.
                record = self._desk.client.answer(patch.id, record.revision - 1)
        except NotFoundOnServer:
            return None
        return _from_record(record, patch.box, self._desk.person)

    def _start_key(self, patch: Patch) -> Key:
        chosen = self._desk.preferences
        return ("start", patch.id, patch.revision, chosen.prefill, chosen.reading)

    def _heat_key(self, patch: Patch, measure: str | None = None) -> Key:
        return ("heat", patch.case, measure or self._desk.preferences.heat.measure, self._heat_box(patch))

    def _heat_box(self, patch: Patch) -> Box | None:
        case = self._cases.get(patch.case)
        if case is None or prod(case.shape) <= WHOLE_MAP_VOXELS:
            return None
        return with_context(patch.box, case.shape)


def _drawable(heat: VoxelArray) -> VoxelArray:
    """A heat map in the type that is drawn: turned here, as it takes long where the windows are."""
    return replace(heat, values=heat.values.astype(np.float32, copy=False))


def with_context(box: Box, shape: Sequence[int]) -> Box:
    """A box with `CONTEXT` of its own size round it, as far as the image goes; (z, y, x)."""
    margin = [round(CONTEXT * size) for size in box.size]
    first = [max(0, start - more) for start, more in zip(box.start, margin, strict=True)]
    ends = [start + size + more for start, size, more in zip(box.start, box.size, margin, strict=True)]
    extent = [min(end, whole) - low for end, whole, low in zip(ends, shape, first, strict=True)]
    return Box((first[0], first[1], first[2]), (extent[0], extent[1], extent[2]))


def from_entry(entry: Entry, box: Box) -> Start:
    """What an unsent answer said."""
    labels, unsure = crop_of(entry.body, "label"), crop_of(entry.body, "unsure")
    if labels is None and entry.body.get("kind") == Kind.EMPTY:
        labels = np.zeros(box.size, np.uint8)
    return Start(
        Origin.EARLIER, labels, None if unsure is None else unsure != 0, seconds=_seconds(entry.body)
    )


def _from_record(record: AnswerRecord, box: Box, person: str) -> Start | None:
    labels = record.labels(box.size)
    if labels is None and record.kind == Kind.EMPTY:
        labels = np.zeros(box.size, np.uint8)
    if labels is None:
        return None
    # The newest answer stands for all the time that its author spent on the patch.
    seconds = record.seconds if record.annotator == person else 0.0
    return Start(Origin.EARLIER, labels, record.unsure_mask(box.size), seconds=seconds)


def _seconds(body: Mapping[str, object]) -> float:
    value = body.get("seconds")
    return float(value) if isinstance(value, int | float) else 0.0


def _image_key(patch: Patch) -> Key:
    return ("image", patch.case)
