"""Another strategy for a cycle that is trained already: what would it have proposed?

Ranks by the maps and features that the cycle's query left on disk, so an answer takes seconds. What is not
there, such as the maps of an older cycle or features of another kind, is computed with the cycle's members
and kept in the cycle's folder `asked`, apart from what the cycle itself works with. Only that takes the
project's lock; questions that read stored maps can be asked while a run goes on, because all files appear
whole, and what a later cycle removes in between is noticed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json
from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset
from nnactive_server.loop.cycle import annotated_boxes, joined, loops_before
from nnactive_server.loop.engine import SegmentationEngine
from nnactive_server.loop.export import WORK, latest_members
from nnactive_server.loop.folder import RUN, BusyProject, CycleFolder, pool_cases, project_lock
from nnactive_server.loop.outputs import Outputs
from nnactive_server.loop.pool import Offers
from nnactive_server.loop.proposal import query_entry, read_besides, shortage_entries
from nnactive_server.query import (
    CaseCandidates,
    Proposal,
    Request,
    Strategy,
    get_strategy,
    merge_candidates,
)

MakeEngine = Callable[[RawDataset, Path, Mapping[str, Any], Monitor], SegmentationEngine]
"""`(project, workdir, profile as in run.json, monitor) -> engine`; called only when something is computed."""


@dataclass(frozen=True)
class Answer:
    """What a strategy proposes for a cycle.

    Attributes:
        project: the project asked about.
        cycle: counted from 0.
        strategy: with its parameters.
        request: what was asked for.
        proposal: the patches, by rank.
        computed: cases whose maps or features were not stored.
        seconds: the answer took.
    """

    project: RawDataset
    cycle: int
    strategy: Strategy
    request: Request
    proposal: Proposal
    computed: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; `queries` and `shortages` as in a cycle's files."""
        request = {
            name: getattr(self.request, name) for name in ("seed", "stride", "overlap", "patches_per_image")
        }
        return {
            "strategy": self.strategy.name,
            "parameters": parameters(self.strategy),
            "cycle": self.cycle,
            **shortage_entries(self.proposal),
            "patch": list(self.request.patch_size),
            **request,
            "queries": [query_entry(q, self.project.geometry(q.case)) for q in self.proposal],
            "computed_cases": self.computed,
            "seconds": self.seconds,
        }


def parameters(strategy: Strategy) -> dict[str, Any]:
    """What can be changed of a strategy, and its value now."""
    if not is_dataclass(strategy):
        return {}
    changeable = [f.name for f in fields(strategy) if f.init and f.name != "name"]
    return {name: getattr(strategy, name) for name in changeable}


def requery(
    root: Path,
    strategy: str,
    make_engine: MakeEngine,
    *,
    cycle: int | None = None,
    strategy_parameters: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    monitor: Monitor | None = None,
) -> Answer:
    """Ask a strategy which patches it proposes after a cycle's training.

    The question is the one the cycle itself asked: boxes annotated later do not count. The same strategy
    with the same settings gives the same proposal, but strategies that look at labels get the current
    prediction, as in real use, where a simulation shows them the truth.

    Args:
        root: a project, e.g. the folder of a simulation.
        strategy: name, see `query.strategy_names`.
        make_engine: computes what is not stored.
        cycle: counted from 0; the newest trained one by default.
        strategy_parameters: replace the strategy's own.
        changes: replace fields of the `Request` the cycle was begun with.
        monitor: progress and cancel; what was computed until then is kept.

    Raises:
        QueryError: unknown strategy or parameter, or a value out of range.
        LoopError: no such cycle, or another process works in the project while something has to be computed.
        Cancelled: asked to stop.
    """
    began = time.monotonic()
    chosen = get_strategy(strategy, **(strategy_parameters or {}))
    project = RawDataset.open(root)
    folder = _trained(root, cycle)
    request = replace(_request(folder), **(changes or {}))
    question = _Question(project, folder, chosen, request, monitor or Monitor())
    missing = question.missing()
    with _computing(folder, missing):
        proposal = merge_candidates(question.offers(missing, make_engine), chosen, request)
    seconds = round(time.monotonic() - began, 3)
    return Answer(project, folder.number, chosen, request, proposal, len(missing), seconds)


class _Question:
    """One strategy and one cycle."""

    def __init__(
        self, project: RawDataset, folder: CycleFolder, strategy: Strategy, request: Request, monitor: Monitor
    ) -> None:
        outputs = Outputs(folder.members, [folder.own, folder.asked], project.labels)
        self._project, self._monitor = project, monitor
        self._single = Offers(project, outputs, strategy, request)
        shown = annotated_boxes(loops_before(project.root, folder.number))
        self._annotated = joined(shown, read_besides(folder))
        self._cases = self._single.asked(pool_cases(project), self._annotated)

    def missing(self) -> list[str]:
        """Cases for which something has to be computed."""
        return [case for case in self._cases if self._single.lacks(case)]

    def offers(self, missing: Sequence[str], make_engine: MakeEngine) -> Iterator[CaseCandidates]:
        """Candidates of one case after the other."""
        self._compute(missing, make_engine)
        for done, case in enumerate(self._cases, start=1):
            self._monitor.check()
            yield self._single.offer(case, self._boxes(case))
            self._monitor.report("query", done, len(self._cases), case)

    def _compute(self, cases: Sequence[str], make_engine: MakeEngine) -> None:
        if not cases:
            return
        profile = _profile(self._project.root)
        engine = make_engine(self._project, self._project.root / WORK, profile, self._monitor)
        for done, case in enumerate(cases, start=1):
            self._monitor.check()
            self._single.complete(engine, case)
            self._monitor.report("predict", done, len(cases), case)

    def _boxes(self, case: str) -> Sequence[Patch]:
        return self._annotated.get(case, ())


@contextmanager
def _computing(folder: CycleFolder, missing: Sequence[str]) -> Iterator[None]:
    """The engine's folder is for one process at a time."""
    if not missing:
        yield
        return
    try:
        with project_lock(folder.root):
            yield
    except BusyProject as problem:
        raise BusyProject(
            f"{problem} (cycle {folder.number}: {len(missing)} cases have to be computed first, such as "
            f"{missing[0]}; a cycle whose maps are stored can be asked about at any time)"
        ) from problem


def _trained(root: Path, number: int | None) -> CycleFolder:
    newest = latest_members(root)
    if number is None:
        return newest
    folder = CycleFolder(root, number)
    if not folder.training.exists():
        raise LoopError(f"{root}: cycle {number} is not trained; the newest trained one is {newest.number}")
    return folder


def _request(folder: CycleFolder) -> Request:
    """What the cycle was begun with; settings an older version did not know have their defaults."""
    document = read_json(folder.settings, LoopError)
    try:
        return Request(**document["request"])
    except (KeyError, TypeError) as problem:
        raise LoopError(f"{folder.settings}: no valid request ({problem})") from problem


def _profile(root: Path) -> Mapping[str, Any]:
    """How the members are trained and predicted."""
    document = read_json(root / RUN, LoopError)
    profile = document.get("profile") if isinstance(document, dict) else None
    if not isinstance(profile, dict):
        raise LoopError(f"{root / RUN}: has no 'profile', which says how the members predict")
    return profile
